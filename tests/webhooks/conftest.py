"""Receivers of webhooks: real servers of somebody else, at a socket."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook

from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.services import create_endpoint
from tests.factories import MembershipFactory


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A running server: its address, what it got, and what it answers (status, headers)."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    before: Callable[[], None] = lambda: None

    def verified(self, secret: str) -> list[dict]:
        """Return what came, each message checked by Standard Webhooks' own library."""
        return [Webhook(secret).verify(each.body, each.headers) for each in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver until the end of the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            receiver.before()
            self.send_response(receiver.status)
            for name, value in {"Content-Length": str(len(receiver.body)), **receiver.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def local(settings):
    settings.OUTGOING_ALLOW = ["127.0.0.0/8"]


@pytest.fixture
def receiver(local):
    with receiving() as running:
        yield running


@pytest.fixture
def subscribe(project, manager):
    """Return a function that subscribes an address and returns the endpoint with its secret."""

    def subscribed(url: str, *events: str) -> tuple[WebhookEndpoint, str]:
        made = create_endpoint(project=project, actor=manager, url=url, events=events or ("job.failed",))
        project.refresh_from_db()
        return made

    return subscribed


def only_delivery() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


@pytest.fixture
def reviewer(project):
    return MembershipFactory(project=project, user__username="rosa", role="reviewer").user
