"""Every address × person × method × token: who gets in, who does not and how, and nothing an annotator must not see."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from django.urls import URLPattern
from django.urls.resolvers import RoutePattern
from rest_framework.views import APIView

from apps.api import urls
from apps.api.parameters import known_parameters
from tests.api.conftest import SIGNAL_VALUE, Api, World, problem
from tests.factories import ComparisonFactory, MembershipFactory, ProjectFactory

pytestmark = pytest.mark.django_db
SAFE = {"GET", "HEAD", "OPTIONS"}
TUS = {"Tus-Resumable": "1.0.0"}
"""What resumable uploads want in every request; nothing else looks at it."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PUBLIC = {"schema/", "docs/"}
OPEN_TO_ALL_SIGNED_IN = PUBLIC | {"projects/", "tokens/", "model-endpoints/"}
ROUTES = [
    str(pattern.pattern)
    for pattern in urls.urlpatterns
    if isinstance(pattern, URLPattern) and isinstance(pattern.pattern, RoutePattern)
]
PEOPLE = ("manager", "reviewer", "annotator", "researcher")


@dataclass(frozen=True)
class Case:
    """Who gets in, by first letters (`s` for a researcher, who would share one), and what the other members get."""

    people: str
    others: int = 403
    scope: str = ""

    def allows(self, person: str) -> bool:
        """Say whether this kind of member gets in."""
        return {"manager": "m", "reviewer": "r", "annotator": "a", "researcher": "s"}[person] in self.people


ALL, RESULTS, OVERSEES, LABELS_SEEN = Case("mras"), Case("ms"), Case("mr"), Case("mrs")
MANAGER, HOLDER, OWN = Case("m"), Case("a", others=404), Case("mras", scope="admin")
POWER = Case("m", scope="admin")
NOBODY, OTTOS = Case("", others=404, scope="admin"), Case("", others=404)
ASKED = Case("ms", scope="read")
"""The assignment is the annotator's; the token and the language model are Otto's; to ask for rewards is to read."""
P = "projects/<slug:slug>/"
CASES: dict[str, dict[str, Case]] = {
    "schema/": {"GET": ALL},
    "docs/": {"GET": ALL},
    "tokens/": {"GET": OWN, "POST": OWN},
    "tokens/<str:id>/": {"DELETE": NOBODY},
    "model-endpoints/": {"GET": ALL, "POST": ALL},
    "model-endpoints/<str:id>/": {"GET": OTTOS, "PATCH": OTTOS, "DELETE": OTTOS},
    "model-endpoints/<str:id>/test/": {"POST": OTTOS},
    "projects/": {"GET": ALL, "POST": ALL},
    P: {"GET": ALL, "PATCH": MANAGER},
    f"{P}members/": {"GET": LABELS_SEEN, "POST": MANAGER},
    f"{P}members/<path:username>/": {"PATCH": MANAGER, "DELETE": MANAGER},
    f"{P}imports/": {"GET": RESULTS, "POST": MANAGER},
    "imports/<str:id>/": {"GET": RESULTS},
    "imports/<str:id>/report/": {"GET": RESULTS},
    "imports/<str:id>/undo/": {"POST": MANAGER},
    f"{P}uploads/": {"POST": MANAGER, "OPTIONS": MANAGER},
    f"{P}uploads/<str:id>/": {"HEAD": MANAGER, "PATCH": MANAGER, "DELETE": MANAGER, "OPTIONS": MANAGER},
    f"{P}assignments/": {"POST": Case("mra")},
    "assignments/<str:id>/draft/": {"PUT": HOLDER},
    "assignments/<str:id>/submit/": {"POST": HOLDER},
    "assignments/<str:id>/skip/": {"POST": HOLDER},
    "assignments/<str:id>/reopen/": {"POST": HOLDER},
    f"{P}comparisons/": {"GET": LABELS_SEEN},
    f"{P}comparisons/<str:id>/": {"GET": LABELS_SEEN},
    f"{P}comparisons/<str:id>/close/": {"POST": OVERSEES},
    f"{P}comparisons/<str:id>/put-back/": {"POST": OVERSEES},
    f"{P}flags/": {"GET": OVERSEES},
    f"{P}cohorts/": {"GET": MANAGER, "POST": MANAGER},
    "cohorts/<str:id>/": {"GET": MANAGER, "PATCH": MANAGER, "DELETE": MANAGER},
    f"{P}annotations/": {"GET": LABELS_SEEN},
    f"{P}snapshots/": {"GET": RESULTS, "POST": RESULTS},
    "snapshots/<str:id>/": {"GET": RESULTS},
    "snapshots/<str:id>/card/": {"GET": RESULTS},
    "snapshots/<str:id>/croissant/": {"GET": RESULTS},
    "snapshots/<str:id>/diff/<str:other_id>/": {"GET": RESULTS},
    "snapshots/<str:id>/files/<str:export_format>/<str:file>": {"GET": RESULTS},
    f"{P}scorers/": {"GET": RESULTS, "POST": RESULTS},
    "scorers/<str:id>/run/": {"POST": RESULTS},
    f"{P}signals/": {"GET": RESULTS},
    f"{P}training-runs/": {"GET": RESULTS, "POST": RESULTS},
    "training-runs/<str:id>/": {"GET": RESULTS},
    "training-runs/<str:id>/resume/": {"POST": RESULTS},
    f"{P}recipe-searches/": {"GET": RESULTS, "POST": RESULTS},
    "recipe-searches/<str:id>/": {"GET": RESULTS},
    "recipe-searches/<str:id>/use/": {"POST": RESULTS},
    f"{P}reward-models/": {"GET": RESULTS},
    "reward-models/<str:id>/": {"GET": RESULTS},
    "reward-models/<str:id>/promote/": {"POST": MANAGER},
    "reward-models/<str:id>/rollback/": {"POST": MANAGER},
    "reward-models/<str:id>/evaluations/": {"GET": RESULTS, "POST": RESULTS},
    "reward-models/<str:id>/card/": {"GET": RESULTS},
    "reward-models/<str:id>/archive/": {"GET": RESULTS},
    "reward-models/<str:id>/score/": {"POST": ASKED},
    "evaluations/<str:id>/": {"GET": RESULTS},
    f"{P}retrain-policy/": {"GET": RESULTS, "PATCH": MANAGER},
    f"{P}quality/": {"GET": RESULTS},
    "rule-sets/<str:id>/verify/": {"POST": RESULTS},
    f"{P}webhooks/": {"GET": MANAGER, "POST": POWER},
    f"{P}webhooks/<str:id>/": {"GET": MANAGER, "PATCH": POWER, "DELETE": MANAGER},
    f"{P}webhooks/<str:id>/test/": {"POST": MANAGER},
    f"{P}webhooks/<str:id>/rotate/": {"POST": POWER},
    f"{P}webhooks/<str:id>/deliveries/": {"GET": MANAGER},
    "webhook-deliveries/<str:id>/replay/": {"POST": MANAGER},
    f"{P}rule-extractions/": {"GET": RESULTS, "POST": RESULTS},
    "rule-extractions/<str:id>/items/": {"GET": RESULTS},
    "rule-extractions/<str:id>/merges/": {"GET": RESULTS},
    f"{P}rule-sets/": {"GET": RESULTS},
    "rule-sets/<str:id>/": {"GET": RESULTS},
    "rule-sets/<str:id>/activate/": {"POST": MANAGER},
    "rule-sets/<str:id>/verdicts/": {"GET": RESULTS},
    "rule-sets/<str:id>/measure/": {"POST": RESULTS},
    "rules/<str:id>/": {"GET": RESULTS, "PATCH": MANAGER},
    f"{P}jobs/": {"GET": RESULTS},
    "jobs/<str:id>/": {"GET": RESULTS},
    "jobs/<str:id>/cancel/": {"POST": RESULTS},
}
ODD_IDS = ("0", "-1", "abc", "1.0", "9" * 18, "9" * 19, "9" * 400, "1%00", "%D9%A3", "%ED%A0%80")


def address(route: str, world: World, object_id: str | None = None) -> str:
    """Fill a route with what the world has, or with an id that it has not."""
    kind = route.split("/")[2 if route.startswith("projects/<") else 0]
    ids = {
        "assignments": world.assignment,
        "comparisons": world.comparison,
        "snapshots": world.snapshot,
        "scorers": world.scorer,
        "training-runs": world.run,
        "recipe-searches": world.project.recipe_searches.get(),
        "reward-models": world.model,
        "evaluations": world.model.evaluations.get(),
        "jobs": world.job,
        "cohorts": world.project.cohorts.get(),
        "webhooks": world.delivery.endpoint,
        "webhook-deliveries": world.delivery,
        "tokens": world.token,
        "model-endpoints": world.endpoint,
        "imports": world.made,
        "uploads": world.upload,
        "rule-sets": world.project.rule_sets.get(),
        "rule-extractions": world.project.rule_extractions.get(),
        "rules": world.project.rule_sets.get().rules.get(),
    }
    known = object_id or (str(ids[kind].pk) if kind in ids else "")
    parts = {
        "<slug:slug>": world.project.slug,
        "<path:username>": "otto",
        "<str:export_format>": "annotations",
        "<str:file>": "train.jsonl",
        "<str:id>": known,
        "<str:other_id>": str(world.snapshot.pk),
    }
    for part, value in parts.items():
        route = route.replace(part, value)
    assert "<" not in route, f"The walk does not know how to fill {route}."
    return route


@contextmanager
def undone() -> Iterator[None]:
    """Take back what happens inside, so that one call does not spoil the world of the next."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def body_of(reply: Any) -> str:
    """Return what a reply says, headers included."""
    return str(dict(reply.headers)) + content_of(reply).decode("utf-8", errors="replace")


def content_of(reply: Any) -> bytes:
    """Return the body of a reply, also of one that is made while it is sent."""
    return b"".join(reply.streaming_content) if reply.streaming else reply.content


def walked(route: str) -> list[str]:
    """Return the methods to try: HEAD only where it is no GET without a body."""
    return [method for method in METHODS if method != "HEAD" or method in CASES[route]]


def bodies(method: str) -> tuple[bytes | None, ...]:
    """Return what to send with a method: anything to one that reads it."""
    return (None, b"{}", b"[]", b"null") if method in {"POST", "PUT", "PATCH"} else (None,)


def expected(route: str, method: str, person: str) -> int | None:
    """Return the status with which a member is refused, or None where they get in."""
    case = CASES[route].get(method)
    if case is None:
        return 405
    return None if case.allows(person) else case.others


def test_every_route_has_a_case():
    assert len(ROUTES) == len(urls.urlpatterns) - 1  # the last one answers unknown addresses
    assert [route for route in ROUTES if route not in CASES] == [], "Say in CASES who may do what there."
    assert [route for route in CASES if route not in ROUTES] == []


def test_every_method_that_a_view_has_is_in_its_case():
    for pattern in urls.urlpatterns[:-1]:
        view = pattern.callback.cls
        has = {method for method in METHODS if hasattr(view, method.lower())}  # a view that is called makes HEAD of GET
        if view.options is APIView.options:
            has.remove("OPTIONS")
        assert has == set(CASES[str(pattern.pattern)]), pattern


@pytest.mark.parametrize("person", PEOPLE)
def test_every_member_gets_in_where_the_case_says_and_nowhere_else(request, world, person):
    api = Api(request.getfixturevalue(person), scope="admin")
    api.get("projects/")  # notes the token's use once, not inside each call that is undone
    wrong = []
    for route in ROUTES:
        for method in walked(route):
            with undone():
                reply = api.call(method, address(route, world), {}, headers=TUS)
            status = reply.status_code
            if status >= 400 and method != "HEAD":
                problem(reply, status)
            refused = expected(route, method, person)
            if status != refused if refused else status in {401, 403, 404, 405}:
                wrong.append((method, route, status, refused))
    assert wrong == []


@pytest.mark.parametrize("person", PEOPLE)
def test_a_reading_token_writes_nowhere(request, world, person):
    api = Api(request.getfixturevalue(person), scope="read")
    api.get("projects/")
    for route in ROUTES:
        for method, case in CASES[route].items() if route not in PUBLIC else ():
            with undone():
                status = api.call(method, address(route, world), {}, headers=TUS).status_code
            if case.scope == "read":
                assert status == (422 if case.allows(person) else case.others), (method, route)
            elif method not in SAFE or case.scope == "admin":
                assert status == 403, (method, route)
            else:
                got_in = 204 if method == "OPTIONS" else 200
                assert status == (got_in if case.allows(person) else case.others), (method, route)


def test_what_needs_the_scope_admin_is_closed_to_write(world, manager):
    api = Api(manager, scope="write")
    seen = 0
    for route in ROUTES:
        for method, case in CASES[route].items():
            if case.scope == "admin":
                problem(api.call(method, address(route, world), {}), 403)
                seen += 1
    assert seen == 6


@pytest.mark.parametrize("person", ["manager", "annotator", "superuser"])
def test_a_token_of_another_project_knows_nothing_of_this_one(request, world, person):
    user = request.getfixturevalue(person)
    elsewhere = MembershipFactory(project=ProjectFactory(slug="elsewhere"), user=user, role="manager").project
    api = Api(user, scope="admin", projects=[elsewhere.slug])
    assert [row["slug"] for row in api.get("projects/").json()["results"]] == ["elsewhere"]
    assert api.get("projects/elsewhere/").status_code == 200
    assert api.post("projects/", {"slug": "new", "name": "New"}).status_code == 403
    told = {"username": "otto", "role": "manager", "kind": "reward_model", "name": "x", "reason": "pii"}
    for route in ROUTES:
        for method in walked(route) if route not in OPEN_TO_ALL_SIGNED_IN else ():
            status = api.call(method, address(route, world), told).status_code
            assert status == (404 if method in CASES[route] else 405), (method, route)


def test_nobody_gets_anything(world):
    api = Api(None)
    for route in ROUTES:
        for method in METHODS if route not in PUBLIC else ():
            reply = api.call(method, address(route, world), {})
            assert reply.status_code == 401, (method, route)
            assert "WWW-Authenticate" in reply.headers


def test_strangers_get_404_whatever_they_do(world, stranger):
    api = Api(stranger, scope="admin")
    told = {"username": "otto", "role": "manager", "kind": "reward_model", "name": "x", "reason": "pii"}
    for route in ROUTES:
        for method in METHODS if route not in OPEN_TO_ALL_SIGNED_IN else ():
            for body in ({}, told) if method in CASES[route] and method not in SAFE else ({},):
                reply = api.call(method, address(route, world), body)
                assert reply.status_code in {404, 405}, (method, route)
    assert api.get("projects/").json()["results"] == []


@pytest.mark.parametrize("who", ["annotator", "reviewer", "researcher", "manager", "superuser"])
def test_no_method_of_any_member_crashes(request, world, who):
    api = Api(request.getfixturevalue(who), scope="admin")
    api.get("projects/")  # notes the token's use once, not inside each call that is undone
    for route in ROUTES:
        for method in CASES[route] if route != "schema/" else ():
            for body in bodies(method):
                with undone():
                    reply = api.call(method, address(route, world), body, headers=TUS)
                    assert reply.status_code < 500, (method, route, body)
                if reply.status_code >= 400 and method != "HEAD":
                    problem(reply, reply.status_code)


def test_an_id_that_cannot_be_one_is_404(world, manager, superuser):
    for person, ids in ((superuser, ODD_IDS), (manager, ("0", "9" * 19))):
        api = Api(person, scope="admin")
        for route in ROUTES:
            for object_id in ids if "<str:id>" in route else ():
                for method in CASES[route].keys() - {"OPTIONS"}:
                    reply = api.call(method, address(route, world, object_id), {}, headers=TUS)
                    assert reply.status_code == 404, (method, route, object_id)


def test_no_query_parameter_crashes(world, manager):
    api = Api(manager, scope="admin")
    for pattern in urls.urlpatterns[:-1]:
        route = str(pattern.pattern)
        for method in CASES[route].keys() & SAFE:
            known = known_parameters(pattern.callback.cls, method).names if route not in PUBLIC else {"lang", "version"}
            for name in {*known, "unknown"}:
                for value in ("%00", "%ED%A0%80", "9" * 400):
                    reply = api.call(method, f"{address(route, world)}?{name}={value}", headers=TUS)
                    assert reply.status_code < 500, (route, name, value)


@pytest.mark.parametrize("person", ["manager", "reviewer"])
def test_every_get_can_be_cut_down_to_any_of_its_fields(request, world, person):
    api = Api(request.getfixturevalue(person), scope="admin")
    cut = 0
    for pattern in urls.urlpatterns[:-1]:
        route = str(pattern.pattern)
        case = CASES[route].get("GET")
        if case is None or not case.allows(person):
            continue
        for name in known_parameters(pattern.callback.cls, "GET").fields:
            reply = api.get(f"{address(route, world)}?fields={name}")
            assert reply.status_code == 200, (route, name)
            body = json.loads(content_of(reply))
            for row in body.get("results", [body]):
                assert set(row) <= {name}, (route, name)
            cut += 1
    assert cut > 30


SECRETS = {
    "rule": "secret-rule",
    "model name": "secret-model",
    "signal": str(SIGNAL_VALUE),
    "another person's justification": "splendid piece of marine engineering",
    "another person": "otto",
    "metadata": "secret-domain",
    "reference": "secret-reference",
    "gold": '"gold"',
}


def test_annotators_never_see_what_machines_and_others_say(world, annotator):
    ComparisonFactory(project=world.project, external_id="tide-2", metadata={"domain": "secret-domain"}, gold=1)
    api = Api(annotator)
    replies = []
    for route in ROUTES:
        if route not in PUBLIC:
            filled = address(route, world).replace("otto", "mara")
            replies += [api.call(method, filled, {}) for method in ("GET", "POST", "PATCH", "PUT")]
    said = "".join(body_of(reply) for reply in replies)
    assert "lease_expires_at" in said
    assert [what for what, secret in SECRETS.items() if secret in said] == []


def test_what_annotators_must_not_see_is_there_for_managers(world, manager):
    api = Api(manager)
    paths = ["annotations/", "comparisons/", f"comparisons/{world.comparison.pk}/", "members/"]
    said = "".join(body_of(api.get(f"projects/tides/{path}")) for path in paths)
    said += body_of(api.get(f"rule-sets/{world.project.rule_sets.get().pk}/"))
    assert [what for what, secret in SECRETS.items() if secret not in said] == []
