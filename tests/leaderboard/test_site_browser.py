"""The site in headless Chromium, from a disk: sorting, filtering, listening, comparing. Skipped where there is none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from sam_audio_bench.files import write_json
from sam_audio_bench.leaderboard.board import read_board
from sam_audio_bench.leaderboard.labels import number
from sam_audio_bench.leaderboard.previews import make_previews
from sam_audio_bench.leaderboard.site import build
from sam_audio_bench.leaderboard.sitedata import item_scores
from sam_audio_bench.stats.bootstrap import paired_interval
from tests.ratings.test_listening_browser import CHROMIUM, Chromium

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
TASK = "music@1-mini"


@pytest.fixture(scope="module")
def built(pristine_board: Path, finished_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard with a site and something to listen to."""
    root = tmp_path_factory.mktemp("built") / "board"
    shutil.copytree(pristine_board, root, ignore=shutil.ignore_patterns("site"))
    rule = {"id": "music", "title": "Music", "metric": "si_sdr_i", "split": "mini", "subset": "paper"}
    write_json(root / "boards.json", [{**rule, "parts": {"text": ["music"]}}])
    make_previews(root, [finished_runs], items=1)
    build(root)
    return root


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


def address(root: Path, page: str, query: str = "") -> str:
    """A page of the site on the disk."""
    return (root / "site" / page).as_uri() + query


def names(browser: Chromium) -> list[str]:
    """Lines of the first table that are shown, from top to bottom."""
    rows = "[...document.querySelectorAll('.sortable tbody:not([hidden]) tr[data-name]:not([hidden])')]"
    found: list[str] = browser.evaluate(f"{rows}.map((row) => row.dataset.name)")
    return found


def test_sorting_by_mouse_and_keyboard(browser: Chromium, built: Path) -> None:
    browser.open(address(built, f"tasks/{TASK}.html"))
    assert names(browser) == ["spectral-gate", "mixture", "silence"]
    head = "document.querySelectorAll('#scores thead th')[3]"
    browser.click("#scores thead th:nth-child(4) button")
    assert browser.evaluate(f"{head}.getAttribute('aria-sort')") == "descending"
    browser.evaluate(f"{head}.querySelector('button').focus()")
    browser.press("Enter")
    assert browser.evaluate(f"{head}.getAttribute('aria-sort')") == "ascending"
    assert names(browser) == ["spectral-gate", "silence", "mixture"]  # rows stay in their sections


def test_filtering(browser: Chromium, built: Path) -> None:
    browser.open(address(built, "index.html"))
    browser.click("[data-kind=baseline][data-of]")
    assert names(browser) == ["spectral-gate"]
    browser.click("[data-kind=baseline][data-of]")
    browser.click("[data-filter]")
    browser.type("sil")
    assert names(browser) == ["silence"]
    assert browser.evaluate("document.querySelector('[data-count]').value") == "1 of 3 shown"


def test_listening(browser: Chromium, built: Path) -> None:
    browser.open(address(built, f"items/{TASK}.html"))
    assert browser.evaluate("document.querySelectorAll('audio').length") == 3
    browser.click("h1")  # a page may play once somebody has touched it
    browser.evaluate("window.player = document.querySelectorAll('audio')[2]; player.muted = true; player.play()")
    browser.wait("player.currentTime > 0.1")
    assert browser.evaluate("Math.round(player.duration)") == 8
    browser.evaluate("player.pause()")
    browser.wait("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_comparing_gives_the_numbers_of_the_package(browser: Chromium, built: Path) -> None:
    board = read_board(built)
    scores = item_scores(board, TASK, "snr_i")
    first, second = (next(name for name in scores["lines"] if name.startswith(one)) for one in ("mixture", "spectral"))
    query = f"?a={quote(first, safe='')}&b={quote(second, safe='')}&task={quote(TASK, safe='')}&metric=snr_i"
    browser.open(address(built, "compare.html", query))
    browser.wait("!document.getElementById('result').hidden")
    pairs = zip(scores["lines"][first], scores["lines"][second], scores["groups"], strict=True)
    known = [(a, b, group) for a, b, group in pairs if a is not None and b is not None]
    a, b, groups = (list(column) for column in zip(*known, strict=True))
    interval = paired_interval(b, a, groups)
    assert interval is not None
    shown = browser.evaluate("document.getElementById('interval').textContent")
    assert shown == f"{number(interval.low)} to {number(interval.high)}"
    assert browser.evaluate("document.querySelectorAll('#worst tr').length") == min(10, len(known))
    assert browser.evaluate("document.querySelectorAll('#dots circle').length") == len(known)
    worst = min(range(len(known)), key=lambda place: b[place] - a[place])
    gap = browser.evaluate("document.querySelector('#worst td:last-child').textContent")
    assert gap == number(b[worst] - a[worst])


@pytest.mark.parametrize(
    "page", ["index.html", f"tasks/{TASK}.html", f"items/{TASK}.html", "compare.html", "reading.html"]
)
def test_narrow_screens_do_not_scroll_sideways(browser: Chromium, built: Path, page: str) -> None:
    browser("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=False)
    browser.open(address(built, page))
    width = browser.evaluate("document.documentElement.scrollWidth")
    browser("Emulation.clearDeviceMetricsOverride")
    assert width <= 380


def test_both_colour_schemes(browser: Chromium, built: Path) -> None:
    lightness = {}
    for scheme in ("light", "dark"):
        browser("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser.open(address(built, "index.html"))
        colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness[scheme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
    browser("Emulation.setEmulatedMedia", features=[])
    assert lightness["dark"] < 150 < 600 < lightness["light"]
