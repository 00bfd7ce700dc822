"""Server time and queries of what an annotator's page and script ask for, at a million pairs and 200,000 annotations.

Run with `make bench`, or `python -m benchmarks.pages --pairs N`. Each request passes through the whole WSGI application
of the product in this process: middleware, session or token, view, template. What the network adds is not in it.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from benchmarks.database import machine, own_database, percentile, seed_project, seed_work

PAIRS, COMPLETE, BEGUN, PEOPLE = 1_000_000, 60_000, 20_000, 61
ROUNDS = 150
AIM_MEDIAN, AIM_P95, MOST_QUERIES = 25.0, 60.0, 12
JUSTIFICATION = "@Response 1 answers the question in full while @Response 2 leaves the second half out of it."
SCRIPT = {"HTTP_HX_REQUEST": "true"}


class Server:
    """The product's WSGI application, asked without a network; counts what each request takes."""

    def __init__(self) -> None:
        from django.core.handlers.wsgi import WSGIHandler

        self._application = WSGIHandler()
        self.seen: dict[str, list[tuple[float, float, int]]] = defaultdict(list)

    def ask(self, what: str, method: str, path: str, *, expected: int, body: bytes = b"", **environ: str) -> bytes:
        """Send a request, note its milliseconds (passed, computed here) and queries under `what`; return the body."""
        from django.db import connection
        from django.test import RequestFactory

        request = RequestFactory().generic(method, path, body, SERVER_NAME="127.0.0.1", **environ)
        answered: list[int] = []
        queries = 0

        def count(execute: Callable[..., Any], *arguments: Any) -> Any:
            nonlocal queries
            queries += 1
            return execute(*arguments)

        def start_response(status: str, headers: list[tuple[str, str]], trouble: Any = None) -> None:
            answered.append(int(status.split()[0]))

        with connection.execute_wrapper(count):
            started, processor = time.perf_counter(), time.process_time()
            response = self._application(request.environ, start_response)
            content = b"".join(response)
            response.close()
            wall, own = time.perf_counter() - started, time.process_time() - processor
            self.seen[what].append((wall * 1000, own * 1000, queries))
        if answered != [expected]:
            raise RuntimeError(f"{what}: {answered} instead of {expected}: {content[:500]!r}")
        return content


class Person:
    """Somebody who labels, on the page and through REST."""

    def __init__(self, server: Server, project: Any, user: Any, name: str) -> None:
        from apps.accounts.services import create_token

        self.server, self.project, self.user, self.name = server, project, user, name
        self._page = {
            "HTTP_COOKIE": f"sessionid={_session_of(user)}; csrftoken={'c' * 32}",
            "HTTP_X_CSRFTOKEN": "c" * 32,
        }
        self._key = create_token(user=user, name="bench", scope="write")[1]
        self._ratings = dict.fromkeys(project.protocol.attribute_names, 3)

    def page(self, what: str, method: str, path: str, expected: int, fields: Any = (), **more: Any) -> None:
        """Ask as a browser does."""
        body = more.pop("body", urlencode(fields).encode())
        self.server.ask(
            f"{what} | {self.name}",
            method,
            path,
            expected=expected,
            body=body,
            content_type="application/x-www-form-urlencoded",
            **self._page,
            **more,
        )

    def rest(self, what: str, path: str, body: Any) -> dict[str, Any]:
        """Ask as a program does."""
        content = self.server.ask(
            f"{what} | {self.name}",
            "POST",
            f"/api/v1/{path}",
            expected=201,
            body=json.dumps(body).encode(),
            content_type="application/json",
            HTTP_AUTHORIZATION=f"Token {self._key}",
        )
        return dict(json.loads(content))

    def form(self, **changes: Any) -> dict[str, Any]:
        """Return the fields of a complete answer."""
        ratings = {f"rating-{label}-{name}": 3 for label in (1, 2) for name in self._ratings}
        return {**ratings, "preference": "-2", "justification": JUSTIFICATION, "active_seconds": 60, **changes}

    def answer(self) -> dict[str, Any]:
        """Return a complete answer."""
        ratings = {"1": self._ratings, "2": self._ratings}
        return {"preference": -2, "ratings": ratings, "justification": JUSTIFICATION, "active_seconds": 60}

    def held(self) -> tuple[str, str]:
        """Return the ids of the assignment this person sees and of the one leased ahead; "" for none."""
        from apps.labeling.models import Assignment

        live = Assignment.objects.live().filter(project=self.project, annotator=self.user)
        ids = {ahead: str(pk) for ahead, pk in live.values_list("ahead", "pk")}
        return ids.get(False, ""), ids.get(True, "")


def work(person: Person, rounds: int) -> None:
    """Label as the page's script does, as a browser without scripts does, and as a program does."""
    queue, slug = f"/projects/{person.project.slug}/queue/", person.project.slug
    draft = {"ratings": {"1": {"helpfulness": 3}}, "justification": JUSTIFICATION}
    for _ in range(rounds):
        person.page("page with a new pair", "GET", queue, 200)
        shown, _none = person.held()
        person.page("page again", "GET", queue, 200)
        person.page("next pair for the script", "POST", f"/assignments/{shown}/next/", 200, **SCRIPT)
        shown, ahead = person.held()
        person.page("draft", "PUT", f"/assignments/{shown}/draft/", 200, body=json.dumps(draft).encode())
        path = f"/assignments/{shown}/submit/"
        person.page("submit, next pair at hand", "POST", path, 204, person.form(ahead=ahead), **SCRIPT)
        person.page("submit, plain form", "POST", f"/assignments/{ahead}/submit/", 302, person.form())
        leased = person.rest("REST lease", f"projects/{slug}/assignments/", {})
        person.rest("REST submit", f"assignments/{leased['id']}/submit/", person.answer())


def report(server: Server) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| request | person | queries | p50 | p95 | of it Python, p50 |", "|---|---|---:|---:|---:|---:|"]
    for what, seen in server.seen.items():
        wall, own, queries = zip(*seen, strict=True)
        figures = [percentile(wall, 0.5), percentile(wall, 0.95), percentile(own, 0.5)]
        lines.append(f"| {what} | {max(queries)} | " + " | ".join(f"{ms:.1f} ms" for ms in figures) + " |")
    return "\n".join(lines)


def over_the_limit(server: Server) -> list[str]:
    """Return what is slower, or asks the database more, than the page may."""
    troubles = []
    for what, seen in server.seen.items():
        wall, _own, queries = zip(*seen, strict=True)
        if percentile(wall, 0.5) > AIM_MEDIAN or percentile(wall, 0.95) > AIM_P95 or max(queries) > MOST_QUERIES:
            troubles.append(what)
    return troubles


def measure(*, pairs: int, complete: int, begun: int, rounds: int) -> Server:
    """Seed a project, let a newcomer and the person who has done most work in it, and return what was seen."""
    from apps.accounts.models import User

    project, people = seed_project(slug="million", pairs=pairs, people=PEOPLE)
    seed_work(project=project, people=people, complete=complete, begun=begun)
    newcomer = User.objects.create(username="newcomer")
    join(project, newcomer)
    server = Server()
    done = f"who has done {complete // 6 + begun // 2:,}"
    persons = [Person(server, project, newcomer, "new"), Person(server, project, people[0], done)]
    for person in persons:
        work(person, 5)
    server.seen.clear()
    for person in persons:
        work(person, rounds)
    return server


def join(project: Any, user: Any) -> None:
    """Let somebody label in a project."""
    from apps.projects.models import Membership

    Membership.objects.create(project=project, user=user, role=Membership.Role.ANNOTATOR)


def _session_of(user: Any) -> str:
    """Sign somebody in and return the key of the session."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def main() -> int:
    """Measure on a database of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    share = options.pairs / PAIRS
    with own_database():
        server = measure(
            pairs=options.pairs, complete=int(COMPLETE * share), begun=int(BEGUN * share), rounds=options.rounds
        )
        print("## Server time of the page\n")
        print(f"{machine()}; {options.pairs:,} pairs, {int((3 * COMPLETE + BEGUN) * share):,} annotations\n")
        print(report(server))
    troubles = over_the_limit(server)
    aim = f"p50 ≤ {AIM_MEDIAN:.0f} ms, p95 ≤ {AIM_P95:.0f} ms, at most {MOST_QUERIES} queries"
    print(f"\nAim ({aim}): {'not reached by ' + '; '.join(troubles) if troubles else 'reached'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
