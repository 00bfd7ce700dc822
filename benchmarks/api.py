"""What the API's common ways cost per request: recognising a token, its allowance, JSON, an idempotency key.

Run with `make bench`, or `python -m benchmarks.api`. Everything runs in one process, without a socket, so that the
figures are the server's work alone; the peers are what Django and DRF would do instead.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from benchmarks.database import machine, own_database, percentile, seed_project

CALLS, WARM = 600, 50
AIM_MS, MOST_MS = 0.5, 1.5
"""What an allowance should cost a request at most, and what it may never cost."""


def median_ms(call: Callable[[int], Any], calls: int = CALLS) -> tuple[float, float]:
    """Return median and 95th percentile of a call in milliseconds."""
    took = []
    for number in range(WARM + calls):
        before = time.perf_counter()
        call(number)
        took.append((time.perf_counter() - before) * 1000)
    return statistics.median(took[WARM:]), percentile(took[WARM:], 0.95)


def measure() -> list[tuple[str, tuple[float, float]]]:
    """Return what each way costs, in the order of the table."""
    from django.core.cache.backends.db import DatabaseCache
    from django.core.management import call_command
    from django.test import Client, override_settings
    from rest_framework.renderers import JSONRenderer
    from rest_framework.throttling import UserRateThrottle

    from apps.accounts.models import ApiToken
    from apps.accounts.services import create_token, recognise
    from apps.api.rendering import LeanJSONRenderer
    from apps.core.allowances import Limit
    from apps.signals.api_views import ComparisonList  # noqa: F401  (imported before anything is timed)

    project, people = seed_project(slug="api", pairs=2000, people=2)
    _token, key = create_token(user=people[0], name="bench", scope="admin")
    project.memberships.filter(user=people[0]).update(role="manager")
    plenty, none = Limit("token", 10**9, 60.0), Limit("token", 0, 60.0)
    call_command("createcachetable", "bench_throttle", verbosity=0)
    throttle = type(
        "Throttle", (UserRateThrottle,), {"rate": "100000/min", "cache": DatabaseCache("bench_throttle", {})}
    )
    request = SimpleNamespace(user=people[0])
    client = Client(headers={"Authorization": f"Token {key}"})
    list_path = "/api/v1/projects/api/comparisons/?page_size=100"
    page = json.loads(client.get(list_path).content)

    def get(path: str) -> None:
        reply = client.get(path)
        if reply.status_code != 200:
            raise RuntimeError(f"{path}: {reply.status_code}")

    def post(number: int, **headers: str) -> None:
        body = {"slug": f"made-{number}-{len(headers)}", "name": "Made"}
        reply = client.post("/api/v1/projects/", body, content_type="application/json", headers=headers)
        if reply.status_code != 201:
            raise RuntimeError(f"{reply.status_code} {reply.content!r}")

    rows = [
        ("token by Django's ORM, without an allowance", median_ms(lambda _: ApiToken.objects.usable(key))),
        ("token without an allowance", median_ms(lambda _: recognise(key=key, limit=none))),
        ("**token with its allowance**, one statement", median_ms(lambda _: recognise(key=key, limit=plenty))),
        (
            "peer: DRF's throttle on Django's database cache alone",
            median_ms(lambda _: throttle().allow_request(request, None)),
        ),
        ("100 rows of a list as JSON", median_ms(lambda _: LeanJSONRenderer().render(page))),
        ("peer: DRF's renderer", median_ms(lambda _: JSONRenderer().render(page))),
        ("GET of a project, whole", median_ms(lambda _: get("/api/v1/projects/api/"))),
        ("GET of 100 comparisons, whole", median_ms(lambda _: get(list_path), 100)),
        ("the same, `fields=id,state`", median_ms(lambda _: get(f"{list_path}&fields=id,state"), 100)),
        ("POST of a project", median_ms(post, 200)),
        (
            "the same with an idempotency key",
            median_ms(lambda number: post(number, **{"Idempotency-Key": f"key-{number}"}), 200),
        ),
    ]
    with override_settings(API_RATE_LIMIT=0):
        rows.append(("GET of a project, `API_RATE_LIMIT=0`", median_ms(lambda _: get("/api/v1/projects/api/"))))
    return rows


def main() -> int:
    """Measure on a database of its own, print the table, and fail when an allowance costs more than it may."""
    with own_database():
        from django.conf import settings

        settings.ALLOWED_HOSTS.append("testserver")
        settings.API_RATE_LIMIT = 10**9
        rows = measure()
        print(f"## What the API's common ways cost\n\n{machine()}; milliseconds, one process\n")
    print("| way | median | 95th percentile |\n|---|---:|---:|")
    for name, (middle, high) in rows:
        print(f"| {name} | {middle:.2f} | {high:.2f} |")
    costs = rows[2][1][0] - rows[1][1][0]
    reached = "reached" if costs <= AIM_MS else "not reached"
    print(f"\nAn allowance costs {costs:.2f} ms a request. Aim {AIM_MS} ms, never over {MOST_MS}: {reached}")
    return 0 if costs <= MOST_MS else 1


if __name__ == "__main__":
    sys.exit(main())
