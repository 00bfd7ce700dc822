"""The client against the product's own server, over real sockets; what is flaky is a proxy between the two."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from apps.accounts.services import create_token
from apps.jobs.kinds import KINDS
from apps.jobs.models import Job
from config.celery import app as celery_app
from tests.factories import MembershipFactory, ProjectFactory
from tiebreak import Retries, Tiebreak

ROOT = Path(__file__).resolve().parents[2]
QUICK = Retries(attempts=5, base=0.01, longest=0.05)


@pytest.fixture
def manager(transactional_db):
    return MembershipFactory(
        project=ProjectFactory(slug="tides", name="Tides"), user__username="mara", role="manager"
    ).user


@pytest.fixture
def token(manager):
    return create_token(user=manager, name="test", scope="write")[1]


@pytest.fixture
def client(live_server, token):
    with Tiebreak(live_server.url, token, retries=QUICK) as connected:
        yield connected


@pytest.fixture
def worker(transactional_db):
    """Do the jobs of the cpu queue as they come, with the worker's own tasks."""
    celery_app.loader.import_default_modules()
    over = threading.Event()

    def work():
        while not over.wait(0.05):
            for job in Job.objects.filter(
                state="queued", kind__in=[k for k, kind in KINDS.items() if kind.queue == "cpu"]
            ):
                celery_app.tasks[KINDS[job.kind].task].run(job.pk)
        connection.close()

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    yield
    over.set()
    thread.join()


def row(number: int, words: int = 12) -> dict:
    """Return an import row with three people's labels."""
    return {
        "external_id": f"q-{number}",
        "messages": [{"role": "user", "content": f"Why are there tides, take {number}?"}],
        "responses": [{"text": f"The moon pulls. {'water ' * words}{number}"}, {"text": f"Nobody knows. {number}"}],
        "annotations": [
            {"annotator": f"a{n}", "preference": -2, "justification": "@Response 1 explains the tides."}
            for n in range(3)
        ],
    }


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(20)))
    return path


@pytest.fixture
def snapshot(client, worker):
    """Return a snapshot with files, made through the client."""
    client.wait(client.import_items("tides", [row(number, 200) for number in range(40)]), timeout=30)
    started = client.create_snapshot("tides", "First", splits={"train": 1.0})
    client.wait(started, timeout=30)
    return client.snapshot(started.id)


class Proxy:
    """Forwards connections to a server, and breaks each after as many bytes as `plan` says (None: never)."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self.target, self.connections = (host, int(port)), 0
        self.down: Callable[[int], int | None] = lambda number: None
        self.up: Callable[[int], int | None] = lambda number: None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self.listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            far = socket.create_connection(self.target)
            for one, other, limit in ((far, near, self.down(number)), (near, far, self.up(number))):
                threading.Thread(target=self._forward, args=(one, other, limit), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        with suppress(OSError):
            while limit is None or limit > 0:
                chunk = source.recv(65536 if limit is None else min(limit, 65536))
                if not chunk:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(chunk)
                limit = None if limit is None else limit - len(chunk)
        for side in (source, sink):
            with suppress(OSError):  # a reset, not an orderly end
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.shutdown(socket.SHUT_RDWR)
            side.close()


@contextmanager
def flaky(target: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.listener.close()


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], Any]) -> Iterator[str]:
    """Run a server that answers as told: a status, (status, headers), (status, headers, body), or None to hang up."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = answer(self)
            if said is None:
                self.close_connection = True
                return
            given = said if isinstance(said, tuple) else (said,)
            status, headers, body = (*given, *({}, b"{}")[len(given) - 1 :])
            self.send_response(status)
            body = b"" if status == 204 or self.command == "HEAD" else body
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_HEAD = handle_any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def proxy(live_server):
    with flaky(live_server.url) as running:
        yield running


@pytest.fixture
def command(live_server, token, tmp_path):
    """Return a function that runs the command `tiebreak` in a folder and home of its own."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        known = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("TIEBREAK_", "XDG_", "DJANGO"))
            },
            "PYTHONPATH": str(ROOT / "client" / "src"),
            "HOME": str(tmp_path / "home"),
            "TIEBREAK_URL": live_server.url,
            "TIEBREAK_TOKEN": token,
            **environment,
        }
        known = {name: value for name, value in known.items() if value}
        return subprocess.run(
            [sys.executable, "-m", "tiebreak", *arguments],
            cwd=tmp_path,
            env=known,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run
