"""Pages from a disk in headless Chromium, by Playwright; Chromium itself is the machine's, nothing is downloaded."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_LACKING = "no Chromium on the path" if CHROMIUM is None else "Playwright is not installed"
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None, reason=_LACKING
)  # fmt: skip
_PATIENCE = 30.0  # seconds
_HERE = ("file:", "about:", "blob:", "data:")


class Browser:
    """One page, and what went wrong in it: exceptions, errors of the console, and requests that leave the disk."""

    def __init__(self) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        flags = ["--mute-audio", "--no-sandbox", "--disable-dev-shm-usage"]
        self._chromium = self._playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        self.trouble: list[str] = []
        self.renew()

    def renew(self) -> None:
        """A window that knows nothing of the ones before: Chromium shows their icons on pages that have none."""
        for context in self._chromium.contexts:
            context.close()
        self.trouble.clear()
        self.page = self._chromium.new_context().new_page()
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("console", lambda message: self._heard(message.type == "error", message.text))
        self.page.on("request", lambda request: self._heard(not request.url.startswith(_HERE), request.url))

    def _heard(self, bad: bool, text: str) -> None:
        if bad:
            self.trouble.append(text)

    def close(self) -> None:
        """Ends the browser."""
        self._chromium.close()
        self._playwright.stop()

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; an exception in it fails the test."""
        return self.page.evaluate(expression)

    def wait(self, expression: str) -> None:
        """Waits until an expression is true.

        Not by `wait_for_function`, which a page's policy against eval forbids.
        """
        end = time.monotonic() + _PATIENCE
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never became true: {expression}"
            self.page.wait_for_timeout(20)

    def open(self, url: str) -> None:
        """Loads a page, from the beginning even if only the fragment differs."""
        self.page.goto("about:blank")
        self.page.goto(url)

    def press(self, key: str) -> None:
        """Presses and releases a key."""
        self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self.page.keyboard.type(text)

    def click(self, selector: str) -> None:
        """Clicks in the middle of an element with the mouse."""
        self.page.click(selector)

    def tab_to(self, selector: str) -> None:
        """Presses Tab until an element has the focus, as somebody without a mouse does."""
        for _ in range(40):
            if self.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            self.press("Tab")
        raise AssertionError(f"the keyboard does not reach {selector}")
