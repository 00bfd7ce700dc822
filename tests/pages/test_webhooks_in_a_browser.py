"""Webhooks in a browser: set up by keyboard, the log that follows by itself, and what axe says."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from apps.webhooks.delivery import deliver_due
from apps.webhooks.models import WebhookEndpoint
from apps.webhooks.services import create_endpoint, disable_endpoint, send_test
from tests.e2e.browser import axe_violations

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/projects/tides/webhooks/"


@pytest.fixture
def receiver(settings):
    """Run somebody's server that takes everything."""
    settings.OUTGOING_ALLOW = ["127.0.0.0/8"]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_is_set_up_by_keyboard_and_its_log_follows(open_page, manager, project, receiver):
    page = open_page(manager, PAGE)
    page.get_by_label("Address").focus()
    page.keyboard.type(receiver)
    page.keyboard.press("Tab")
    page.keyboard.type("Pager")
    page.get_by_label("A job has failed").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    secret = page.get_by_label("Secret").input_value()
    assert secret.startswith("whsec_")
    page.get_by_role("link", name="Pager").press("Enter")
    page.wait_for_url("**/webhooks/*/")
    page.get_by_role("button", name="Send a test").press("Enter")
    page.get_by_text("A test message is on its way").wait_for()
    log = page.get_by_role("region", name="What was sent")
    assert "Waiting" in log.get_by_role("row").nth(1).inner_text()
    deliver_due()
    log.get_by_text("Delivered", exact=True).nth(1).wait_for()  # by itself: the first one is the filter
    assert WebhookEndpoint.objects.get().last_success_at is not None
    assert page.console == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(open_page, manager, project, width, scheme):
    events = ["annotation.submitted", "consensus.reached", "job.failed"]
    address = f"https://example.org/{'long' * 40}"
    first, _secret = create_endpoint(project=project, actor=manager, url=address, events=events, description="Pager")
    other, _secret = create_endpoint(project=project, actor=manager, url=address, events=events)
    disable_endpoint(endpoint_id=other.pk, reason="The server answered 410: it wants no more messages.")
    delivery = send_test(endpoint=first)
    page = open_page(manager, PAGE, viewport={"width": width, "height": 800}, color_scheme=scheme)
    hook = f"{PAGE}{first.pk}/"
    for path in (PAGE, hook, f"{PAGE}{other.pk}/", f"{hook}messages/{delivery.pk}/"):
        page.goto(path)
        assert axe_violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    assert page.console == []
