"""Lease and submit through REST: eight people at once, 50,000 pairs, the web server as `make demo` starts it.

Run with `make bench`, or `python -m benchmarks.rest`. A cycle is one lease and one submission. The clients are threads
of a process of their own on the same machine, so they take from the server's cores: their share is printed.
"""

import argparse
import http.client
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.clients import Call, measure_rounds, middle_round, work
from benchmarks.database import machine, own_database, seed_project

CLIENTS, PAIRS, SECONDS, REPEATS = 8, 50_000, 15, 3
AIM, LEAST = 120, 60


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
        order = {"port": runner.port, "slug": project.slug, "keys": keys, "answer": json.dumps(answer)}
        return measure_rounds("benchmarks.rest", order, seconds=seconds, repeats=repeats)
    finally:
        runner.web.kill_group()


def report(rounds: list[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table: of the round with the median throughput."""
    from benchmarks.label_studio import last_measured

    middle = middle_round(rounds)
    all_rounds = ", ".join(f"{each['cycles']:.0f}" for each in rounds)
    rows = [
        ("cycles (lease + submit) per second", f"**{middle['cycles']:.0f}** (rounds: {all_rounds})"),
        ("lease, median and 95th percentile", f"{middle['lease'][0]:.0f} ms, {middle['lease'][1]:.0f} ms"),
        ("submit, median and 95th percentile", f"{middle['submit'][0]:.0f} ms, {middle['submit'][1]:.0f} ms"),
        ("processor time of the clients", f"{middle['client_share']:.0%} of one core"),
        ("peer", last_measured("cycles")),
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


# --- The clients: a process that loads neither Django nor anything else ---


def _cycle(call: Call, order: dict[str, Any]) -> None:
    leased = call("POST", f"/api/v1/projects/{order['slug']}/assignments/", "{}", 201, "lease")
    call("POST", f"/api/v1/assignments/{leased['id']}/submit/", order["answer"], 201, "submit")


def main() -> int:
    """Measure on a database of its own, print the table, and fail when it is slower than it may ever be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        work(_cycle, ("lease", "submit"))
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
