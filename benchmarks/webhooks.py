"""What an event costs its transaction, and how fast messages leave: to one receiver, to many, beside one that hangs.

Run with `make bench`, or `python -m benchmarks.webhooks`. Receivers are a process of their own on this machine, so they
take from the sender's cores. The peer is the same requests sent one after another without log, retries or signature.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.database import machine, own_database, percentile

EVENTS, BATCH, RECEIVERS = 300, 2000, 8
DATA = {"annotation": "12345", "comparison": "12345", "annotator": "anna", "preference": -2, "revision": 1}


def emission(subscribers: int) -> list[float]:
    """Return the milliseconds that single events took with so many subscribers."""
    from django.db import transaction

    from apps.webhooks.services import emit

    project, _endpoints = subscribed([f"https://example.org/{number}" for number in range(subscribers)])
    times = []
    for _ in range(EVENTS):
        with transaction.atomic():
            before = time.perf_counter()
            emit(project=project, event="annotation.submitted", data=DATA)
            times.append((time.perf_counter() - before) * 1000)
    return times


def delivery(urls: list[str]) -> float:
    """Return the messages per second that leave until nothing waits, with as many waiting for each address."""
    from apps.webhooks.delivery import deliver_due
    from apps.webhooks.models import WebhookDelivery
    from apps.webhooks.services import emit_each

    project, _endpoints = subscribed(urls)
    made = emit_each(project=project, event="annotation.submitted", data=[DATA] * (BATCH // len(urls)))
    before = time.perf_counter()
    deliver_due(seconds=120)
    took = time.perf_counter() - before
    left = WebhookDelivery.objects.exclude(state="delivered").filter(project=project).count()
    if left:
        raise RuntimeError(f"{left} of {made} messages did not arrive.")
    return made / took


def beside_a_hanging_one(url: str, hanging: str) -> float:
    """Return the seconds until the last message of a good receiver has left, while as many wait for one that hangs."""
    from apps.webhooks.delivery import deliver_due
    from apps.webhooks.models import WebhookDelivery
    from apps.webhooks.services import emit_each

    project, (good, _bad) = subscribed([url, hanging])
    emit_each(project=project, event="annotation.submitted", data=[DATA] * 400)
    before = time.perf_counter()
    deliver_due(seconds=8)
    last = WebhookDelivery.objects.filter(endpoint=good, state="delivered").order_by("-finished_at").first()
    if last is None or WebhookDelivery.objects.filter(endpoint=good, state="pending").exists():
        raise RuntimeError("The good receiver was held up.")
    return float(last.finished_at.timestamp() - (time.time() - (time.perf_counter() - before)))


def plain(url: str) -> float:
    """Return the requests per second of a loop without anything around it."""
    from apps.core.outgoing import fetch

    before = time.perf_counter()
    for _ in range(EVENTS):
        fetch(url, method="POST", body=b"x" * 300)
    return EVENTS / (time.perf_counter() - before)


def subscribed(urls: list[str]) -> tuple[Any, list[Any]]:
    """Make a project whose answers these addresses hear of; what earlier ones wait for is given up."""
    from apps.projects.services import create_project
    from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
    from apps.webhooks.services import create_endpoint

    WebhookDelivery.objects.all().delete()
    WebhookEndpoint.objects.update(active=False)
    project = create_project(name="Bench", slug=f"bench-{time.time_ns()}", created_by=None)
    made = [create_endpoint(project=project, actor=None, url=url, events=["annotation.submitted"])[0] for url in urls]
    project.refresh_from_db()
    return project, made


@contextmanager
def receivers() -> Iterator[str]:
    """Run the receiving process; yield its address, below which `hang/` never answers."""
    command = [sys.executable, "-m", "benchmarks.webhooks", "--receive"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/"
    finally:
        process.kill()
        process.wait()


def _receive() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/hang/"):
                threading.Event().wait(60)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def main() -> int:
    """Measure on a database of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().receive:
        _receive()
        return 0
    with own_database(), receivers() as address:
        from django.test import override_settings

        with override_settings(OUTGOING_ALLOW=["127.0.0.0/8"]):
            print(f"## Webhooks\n\n{machine()}\n\n| figure | value |\n|---|---:|", flush=True)
            for count in (0, 1, 5):
                _print(f"an event with {count} subscribers, p50 / p95", lambda count=count: _shown(emission(count)))
            _print("messages per second to one receiver", lambda: f"{delivery([address]):.0f}")
            many = [f"{address}{number}/" for number in range(RECEIVERS)]
            _print(f"messages per second to {RECEIVERS} receivers", lambda: f"{delivery(many):.0f}")
            hanging = f"{address}hang/"
            _print(
                "400 messages beside a receiver that hangs", lambda: f"{beside_a_hanging_one(address, hanging):.1f} s"
            )
            _print("peer: requests per second, one after another, bare", lambda: f"{plain(address):.0f}")
    return 0


def _print(name: str, measured: Callable[[], str]) -> None:
    print(f"| {name} | {measured()} |", flush=True)


def _shown(times: list[float]) -> str:
    return f"{percentile(times, 0.5):.3f} / {percentile(times, 0.95):.3f} ms"


if __name__ == "__main__":
    sys.exit(main())
