"""Every address × person × method: no crash, no way in for strangers, and nothing an annotator must not see."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction
from django.urls import URLPattern
from django.urls.resolvers import RoutePattern

from apps.api import urls
from tests.api.conftest import SIGNAL_VALUE, Api, World, problem
from tests.factories import ComparisonFactory

pytestmark = pytest.mark.django_db
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PUBLIC = {"schema/", "docs/"}
OPEN_TO_ALL_SIGNED_IN = PUBLIC | {"projects/"}
ROUTES = [
    str(pattern.pattern)
    for pattern in urls.urlpatterns
    if isinstance(pattern, URLPattern) and isinstance(pattern.pattern, RoutePattern)
]
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
        "reward-models": world.model,
        "jobs": world.job,
        "cohorts": world.project.cohorts.get(),
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
    content = b"".join(reply.streaming_content) if reply.streaming else reply.content
    return str(dict(reply.headers)) + content.decode("utf-8", errors="replace")


def test_the_walk_sees_the_whole_api():
    assert len(ROUTES) == len(urls.urlpatterns) - 1  # the last one answers unknown addresses
    assert len(ROUTES) >= 29


def test_nobody_gets_anything(world):
    api = Api(None)
    for route in ROUTES:
        for method in METHODS if route not in PUBLIC else ():
            reply = api.call(method, address(route, world), {})
            assert reply.status_code == 401, (method, route)
            assert "WWW-Authenticate" in reply.headers


def test_strangers_get_404_whatever_they_do(world, stranger):
    api = Api(stranger)
    told = {"username": "otto", "role": "manager", "kind": "reward_model", "name": "x", "reason": "pii"}
    for route in ROUTES:
        for method in METHODS if route not in OPEN_TO_ALL_SIGNED_IN else ():
            for body in ({}, told):
                reply = api.call(method, address(route, world), body)
                assert reply.status_code in {404, 405}, (method, route)
    assert api.get("projects/").json()["results"] == []


@pytest.mark.parametrize("who", ["annotator", "reviewer", "researcher", "manager", "superuser"])
def test_no_method_of_any_member_crashes(request, world, who):
    api = Api(request.getfixturevalue(who))
    api.get("projects/")  # notes the token's use once, not inside each call that is undone
    for route in ROUTES:
        for method in METHODS if route != "schema/" else ("POST",):
            for body in (None, b"{}", b"[]", b"null") if method in {"POST", "PUT", "PATCH"} else (None,):
                with undone():
                    reply = api.call(method, address(route, world), body)
                    assert reply.status_code < 500, (method, route, body)
                if reply.status_code >= 400 and method != "HEAD":
                    problem(reply, reply.status_code)


def test_an_id_that_cannot_be_one_is_404(world, manager, superuser):
    for api in (Api(manager), Api(superuser)):
        for route in ROUTES:
            for object_id in ODD_IDS if "<str:id>" in route else ():
                for method in ("GET", "POST", "PUT"):
                    reply = api.call(method, address(route, world, object_id), {})
                    assert reply.status_code in {404, 405}, (method, route, object_id)


def test_no_query_parameter_crashes(world, manager):
    api = Api(manager)
    names = ("cursor", "page_size", "state", "external_id", "scorer", "response", "kind", "format")
    for route in ROUTES:
        filled = address(route, world)
        if api.get(filled).status_code == 405:
            continue
        for name in names if route != "schema/" else ("lang", "version"):
            for value in ("%00", "%ED%A0%80", "9" * 400, "../../etc"):
                reply = api.get(f"{filled}?{name}={value}")
                assert reply.status_code < 500, (route, name, value)


SECRETS = {
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
    assert [what for what, secret in SECRETS.items() if secret not in said] == []
