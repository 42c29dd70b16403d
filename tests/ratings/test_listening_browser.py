"""The listening page in headless Chromium: a whole session by real key presses and clicks, and its import.

Skipped where Chromium or Playwright is not installed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, needs_browser

from sam_audio_bench.files import load_json
from sam_audio_bench.ratings.blind_key import unblind_ratings
from sam_audio_bench.ratings.formats import ColumnChoice
from sam_audio_bench.ratings.importing import import_ratings
from sam_audio_bench.ratings.options import ListeningTestOptions
from sam_audio_bench.ratings.plan import plan_test
from sam_audio_bench.ratings.screening import screen

pytestmark = needs_browser


@pytest.fixture
def planned(listening_runs: Path, tmp_path: Path) -> Path:
    """A test of two items with three systems and a hidden reference, for four raters."""
    plan_test([listening_runs], tmp_path / "test", ListeningTestOptions(items=2, raters=4, raters_per_item=2, seed=1))
    return tmp_path / "test"


def address(folder: Path, rater: int) -> str:
    return f"{(folder / 'page' / 'index.html').as_uri()}#{rater}"


def start(browser: Browser) -> None:
    """From the first screen to the first trial by mouse."""
    browser.click("#rater")
    browser.type("Ada")
    browser.click("#consent")
    browser.click("#start button")
    browser.click("#begin")
    browser.wait("!$('trial').hidden")


def answer(browser: Browser, trials: dict[str, Any]) -> dict[str, int]:
    """Hears both sounds and answers one trial by keyboard, as somebody who listens would; returns the answers."""
    name = browser.evaluate("trialName()")
    for player in ("mixture", "result"):
        if not browser.evaluate(f"{player}.heard"):
            browser.tab_to(f"#{player} .play")
            browser.press("Enter")
            browser.evaluate(f"{player}.audio.playbackRate = 4")  # patience is not what is tested
            browser.wait(f"{player}.heard")
    scores = {}
    for number, axis in enumerate(("overall", "recall", "precision", "faithfulness")):
        scores[axis] = (trials[name]["expected"] or {}).get(axis, 1 + (int(name[5:]) + number) % 5)
        browser.tab_to(f"#axis-{axis} input")
        browser.press(str(scores[axis]))
    browser.tab_to("#next")
    browser.press("Enter")
    return scores


def test_a_whole_session_by_keyboard(browser: Browser, planned: Path, tmp_path: Path) -> None:
    key = load_json(planned / "key.json")
    block = key["designs"]["trials"]["blocks"][2]
    browser.open(address(planned, 3))
    for selector, text in (("#rater", "Ada L."), ("#consent", " ")):
        browser.tab_to(selector)
        browser.type(text)
    browser.tab_to("#start button")
    browser.press("Enter")
    browser.tab_to("#begin")
    browser.press("Enter")
    given = []
    for number in range(len(block)):
        browser.wait(f"!$('trial').hidden && state.answers.length === {number}")
        assert browser.evaluate("document.activeElement.id") == "trial-title"  # where a screen reader goes on
        assert browser.evaluate("$('count').textContent") == f"Trial {number + 1} of {len(block)}"
        if number == 2:
            browser.open(address(planned, 3))  # the page is closed and opened again
            assert browser.evaluate("$('kept-text').textContent") == "This browser keeps 2 of 6 answers of Ada L.."
            browser.tab_to("#resume")
            browser.press("Enter")
        given.append(answer(browser, key["trials"]))
    browser.wait("!$('done').hidden")
    browser.tab_to("#done .save")
    with browser.page.expect_download() as download:
        browser.press("Enter")
    saved = kept(download.value, tmp_path)
    document = load_json(saved)
    assert document == json.loads(browser.evaluate("$('text').value"))
    assert {name: document[name] for name in ("schema", "version", "test", "rater", "block")} == {
        "schema": "sabench-listening-test", "version": 1, "test": key["test"], "rater": "Ada L.", "block": 3,
    }  # fmt: skip
    joined = unblind_ratings(document["answers"], key, planned)
    assert [found["trial"] for found in joined] == block
    assert [found["axes"] for found in joined] == given
    assert all(found["played"] and found["seconds"] > 0 for found in joined)
    assert sorted(found["kind"] for found in joined if found["kind"] in ("trap", "gold")) == ["gold", "trap"]
    imported = import_ratings([saved], ColumnChoice(key=planned / "key.json"))
    assert imported.notes == ()
    frame = imported.ratings.frame
    assert frame["score"].tolist() == [score for scores in given for score in scores.values()]
    assert screen(imported.ratings, dict.fromkeys(["trap", "gold", "playback"])).exclusions == ()


def kept(download: Any, folder: Path) -> Path:
    """What the page saved, under the name that it gives."""
    path = folder / str(download.suggested_filename)
    assert re.fullmatch(r"listening-.*\.json", path.name)
    download.save_as(path)
    return path


def test_what_the_page_saves_is_what_import_reads(browser: Browser, planned: Path, tmp_path: Path) -> None:
    key = load_json(planned / "key.json")
    browser.open(address(planned, 1))
    start(browser)
    scores = answer(browser, key["trials"])
    browser.wait("state.answers.length === 1")
    with browser.page.expect_download() as download:
        browser.click("#answers .save")
    assert browser.evaluate("$('answers').querySelector('[role=status]').textContent").startswith("Saved as listening-")
    found = import_ratings([kept(download.value, tmp_path)], ColumnChoice(key=planned / "key.json")).ratings.frame
    trial = key["trials"][key["designs"]["trials"]["blocks"][0][0]]
    assert dict(zip(found["axis"], found["score"], strict=True)) == scores
    assert set(found["item"]) == {trial["item"]}
    assert set(found["kind"]) == {trial["kind"]}
    assert set(found["rater"]) == {"Ada"}


def test_nothing_is_passed_over(browser: Browser, planned: Path) -> None:
    """Empty forms, unheard sounds and open questions are named, and the focus goes to the first of them."""
    browser.open(address(planned, 2))
    browser.click("#start button")
    assert browser.evaluate("$('start-problem').textContent").startswith("Please give a name or code.")
    assert browser.evaluate("document.activeElement.id") == "rater"
    start(browser)
    browser.click("#next")
    assert browser.evaluate("$('problem').textContent") == "Please listen to the whole recording first."
    browser.press("Enter")  # the focus is on the button that plays it
    browser.wait("mixture.heard")
    browser.evaluate("result.seek(result.seconds)")  # jumping to the end is not hearing
    browser.click("#next")
    assert browser.evaluate("$('problem').textContent") == "Please listen to the whole result first."
    browser.evaluate("result.seek(0)")
    browser.click("#result .play")
    browser.wait("result.heard")
    browser.click("#axis-recall label:nth-child(2)")
    browser.click("#next")
    assert browser.evaluate("$('problem').textContent") == "Please answer: Overall, Precision, Faithfulness."
    assert browser.evaluate("document.activeElement.name") == "overall"
    browser.open(address(planned, 2))
    browser.click("#resume")
    assert browser.evaluate("JSON.stringify([chosen(), result.heard, mixture.heard])") == '[{"recall":2},true,true]'


def test_a_missing_sound_does_not_stop_a_rater(browser: Browser, planned: Path) -> None:
    for clip in (planned / "page" / "audio").glob("t*"):
        clip.unlink()
    browser.open(address(planned, 4))
    start(browser)
    browser.click("#mixture .play")
    browser.wait("mixture.heard && result.failed")
    for axis in ("overall", "recall", "precision", "faithfulness"):
        browser.click(f"#axis-{axis} label:nth-child(1)")
    browser.click("#next")
    browser.wait("state.answers.length === 1")
    assert browser.evaluate("state.answers[0].played") is False
    browser.open("about:blank")
    assert all("ERR_FILE_NOT_FOUND" in trouble for trouble in browser.trouble)
    browser.trouble.clear()


def test_prompts_are_text(browser: Browser, listening_runs: Path, tmp_path: Path) -> None:
    """A prompt made of HTML is shown as it is, and nothing of it runs."""
    plan_test([listening_runs], tmp_path / "test", ListeningTestOptions(raters=1, raters_per_item=1, traps=0, golds=0))
    key = load_json(tmp_path / "test" / "key.json")
    (block,) = key["designs"]["trials"]["blocks"]
    place = next(place for place, name in enumerate(block) if key["trials"][name]["item"] == "secretitem1")
    browser.open(address(tmp_path / "test", 1))
    start(browser)
    browser.evaluate(f"state.answers.length = {place}; showTrial()")
    assert browser.evaluate("$('prompt').textContent").startswith("</script><script>document.title='owned'")
    assert browser.evaluate("document.title") == f"Trial {place + 1} – Listening test"
    assert browser.evaluate("[...$('spans').children].map((line) => line.textContent).join()") == (
        "The sound at 0.1 to 0.3 s,Not the sound at 0.4 to 0.5 s"
    )


def test_every_control_has_a_name(browser: Browser, planned: Path) -> None:
    """As assistive technology sees the page, on each screen."""
    controls = {"button", "radio", "slider", "textbox", "spinbutton", "checkbox", "progressbar", "group", "radiogroup"}

    def names(screen: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        session = browser.page.context.new_cdp_session(browser.page)
        for node in session.send("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if not node.get("ignored") and role in controls:
                found.setdefault(role, []).append(node.get("name", {}).get("value", ""))
        assert all(name for values in found.values() for name in values), f"{screen}: {found}"
        return found

    browser.open(address(planned, 1))
    browser.evaluate("localStorage.clear(); home()")
    assert names("welcome")["spinbutton"] == ["Your number in this test"]
    start(browser)
    found = names("trial")
    assert {"Position in the recording", "Position in the result"} == set(found["slider"])
    assert "Overall. All in all, how good is the result for what was asked?" in found["group"]
    assert len(found["radio"]) == 20
    assert found["progressbar"] == ["Trial 1 of 6"]
