"""The pages with figures on them, in a real browser: readable for everybody, on a phone and in the dark."""

import os

import pytest

from tests.e2e.browser import axe_violations, chromium
from tests.pages.conftest import sign_in
from tests.quality.conftest import store
from tests.quality.simulation import simulate

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def browser():
    # Playwright keeps an event loop in this thread, which Django would take for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with chromium() as started:
        yield started
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def test_axe_finds_nothing_and_the_keyboard_leads_to_a_person(browser, live_server, project, manager):
    people = store(project, simulate(seed=11, habits=["honest"] * 5 + ["first"], pairs=150))
    address = f"/projects/tides/quality/annotators/{people[5].pk}/"
    for width, height, scheme in ((1440, 900, "light"), (390, 844, "dark")):
        screen = {"width": width, "height": height}
        context = browser.new_context(
            base_url=live_server.url, bypass_csp=True, color_scheme=scheme, viewport=screen, reduced_motion="reduce"
        )
        page = context.new_page()
        console = []
        page.on("console", lambda message, console=console: console.append(message.text))
        sign_in(page, manager.username, "/projects/tides/quality/")
        for path in ("/projects/tides/quality/", address):
            page.goto(path)
            assert axe_violations(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        page.goto("/projects/tides/quality/")
        remarked = page.get_by_role("link", name="person-5-first").first
        remarked.focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{address}")
        assert page.get_by_text("prefers what is shown first").is_visible()
        assert console == []
        context.close()
