"""The listening page in headless Chromium: a whole session by real key presses and clicks, and its import.

Skipped where no Chromium is installed. Chromium is driven through `--remote-debugging-pipe`, which needs no port and no
client library: JSON of the DevTools protocol, ended by a zero byte.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sam_audio_bench.files import load_json
from sam_audio_bench.ratings.answers import join_key
from sam_audio_bench.ratings.formats import Choice
from sam_audio_bench.ratings.importing import import_ratings
from sam_audio_bench.ratings.options import Options
from sam_audio_bench.ratings.plan import plan_test
from sam_audio_bench.ratings.screening import screen

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
PATIENCE = 30.0  # seconds that any one thing may take


class Chromium:
    """One headless browser with one page."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
                 "--no-first-run", "--disable-background-networking", "--disable-component-update",
                 "--remote-debugging-pipe", f"--user-data-dir={profile}"]  # fmt: skip
        wiring = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$0" "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", wiring, str(CHROMIUM), *flags, "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        os.set_blocking(self._from, False)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        pages = [target for target in self("Target.getTargets")["targetInfos"] if target["type"] == "page"]
        self._session = self("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and returns its result; events that come meanwhile are kept."""
        self._number += 1
        session = {"sessionId": self._session} if self._session and not method.startswith("Browser.") else {}
        message = {"id": self._number, "method": method, "params": parameters, **session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for found in self._received():
                if found.get("id") == self._number:
                    assert "error" not in found, f"{method}: {found['error']}"
                    return dict(found["result"])
        raise TimeoutError(f"{method} had no answer")

    def _received(self) -> list[dict[str, Any]]:
        try:
            self._buffer += os.read(self._from, 1 << 20)
        except BlockingIOError:
            time.sleep(0.01)
        *complete, self._buffer = self._buffer.split(b"\0")
        messages = [json.loads(part) for part in complete]
        self.events += [message for message in messages if "method" in message]
        return messages

    def close(self) -> None:
        """Ends the browser."""
        try:
            self("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._to)
            os.close(self._from)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; an exception in it fails the test."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never became true: {expression}"
            time.sleep(0.02)

    def open(self, url: str) -> None:
        """Loads a page, from the beginning even if only the fragment differs."""
        self("Page.navigate", url="about:blank")
        self("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def press(self, key: str) -> None:
        """Presses and releases a key."""
        code = {"Tab": 9, "Enter": 13, " ": 32}.get(key, ord(key[0].upper()) if key.isalnum() else 0)
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        known = {"key": key, "windowsVirtualKeyCode": code}
        self("Input.dispatchKeyEvent", type="keyDown", text=text, **known)
        self("Input.dispatchKeyEvent", type="keyUp", **known)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        for character in text:
            self.press(character)

    def tab_to(self, selector: str) -> None:
        """Presses Tab until an element has the focus, as a rater without a mouse does."""
        for _ in range(40):
            if self.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            self.press("Tab")
        raise AssertionError(f"the keyboard does not reach {selector}")

    def click(self, selector: str) -> None:
        """Clicks in the middle of an element with the mouse."""
        find = f"const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
        middle = "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2];"
        place = self.evaluate(f"(() => {{ {find} {middle} }})()")
        where = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, **where)

    @property
    def trouble(self) -> list[str]:
        """Exceptions, errors of the console, and requests that leave the disk."""
        found = []
        for event in self.events:
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(parameters["entry"]["text"])
            elif event["method"] == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith(("file:", "about:", "blob:", "data:")):
                    found.append(url)
        return found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    started = Chromium(tmp_path_factory.mktemp("chromium") / "profile")
    yield started
    started.close()


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Chromium]:
    """The browser; a test that leaves errors or requests behind fails."""
    chromium.events.clear()
    yield chromium
    assert chromium.trouble == []


@pytest.fixture
def planned(listening_runs: Path, tmp_path: Path) -> Path:
    """A test of two items with three systems and a hidden reference, for four raters."""
    plan_test([listening_runs], tmp_path / "test", Options(items=2, raters=4, raters_per_item=2, seed=1))
    return tmp_path / "test"


def address(folder: Path, rater: int) -> str:
    return f"{(folder / 'page' / 'index.html').as_uri()}#{rater}"


def start(browser: Chromium) -> None:
    """From the first screen to the first trial by mouse."""
    browser.click("#rater")
    browser.type("Ada")
    browser.click("#consent")
    browser.click("#start button")
    browser.click("#begin")
    browser.wait("!$('trial').hidden")


def answer(browser: Chromium, trials: dict[str, Any]) -> dict[str, int]:
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


def test_a_whole_session_by_keyboard(browser: Chromium, planned: Path, tmp_path: Path) -> None:
    key = load_json(planned / "key.json")
    block = key["designs"]["trials"]["blocks"][2]
    browser("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
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
    browser.press("Enter")
    (saved,) = downloads(tmp_path, 1)
    document = load_json(saved)
    assert document == json.loads(browser.evaluate("$('text').value"))
    assert {name: document[name] for name in ("schema", "version", "test", "rater", "block")} == {
        "schema": "sabench-listening-test", "version": 1, "test": key["test"], "rater": "Ada L.", "block": 3,
    }  # fmt: skip
    joined = join_key(document["answers"], key, planned)
    assert [found["trial"] for found in joined] == block
    assert [found["axes"] for found in joined] == given
    assert all(found["played"] and found["seconds"] > 0 for found in joined)
    assert sorted(found["kind"] for found in joined if found["kind"] in ("trap", "gold")) == ["gold", "trap"]
    imported = import_ratings([saved], Choice(key=planned / "key.json"))
    assert imported.notes == ()
    frame = imported.ratings.frame
    assert frame["score"].tolist() == [score for scores in given for score in scores.values()]
    assert screen(imported.ratings, dict.fromkeys(["trap", "gold", "playback"])).drops == ()


def downloads(folder: Path, count: int) -> list[Path]:
    """Files that the page saved, once they are complete."""
    end = time.monotonic() + PATIENCE
    while len(found := sorted(folder.glob("listening-*.json"))) < count or list(folder.glob("*.crdownload")):
        assert time.monotonic() < end, "no download"
        time.sleep(0.02)
    return found


def test_what_the_page_saves_is_what_import_reads(browser: Chromium, planned: Path, tmp_path: Path) -> None:
    key = load_json(planned / "key.json")
    browser("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.open(address(planned, 1))
    start(browser)
    scores = answer(browser, key["trials"])
    browser.wait("state.answers.length === 1")
    browser.click("#answers .save")
    assert browser.evaluate("$('answers').querySelector('[role=status]').textContent").startswith("Saved as listening-")
    found = import_ratings(downloads(tmp_path, 1), Choice(key=planned / "key.json")).ratings.frame
    trial = key["trials"][key["designs"]["trials"]["blocks"][0][0]]
    assert dict(zip(found["axis"], found["score"], strict=True)) == scores
    assert set(found["item"]) == {trial["item"]}
    assert set(found["kind"]) == {trial["kind"]}
    assert set(found["rater"]) == {"Ada"}


def test_nothing_is_passed_over(browser: Chromium, planned: Path) -> None:
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


def test_a_missing_sound_does_not_stop_a_rater(browser: Chromium, planned: Path) -> None:
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
    assert all("ERR_FILE_NOT_FOUND" in trouble for trouble in browser.trouble)
    browser.events.clear()


def test_prompts_are_text(browser: Chromium, listening_runs: Path, tmp_path: Path) -> None:
    """A prompt made of HTML is shown as it is, and nothing of it runs."""
    plan_test([listening_runs], tmp_path / "test", Options(raters=1, raters_per_item=1, traps=0, golds=0))
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


def test_every_control_has_a_name(browser: Chromium, planned: Path) -> None:
    """As assistive technology sees the page, on each screen."""
    controls = {"button", "radio", "slider", "textbox", "spinbutton", "checkbox", "progressbar", "group", "radiogroup"}

    def names(screen: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in browser("Accessibility.getFullAXTree")["nodes"]:
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
