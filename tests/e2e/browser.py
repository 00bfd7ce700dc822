"""A real Chromium, and an annotator who uses the compare page in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium, or Playwright's own when there is none."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def axe_violations(page: Page) -> list[tuple[str, str]]:
    """Return each rule that axe finds broken, with its first element; a list of what passes doubles the time."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found]


@dataclass
class Person:
    """Somebody signed in, in a browser window of their own; `console` collects what should stay empty."""

    page: Page
    console: list[str] = field(default_factory=list)

    @classmethod
    def sign_in(cls, browser: Browser, base_url: str, username: str, password: str, **window: Any) -> "Person":
        """Open a window and sign in through the page."""
        person = cls(browser.new_context(base_url=base_url, accept_downloads=True, **window).new_page())
        person.page.on("console", lambda message: person.console.append(f"{message.type}: {message.text}"))
        person.page.on("pageerror", lambda error: person.console.append(str(error)))
        person.page.goto("/")
        person.page.get_by_label("Username").fill(username)
        person.page.get_by_label("Password").fill(password)
        person.page.get_by_role("button", name="Sign in").click()
        expect(person.page.get_by_role("banner").get_by_text(username)).to_be_visible()
        return person

    def shown_texts(self) -> list[str]:
        """Return the raw texts of the two responses in the order shown."""
        return [pane.inner_text() for pane in self._panes("pre.text-raw")]

    def answer_with_the_mouse(self, *, preference: str, ratings: tuple[int, int], justification: str) -> None:
        """Fill the whole form by clicking, and submit."""
        for label, value in zip((1, 2), ratings, strict=True):
            for attribute in ATTRIBUTES:
                self.page.locator(f"#rating-{label}-{attribute}-{value}").check(force=True)
        self.page.locator(f"input[name=preference][value='{preference}']").check(force=True)
        self.page.get_by_label("Why?").fill(justification)
        self.page.get_by_role("button", name="Submit").click()

    def answer_by_keyboard(self, *, preference_key: str, ratings: tuple[int, int], justification: str) -> None:
        """Fill the whole form without a pointer: digits move on by themselves, Ctrl+Enter sends."""
        keyboard = self.page.keyboard
        keyboard.press("a")
        for value in ratings:
            for _ in ATTRIBUTES:
                keyboard.press(str(value))
        keyboard.press(preference_key)
        keyboard.type(justification)
        keyboard.press("Control+Enter")

    def _panes(self, selector: str) -> list[Any]:
        self.page.keyboard.press("Escape")
        self.page.locator("[data-raw]").click()
        panes = self.page.locator(f".pane {selector}").all()
        assert len(panes) == 2
        return panes
