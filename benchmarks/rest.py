"""Lease and submit through REST: eight people at once, 50,000 pairs, the web server as `make demo` starts it.

Run with `make bench`, or `python -m benchmarks.rest`. A cycle is one lease and one submission. The clients are threads
of a process of their own on the same machine, so they take from the server's cores: their share is printed.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.database import machine, own_database, percentile, seed_project

CLIENTS, PAIRS, SECONDS, REPEATS = 8, 50_000, 15, 3
AIM, LEAST = 120, 60
PEER = "Label Studio 1.23 on PostgreSQL, its development server: 6.0 cycles/s, next 220 ms, submit 112 ms (medians)"


def measure(folder: Path, *, pairs: int, seconds: float, repeats: int) -> list[dict[str, Any]]:
    """Seed, start the server, let the clients work `repeats` times; return what they saw."""
    from apps.accounts.services import create_token
    from config.demo import Runner
    from tests.e2e.running import free_port, wait_until

    project, people = seed_project(slug="rest", pairs=pairs, people=CLIENTS)
    keys = [create_token(user=person, name="bench", scope="write")[1] for person in people]
    ratings = dict.fromkeys(project.protocol.attribute_names, 3)
    answer = {
        "preference": -2,
        "ratings": {"1": ratings, "2": ratings},
        "justification": "@Response 1 answers the question in full while @Response 2 leaves the second half out.",
        "active_seconds": 60,
    }
    (folder / "log").mkdir()
    runner = Runner(folder, free_port())
    runner.web.start()
    try:
        wait_until(lambda: _is_up(runner.port), 30, "the server answers")
        order = {"port": runner.port, "slug": project.slug, "keys": keys, "answer": answer}
        return [_one_round({**order, "seconds": length}) for length in (3, *[seconds] * repeats)][1:]
    finally:
        runner.web.kill_group()


def report(rounds: list[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table: of the round with the median throughput."""
    middle = sorted(rounds, key=lambda each: each["cycles"])[len(rounds) // 2]
    all_rounds = ", ".join(f"{each['cycles']:.0f}" for each in rounds)
    rows = [
        ("cycles (lease + submit) per second", f"**{middle['cycles']:.0f}** (rounds: {all_rounds})"),
        ("lease, median and 95th percentile", f"{middle['lease'][0]:.0f} ms, {middle['lease'][1]:.0f} ms"),
        ("submit, median and 95th percentile", f"{middle['submit'][0]:.0f} ms, {middle['submit'][1]:.0f} ms"),
        ("processor time of the clients", f"{middle['client_share']:.0%} of one core"),
        ("peer", PEER),
    ]
    return "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _is_up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _one_round(order: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.rest", "--client"]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


# --- The clients: a process that loads neither Django nor anything else ---


def _client() -> None:
    order = json.load(sys.stdin)
    lease_ms: list[float] = []
    submit_ms: list[float] = []
    answer = json.dumps(order["answer"])
    started, cpu = time.perf_counter(), time.process_time()

    def work(key: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", order["port"])
        headers = {"Authorization": f"Token {key}", "Content-Type": "application/json"}

        def post(path: str, body: str, expected: int, into: list[float]) -> dict[str, Any]:
            before = time.perf_counter()
            connection.request("POST", f"/api/v1/{path}", body, headers)
            reply = connection.getresponse()
            text = reply.read()
            into.append((time.perf_counter() - before) * 1000)
            if reply.status != expected:
                raise RuntimeError(f"{path}: {reply.status} {text[:500]!r}")
            return dict(json.loads(text))

        while time.perf_counter() - started < order["seconds"]:
            leased = post(f"projects/{order['slug']}/assignments/", "{}", 201, lease_ms)
            post(f"assignments/{leased['id']}/submit/", answer, 201, submit_ms)
        connection.close()

    failures: list[BaseException] = []
    threading.excepthook = lambda hook: failures.append(hook.exc_value or RuntimeError())
    threads = [threading.Thread(target=work, args=(key,)) for key in order["keys"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    wall = time.perf_counter() - started
    figures = {
        "cycles": len(submit_ms) / wall,
        "client_share": (time.process_time() - cpu) / wall,
        "lease": [statistics.median(lease_ms), percentile(lease_ms, 0.95)],
        "submit": [statistics.median(submit_ms), percentile(submit_ms, 0.95)],
    }
    print(json.dumps(figures))


def main() -> int:
    """Measure on a database of its own, print the table, and fail when it is slower than it may ever be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        _client()
        return 0
    with own_database() as folder:
        rounds = measure(folder, pairs=options.pairs, seconds=options.seconds, repeats=REPEATS)
        print(f"## Lease and submit through REST\n\n{machine()}; {options.pairs:,} pairs, {CLIENTS} clients\n")
        print(report(rounds))
    median = statistics.median(each["cycles"] for each in rounds)
    print(f"\nAim {AIM} cycles/s, never under {LEAST}: {'reached' if median >= AIM else 'not reached'}")
    return 0 if median >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
