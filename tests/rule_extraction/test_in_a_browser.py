"""The pages of language models and extractions, in a real browser: readable for everybody, on a phone, in the dark."""

import os

import pytest

from apps.endpoints.services import create_endpoint, test_endpoint
from apps.rules.extraction import Selection, start_reading
from tests.e2e.browser import axe_violations, chromium
from tests.pages.conftest import sign_in
from tests.rule_extraction.conftest import imported, pair
from tests.rule_extraction.scripted import Extractor
from worker.tasks.rule_reading import read_rules

pytestmark = pytest.mark.django_db(transaction=True)
run_test = test_endpoint
del test_endpoint  # pytest would take it for a test


@pytest.fixture
def browser():
    # Playwright keeps an event loop in this thread, which Django would take for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with chromium() as started:
        yield started
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def test_axe_finds_nothing_and_nothing_runs_over_the_edge(browser, live_server, server, project, manager):
    server.answer = Extractor()
    imported(project, [pair(n) for n in range(4)])
    endpoint = create_endpoint(owner=manager, name="Mine", model="m" * 60, base_url=server.url)
    made = start_reading(project=project, endpoint=str(endpoint.pk), selection=Selection(4), seed=1, created_by=manager)
    read_rules(made.job_id)
    run_test(endpoint=endpoint)
    rules = "/projects/tides/rules/extractions/"
    pages = ("/account/models/", f"/account/models/{endpoint.pk}/", rules, f"{rules}{made.pk}/", f"{rules}{made.pk}/1/")
    for width, height, scheme in ((1440, 900, "light"), (390, 844, "dark")):
        screen = {"width": width, "height": height}
        context = browser.new_context(
            base_url=live_server.url, bypass_csp=True, color_scheme=scheme, viewport=screen, reduced_motion="reduce"
        )
        page = context.new_page()
        console = []
        page.on("console", lambda message, console=console: console.append(message.text))
        sign_in(page, manager.username, pages[0])
        for path in pages:
            page.goto(path)
            assert axe_violations(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert console == []
        context.close()
