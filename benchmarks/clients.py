"""Clients that work at once through REST: one thread for each key, in a process that loads no Django.

A benchmark starts itself again with `--client` for this, hands over its order on standard input and reads the figures
from standard output. Peers are measured with the same clients.
"""

import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.database import percentile

WARM_UP_SECONDS = 3

Call = Callable[..., dict[str, Any]]
"""`call(method, path, body, expected status, name of the step)` returns the reply's JSON."""


def measure_rounds(module: str, order: dict[str, Any], *, seconds: float, repeats: int) -> list[dict[str, Any]]:
    """Let the clients of `python -m module --client` work `repeats` times after a warm-up; return what they saw."""
    return [_one_round(module, {**order, "seconds": length}) for length in (WARM_UP_SECONDS, *[seconds] * repeats)][1:]


def middle_round(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the round with the median throughput."""
    return sorted(rounds, key=lambda each: each["cycles"])[len(rounds) // 2]


def work(cycle: Callable[[Call, dict[str, Any]], None], steps: tuple[str, ...]) -> None:
    """Repeat the cycle in all threads until the time of the order on standard input is up; print the figures."""
    order = json.load(sys.stdin)
    took: dict[str, list[float]] = {step: [] for step in steps}
    started, cpu = time.perf_counter(), time.process_time()

    def client(key: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", order["port"])
        headers = {"Authorization": f"Token {key}", "Content-Type": "application/json"}

        def call(method: str, path: str, body: str | None, expected: int, step: str) -> dict[str, Any]:
            before = time.perf_counter()
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            text = reply.read()
            took[step].append((time.perf_counter() - before) * 1000)
            if reply.status != expected:
                raise RuntimeError(f"{path}: {reply.status} {text[:500]!r}")
            return dict(json.loads(text))

        while time.perf_counter() - started < order["seconds"]:
            cycle(call, order)
        connection.close()

    failures: list[BaseException] = []
    threading.excepthook = lambda hook: failures.append(hook.exc_value or RuntimeError())
    threads = [threading.Thread(target=client, args=(key,)) for key in order["keys"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    wall = time.perf_counter() - started
    figures: dict[str, Any] = {
        "cycles": len(took[steps[-1]]) / wall,
        "client_share": (time.process_time() - cpu) / wall,
    }
    figures |= {step: [statistics.median(each), percentile(each, 0.95)] for step, each in took.items()}
    print(json.dumps(figures))


def _one_round(module: str, order: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", module, "--client"]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))
