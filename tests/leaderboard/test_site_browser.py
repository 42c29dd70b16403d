"""The site in headless Browser, from a disk: sorting, filtering, listening, comparing. Skipped where there is none."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode

import pytest
from browser import Browser, needs_browser
from msgspec import structs

from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import log, site
from sam_audio_bench.leaderboard.board import Board, read_board
from sam_audio_bench.leaderboard.preview_rendering import PreviewOptions, make_previews
from sam_audio_bench.leaderboard.records import to_builtins
from sam_audio_bench.leaderboard.site import build_site
from sam_audio_bench.leaderboard.sitedata import collect_item_scores
from sam_audio_bench.leaderboard.submission import HEADER, Submission
from sam_audio_bench.render.numbers import number
from sam_audio_bench.run.compare import compare_runs

pytestmark = needs_browser
TASK = "music@1-mini"
POLICY = "default-src 'none'; script-src 'self' file:; style-src"


@pytest.fixture(scope="module")
def built(pristine_board: Path, finished_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard with a site and something to listen to."""
    root = tmp_path_factory.mktemp("built") / "board"
    shutil.copytree(pristine_board, root, ignore=shutil.ignore_patterns("site"))
    rule = {"id": "music", "title": "Music", "metric": "si_sdr_i", "split": "mini", "subset": "paper"}
    write_json(root / "boards.json", [{**rule, "parts": {"text": ["music"]}}])
    make_previews(root, [finished_runs], PreviewOptions(items=2))
    build_site(root)
    return root


def address(root: Path, page: str, query: str = "") -> str:
    """A page of the site on the disk."""
    return (root / "site" / page).as_uri() + query


def line(root: Path, separator: str) -> str:
    """The id of a separator's line."""
    return next(one.id for one in read_board(root).lines if one.submission.separator == separator)


def names(browser: Browser) -> list[str]:
    """Lines of the first table that are shown, from top to bottom."""
    rows = "[...document.querySelectorAll('.sortable tbody:not([hidden]) tr[data-name]:not([hidden])')]"
    found: list[str] = browser.evaluate(f"{rows}.map((row) => row.dataset.name)")
    return found


def test_sorting_by_mouse_and_keyboard(browser: Browser, built: Path) -> None:
    browser.open(address(built, f"tasks/{TASK}.html"))
    assert names(browser) == ["spectral-gate", "mixture", "silence"]
    head = "document.querySelectorAll('#scores thead th')[3]"
    browser.click("#scores thead th:nth-child(4) button")
    assert browser.evaluate(f"{head}.getAttribute('aria-sort')") == "descending"
    browser.evaluate(f"{head}.querySelector('button').focus()")
    browser.press("Enter")
    assert browser.evaluate(f"{head}.getAttribute('aria-sort')") == "ascending"
    assert names(browser) == ["spectral-gate", "silence", "mixture"]  # rows stay in their sections


def test_a_head_is_clicked_anywhere_in_its_cell(browser: Browser, built: Path) -> None:
    """Beside the words too, where a hand lands."""
    browser.open(address(built, f"tasks/{TASK}.html"))
    browser.page.click("#scores thead th[data-column=snr_i]", position={"x": 3, "y": 3})
    assert browser.evaluate("document.querySelector('#scores th[aria-sort]').dataset.column") == "snr_i"


def test_what_is_shown_is_in_the_address_and_comes_back(browser: Browser, built: Path) -> None:
    """Whoever gets the link sees the same; whoever undoes everything has the plain address again."""
    browser.open(address(built, f"tasks/{TASK}.html"))
    browser.click("#scores thead th[data-column=snr_i] button")
    browser.click("[data-kind=oracle][data-of=scores]")
    browser.click(".columns[data-of=scores] summary")
    browser.click("[data-column=Group][data-of=scores]")
    browser.click("[data-filter][data-of=scores]")
    browser.type("i")
    query = browser.evaluate("location.search")
    asked = dict(parse_qsl(query[1:]))
    assert asked == {"scores.sort": "-snr_i", "scores.without": "oracle", "scores.hide": "Group", "scores.find": "i"}
    told = "[...document.querySelectorAll('#scores thead th:not([hidden])')].map((one) => one.dataset.column)"
    state = names(browser), browser.evaluate(told), browser.evaluate("document.querySelector('[data-count]').value")
    assert "Group" not in state[1]
    assert state[0] == ["mixture", "silence"]
    browser.open(address(built, f"tasks/{TASK}.html", query))
    assert (names(browser), browser.evaluate(told)) == state[:2]
    assert browser.evaluate("document.querySelector('[data-count]').value") == state[2]
    assert browser.evaluate("document.querySelector('.section:not([hidden]) th').colSpan") == len(state[1])
    for selector in ("[data-kind=oracle][data-of=scores]", "#scores thead th[data-column=Rank] button"):
        browser.click(selector)
    browser.click(".columns[data-of=scores] summary")
    browser.click("[data-column=Group][data-of=scores]")
    browser.page.fill("[data-filter][data-of=scores]", "")
    assert browser.evaluate("location.search") == ""


def test_an_address_that_means_nothing_does_nothing(browser: Browser, built: Path) -> None:
    query = "?" + urlencode(
        {"scores.sort": "-<img src=x>", "scores.hide": "Separator,x", "scores.find": "mix", "x": "'"}
    )
    browser.open(address(built, f"tasks/{TASK}.html", query))
    assert names(browser) == ["mixture"]
    assert browser.evaluate("document.querySelectorAll('#scores thead [hidden], img').length") == 0


def test_filtering(browser: Browser, built: Path) -> None:
    browser.open(address(built, "index.html"))
    browser.click("[data-kind=baseline][data-of]")
    assert names(browser) == ["spectral-gate"]
    browser.click("[data-kind=baseline][data-of]")
    browser.click("[data-filter]")
    browser.type("sil")
    assert names(browser) == ["silence"]
    assert browser.evaluate("document.querySelector('[data-count]').value") == "1 of 3 shown"


def heard(browser: Browser) -> str:
    """The sound that plays unmuted; every other one is muted or stands."""
    names: list[str] = browser.evaluate(
        "[...deck.sounds].filter(([link, audio]) => !audio.muted && !audio.paused).map(([link]) => link.dataset.name)"
    )
    (name,) = names
    return name


def test_listening_in_step(browser: Browser, built: Path) -> None:
    """One sound at a time; another one, and back with one key, goes on at the same moment."""
    browser.open(address(built, f"items/{TASK}.html"))
    links = browser.evaluate(
        "[...document.querySelector('.listen').querySelectorAll('[data-hear]')].map((one) => one.dataset.name)"
    )
    assert links == ["mixture", "reference", "rest", "spectral-gate", "spectral-gate, residual"]
    browser.page.click("[data-hear][data-name=spectral-gate] img", position={"x": 130, "y": 20})
    browser.wait("moment() > 3.5")  # of 8 s, where the picture was clicked
    assert heard(browser) == "spectral-gate"
    for expected in ("mixture", "spectral-gate"):
        before = browser.evaluate("moment()")
        browser.press("x")
        assert heard(browser) == expected
        assert before - 0.05 <= browser.evaluate("moment()") < before + 2
    browser.press("2")
    assert heard(browser) == "reference"
    assert browser.evaluate("document.querySelector('.listen output').value") == "reference"
    browser.press(" ")
    assert browser.evaluate("playing()") is False
    time = browser.evaluate("moment()")
    browser.press("ArrowLeft")
    assert browser.evaluate("moment()") == pytest.approx(max(0, time - 1), abs=0.1)
    browser.wait(
        "[...document.querySelectorAll('.listen[open] img')].every((one) => one.complete && one.naturalWidth > 0)"
    )


def test_keys_belong_to_the_player_that_has_the_focus(browser: Browser, built: Path) -> None:
    """Elsewhere on the page letters and the space bar do what they always do."""
    browser.open(address(built, f"items/{TASK}.html"))
    for key in ("x", "1", "ArrowRight"):
        browser.press(key)
    assert browser.evaluate("deck.item") is None


def test_louder_sounds_are_turned_down_to_the_quietest(browser: Browser, built: Path) -> None:
    browser.open(address(built, f"items/{TASK}.html"))
    browser.click(".listen [data-play]")
    links = browser.evaluate("linksOf(deck.item).map((one) => [Number(one.dataset.loudness), volume(one)])")
    levels = [loudness + 20 * math.log10(volume) for loudness, volume in links]
    least = max(min(loudness for loudness, _ in links), links[0][0] - 12)
    assert all(
        level == pytest.approx(least, abs=0.01)
        for level, (loudness, _) in zip(levels, links, strict=True)
        if loudness > least
    )
    assert all(volume == 1 for loudness, volume in links if loudness <= least)
    browser.click(".listen [data-match]")
    assert browser.evaluate("audioOf(deck.now).volume") == 1


def test_a_mean_leads_to_the_sounds_of_its_separator(browser: Browser, built: Path) -> None:
    """From every table of means: over all tasks, of the best of each task, of a task, of a separator."""
    item, *_ = sorted(path.parent.name for path in (built / "site" / "listen").glob("*/*/item.json"))
    pages = ("index", f"tasks/{TASK}", "separators/spectral-gate")
    for page in pages:
        browser.open(address(built, f"{page}.html"))
        rows = "[...document.querySelectorAll('tr:has(.ear)')]"
        if page != "separators/spectral-gate":
            told = browser.evaluate(f"{rows}.map((row) => [row.dataset.kind, row.querySelector('.ear').textContent])")
            assert ["separator", "listen to spectral-gate"] in told
            assert not [kind for kind, _ in told if kind == "baseline"], "what does nothing is heard as the mixture"
        browser.open(browser.evaluate("document.querySelector('.ear').href"))
        browser.wait("document.querySelector('.listen[open] [aria-current]')")
        assert unquote(browser.evaluate("location.pathname")).endswith(f"/items/{TASK}.html")
        heard = browser.evaluate("document.querySelector('.listen[open] [aria-current]').dataset.name")
        assert heard == "spectral-gate"
        assert item in unquote(browser.evaluate("location.hash"))


def test_a_score_leads_to_its_sound(browser: Browser, built: Path) -> None:
    """From the table of items, whatever metric it shows, and from a comparison; sound begins with the reader."""
    browser.open(address(built, f"items/{TASK}.html"))
    browser.page.select_option("[data-scores]", "snr_i")
    browser.wait("document.getElementById('shown').textContent.startsWith('snr_i')")
    links = browser.evaluate("[...document.querySelectorAll('#items td a')].map((one) => one.getAttribute('href'))")
    assert len(links) == 2  # of two items with a preview, and one separator
    browser.page.click("#items tbody tr:nth-child(2) td a")
    browser.wait("deck.now")
    chosen = "[deck.item.id, deck.item.open, deck.now.dataset.name, deck.before.dataset.name, playing()]"
    assert browser.evaluate(chosen) == ["listen-music-01", True, "spectral-gate", "mixture", False]
    browser.press("x")
    assert browser.evaluate("deck.now.dataset.name") == "mixture"
    asked = {"a": line(built, "mixture"), "b": line(built, "spectral-gate"), "task": TASK, "metric": "si_sdr"}
    browser.open(address(built, "compare.html", "?" + urlencode(asked)))
    browser.wait("document.querySelector('#worst tr')")
    heard_there = browser.evaluate("[...document.querySelectorAll('#worst td a')].map((one) => one.hash)")
    assert set(map(unquote, heard_there)) <= set(map(unquote, links))
    browser.open(address(built, f"tasks/{TASK}.html"))
    browser.click(".ear")
    browser.wait("typeof deck !== 'undefined' && deck.now")
    assert browser.evaluate("deck.now.dataset.name") == "spectral-gate"


def shown(browser: Browser, name: str) -> str:
    """What an element of the comparison says."""
    text: str = browser.evaluate(f"document.getElementById('{name}').textContent")
    return text


@pytest.mark.parametrize("metric", ["si_sdr", "si_sdr_i", "snr_i", "leak_db"])
def test_comparing_gives_the_numbers_of_sabench_compare(
    browser: Browser, built: Path, finished_runs: Path, metric: str
) -> None:
    """Digit by digit, for both directions of a metric and with items that one side lacks."""
    found = compare_runs(finished_runs / "mixture", finished_runs / "spectral-gate", metrics=[metric])
    (row,) = found.rows
    unit = f" {row.unit}"
    asked = {"a": line(built, "mixture"), "b": line(built, "spectral-gate"), "task": TASK, "metric": metric}
    browser.open(address(built, "compare.html", "?" + urlencode(asked)))
    browser.wait("!document.getElementById('result').hidden")
    assert shown(browser, "mean-a") == number(row.a) + unit
    assert shown(browser, "mean-b") == number(row.b) + unit
    assert shown(browser, "difference").removeprefix("+") == number(row.difference) + unit
    known = (
        f"{number(row.ci_low)} to {number(row.ci_high)}" if row.ci_low is not None else "unknown: too few recordings"
    )
    assert shown(browser, "interval") == known
    assert shown(browser, "wins") == f"{row.wins} / {row.ties} / {row.losses}"
    assert shown(browser, "counts").startswith(f"{row.n_ok}, ")
    assert browser.evaluate("document.querySelectorAll('#dots circle').length") == row.n_ok
    cells = "[...document.querySelectorAll('#worst tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    worst = [[one.item, number(one.a), number(one.b), number(one.difference)] for one in found.worst]
    assert browser.evaluate(cells) == (worst or [["B is worse on no item."]])


def test_the_worst_items_lead_to_their_rows(browser: Browser, built: Path) -> None:
    browser.open(
        address(
            built, "compare.html", "?" + urlencode({"a": line(built, "spectral-gate"), "b": line(built, "silence")})
        )
    )
    browser.wait("document.querySelector('#worst a')")
    item = browser.evaluate("document.querySelector('#worst a').textContent")
    browser.click("#worst a")
    browser.wait("document.readyState === 'complete' && location.pathname.includes('/items/')")
    assert browser.evaluate("document.querySelector(':target').textContent") == item


def test_another_comparison_is_in_the_address(browser: Browser, built: Path) -> None:
    browser.open(address(built, "compare.html"))
    browser.evaluate("form.elements.metric.value = 'snr_i'; form.dispatchEvent(new Event('change', {bubbles: true}))")
    browser.wait("location.search.includes('snr_i')")
    assert shown(browser, "verdict")


def test_another_metric_of_the_items(browser: Browser, built: Path) -> None:
    browser.open(address(built, f"items/{TASK}.html"))
    column = (
        "[...document.querySelectorAll('#items tbody tr')].map((row) => row.cells[row.cells.length - 1].textContent)"
    )
    head = "[...document.querySelectorAll('#items thead th')].at(-1).dataset.line"
    browser.page.select_option("[data-scores]", "leak_db")
    browser.wait("document.getElementById('shown').textContent.startsWith('leak_db')")
    scores = collect_item_scores(read_board(built), TASK, "leak_db")
    shown_values = [number(value) for value in scores["lines"][browser.evaluate(head)]]
    assert browser.evaluate(column) == shown_values
    browser.wait("location.search.includes('items.metric=leak_db')")
    browser.open(browser.evaluate("location.href"))
    browser.wait("document.getElementById('shown').textContent.startsWith('leak_db')")
    assert browser.evaluate(column) == shown_values


PAGES = (
    *("index", f"tasks/{TASK}", f"items/{TASK}", "separators/spectral-gate"),
    *("compare", "cost", "metrics", "slices", "agreement", "reported", "log", "reading"),
)
FAULTS = """(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const found = [], ids = all("[id]").map((one) => one.id);
  const say = (what, ones) => ones.forEach((one) => found.push(what + ": " + one.outerHTML.slice(0, 100)));
  if (!document.documentElement.lang) found.push("no language");
  if (all("h1").length !== 1) found.push("headings of the first level: " + all("h1").length);
  if (all("main").length !== 1) found.push("no main part");
  say("table without a caption", all("table").filter((one) => !one.caption || !one.caption.textContent.trim()));
  say("head without a scope", all("th:not([scope])"));
  say("image without a text", all("img").filter((one) => !one.alt));
  say("figure without a name", all("svg").filter((one) => !one.ariaLabel && one.ariaHidden !== "true"));
  say("field without a label", all("input, select").filter((one) => !one.labels.length));
  say("button or link without a name", all("a, button").filter((one) => !one.textContent.trim() && !one.ariaLabel));
  say("box that the keyboard cannot scroll", all("*").filter((one) => one.scrollWidth > one.clientWidth + 1
    && one.tabIndex < 0 && ["auto", "scroll"].includes(getComputedStyle(one).overflowX)));
  say("region without a name", all("[role=region], [role=group]").filter((one) =>
    !one.ariaLabel && !one.hasAttribute("aria-labelledby")));
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls"])
    say("reference to nothing", all(`[${name}]`).filter((one) => !ids.includes(one.getAttribute(name))));
  say("same id", all("[id]").filter((one, at) => ids.indexOf(one.id) !== at));
  return found;
})()"""


@pytest.mark.parametrize("page", PAGES)
def test_pages_can_be_read_without_eyes_or_mouse(browser: Browser, built: Path, page: str) -> None:
    for width in (1280, 380):
        browser.page.set_viewport_size({"width": width, "height": 800})
        browser.open(address(built, f"{page}.html"))
        faults = browser.evaluate(FAULTS)
        overflow = browser.evaluate("document.documentElement.scrollWidth")
        assert faults == []
        assert overflow <= width


@pytest.mark.parametrize("page", ["index", f"tasks/{TASK}"])
def test_on_a_phone_name_and_first_metric_stay_in_sight(browser: Browser, built: Path, page: str) -> None:
    """However far a table is scrolled, and before it is; what is cut off casts a shadow."""
    browser.page.set_viewport_size({"width": 380, "height": 800})
    browser.open(address(built, f"{page}.html"))
    seen = """(scrolled) => {
      const table = document.querySelector("table.sortable"), box = table.closest(".scroll");
      box.scrollLeft = scrolled;
      const edge = box.getBoundingClientRect(), row = table.querySelector("tr[data-name]");
      return [...row.querySelectorAll("th, td.main > b")].map((cell) => {
        const own = cell.getBoundingClientRect();
        return own.left >= edge.left - 1 && own.right <= edge.right + 1;
      });
    }"""
    for scrolled in (0, 200, 10_000):
        assert browser.page.evaluate(seen, scrolled) == [True, True], scrolled
    assert browser.evaluate("getComputedStyle(document.querySelector('.scroll')).backgroundAttachment").count("scroll")
    plots = "[...document.querySelectorAll('svg.plot')].filter((one) => one.getClientRects().length)"
    assert all(width <= 360 for width in browser.evaluate(f"{plots}.map((one) => one.getBoundingClientRect().width)"))


@pytest.mark.parametrize(("width", "shown"), [(1280, "on-page"), (380, "on-phone")])
def test_plots_are_as_wide_as_the_page_and_can_be_read(browser: Browser, built: Path, width: int, shown: str) -> None:
    browser.page.set_viewport_size({"width": width, "height": 800})
    browser.open(address(built, "cost.html"))
    plots = "[...document.querySelectorAll('svg.plot')].filter((one) => one.getClientRects().length)"
    found = browser.evaluate(
        f"{plots}.map((one) => [one.classList[1], one.querySelector('text').getBoundingClientRect().height])"
    )
    assert found
    assert {kind for kind, _ in found} == {shown}
    assert all(height > 10 for _, height in found)  # pixels: letters do not shrink with the plot


def test_a_long_table_shows_every_row_with_and_without_scripts(browser: Browser, built: Path, tmp_path: Path) -> None:
    """Rows that are laid out after the first paint are there soon, and sorting hides none of them again."""
    shutil.copytree(built / "site", tmp_path / "site")
    page = tmp_path / "site" / "tasks" / f"{TASK}.html"
    text = page.read_text("utf-8")
    (row,) = re.findall(r'<tr data-kind="separator".*?</tr>', text, re.DOTALL)
    page.write_text(text.replace(row, row * 100), "utf-8")
    rows = "[...document.querySelectorAll('.long tbody tr[data-kind=separator]')]"
    unseen = f"{rows}.filter((row) => !row.getClientRects().length).length"
    browser.open(page.as_uri())
    browser.wait(f"{rows}.length === 100 && {unseen} === 0")
    browser.wait("document.documentElement.matches('.whole')")
    browser.evaluate("document.querySelector('.long [data-sort]').click()")
    assert browser.evaluate(unseen) == 0
    page.write_text(page.read_text("utf-8").replace("../site.js", "../no-script.js"), "utf-8")
    browser.page.goto("about:blank")
    browser.page.goto(page.as_uri())
    browser.wait(f"{unseen} === 0")
    browser.renew()


def test_every_page_has_a_title_of_its_own(built: Path) -> None:
    titles = {
        re.findall("<title>(.*)</title>", (built / "site" / f"{page}.html").read_text("utf-8"))[0] for page in PAGES
    }
    assert len(titles) == len(PAGES)


def test_the_keyboard_reaches_what_can_be_done(browser: Browser, built: Path) -> None:
    """From the top: the skip link, which shows itself, the filter, the heads; and the focus is seen."""
    browser.open(address(built, f"tasks/{TASK}.html"))
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press("Enter")
    browser.wait("document.activeElement.id === 'main'")
    for selector in ("[data-filter]", "[data-of]", "[data-sort]", "tbody a"):
        browser.tab_to(selector)
        assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_strangers_texts_run_nothing(
    browser: Browser, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names as hostile as the schema lets pass, and texts and links that it refuses."""
    root = tmp_path / "board"
    shutil.copytree(built, root)
    (gate,) = (root / "results" / "spectral-gate").iterdir()
    evil = root / "results" / "evil" / "v1"
    shutil.copytree(gate, evil, ignore=shutil.ignore_patterns("audio"))
    name = '" onfocus="hacked=1" autofocus="\' `${hacked=1}` {{ 7*7 }} &lt;b&gt;'
    markup = "</script><script>hacked=1</script><img src=x onerror=hacked=1><svg onload=hacked=1>]]>"
    header = Submission.read(evil).header
    header = structs.replace(
        header,
        separator=structs.replace(
            header.separator, name=name, revision=name, summary=markup, settings={markup: markup}
        ),
        hardware={"processor": markup, "gpus": []},
        tasks=[structs.replace(task, command=["sabench", markup]) for task in header.tasks],
    )
    write_json(evil / HEADER, to_builtins(header))
    refused = structs.replace(
        header.separator, summary=markup, licence=markup, authors=[markup, name], training_data=[markup],
        links=["javascript:hacked=1", "JaVaScRiPt:hacked=1//", "https://example.org/?\" onclick=\"hacked=1"],
        weights_sha256=markup,
    )  # fmt: skip

    def read_unchecked(root: Path) -> Board:
        """The leaderboard as if the schema let everything pass."""
        board = read_board(root)
        hostile = Submission(evil, structs.replace(header, separator=refused))
        lines = [replace(one, submission=hostile) if one.submission.separator == name else one for one in board.lines]
        return replace(board, lines=tuple(lines))

    monkeypatch.setattr(site, "read_board", read_unchecked)
    log.append(root, [Submission.read(evil)], event="submitted")
    preview, _ = sorted((root / "site" / "listen").glob("*/*/item.json"))
    item = load_json(preview)
    item["credits"] = [{"what": markup, "licence": name, "credit": markup}]
    write_json(preview, item | {"text": markup})
    build_site(root)
    pages = sorted(path.relative_to(root / "site").as_posix() for path in (root / "site").rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        browser.open(address(root, page))
        if page == "compare.html":
            for field, chosen in (("a", line(root, "silence")), ("b", f"{name}/{name}")):
                browser.evaluate(f"form.elements.{field}.value = {json.dumps(chosen)}")
            browser.evaluate("form.dispatchEvent(new Event('change', {bubbles: true}))")
            browser.wait(f"document.getElementById('verdict').textContent.startsWith({json.dumps(name)})")
        assert browser.evaluate("typeof hacked") == "undefined"
        scripts = browser.evaluate("[...document.scripts].map((one) => one.src)")
        assert all(script.startswith((root / "site").as_uri()) for script in scripts), page
        strange = "[...document.querySelectorAll('*')].flatMap((one) => [...one.attributes])"
        assert browser.evaluate(f"{strange}.filter((one) => /^on|^autofocus|^style/.test(one.name)).length") == 0
        assert browser.evaluate(f"{strange}.filter((one) => /^\\s*javascript:/i.test(one.value)).length") == 0
        assert browser.evaluate("document.querySelectorAll('img[src=x], h1 b, svg[onload]').length") == 0
    assert any(markup in browser_text(browser, root, page) for page in pages if page.startswith("separators/"))
    assert markup in browser_text(browser, root, f"items/{TASK}.html")


def browser_text(browser: Browser, root: Path, page: str) -> str:
    """What a reader sees of a page, and what is folded."""
    browser.open(address(root, page))
    text: str = browser.evaluate("document.body.textContent")
    return text


def test_nothing_but_the_sites_own_files_may_run(browser: Browser, built: Path) -> None:
    """The second lock: the policy of every page refuses scripts in the page, and requests."""
    browser.open(address(built, "index.html"))
    browser.evaluate("""{
      const script = document.createElement("script");
      script.textContent = "window.hacked = 1";
      document.body.append(script);
      document.body.insertAdjacentHTML("beforeend", "<img src=y onerror='window.hacked = 1'>");
    }""")
    refused = "fetch('data:,x').then(() => 'sent', () => 'refused')"
    assert browser.evaluate(refused) == "refused"
    assert browser.evaluate("typeof window.hacked") == "undefined"
    browser.open("about:blank")
    told = [trouble for trouble in browser.trouble if "Content Security Policy" in trouble]
    assert len(told) >= 3  # the script, the handler, the request; the image itself is looked for on the disk
    browser.trouble.clear()
    assert all(POLICY in (built / "site" / f"{page}.html").read_text("utf-8") for page in PAGES)


def test_both_colour_schemes(browser: Browser, built: Path) -> None:
    lightness = {}
    for scheme in ("light", "dark"):
        browser.page.emulate_media(color_scheme=scheme)
        browser.open(address(built, "index.html"))
        colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness[scheme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
    assert lightness["dark"] < 150 < 600 < lightness["light"]
