"""What every reply has in common: a name, an entity tag, cache headers, and only the fields that were asked for."""

import json
import logging

import pytest
from django.db import connection
from django.test import Client
from django.urls import URLPattern

from apps.accounts.models import User
from apps.api import urls
from apps.api.parameters import known_parameters
from apps.core.request_ids import RequestIdFilter
from tests.api.conftest import Api, pointers, problem
from tests.factories import ComparisonFactory

pytestmark = pytest.mark.django_db
COMPARISONS = "projects/tides/comparisons/"


# --- Names of requests ---


def test_a_request_keeps_the_name_it_came_with_and_else_gets_one(manager):
    api = Api(manager)
    given = api.get("projects/", headers={"X-Request-Id": "trace-0123.4"})
    assert given.headers["X-Request-Id"] == "trace-0123.4"
    made = {api.get("projects/").headers["X-Request-Id"] for _ in range(3)}
    assert len(made) == 3
    for odd in ("short", "x" * 65, "white space", "new\tline", "<script>alert(1)</script>"):
        assert api.get("projects/", headers={"X-Request-Id": odd}).headers["X-Request-Id"] != odd
    assert Client().get("/livez").headers["X-Request-Id"]


class Noting(logging.Handler):
    def __init__(self):
        super().__init__()
        self.addFilter(RequestIdFilter())
        self.names = []

    def emit(self, record):
        self.names.append(record.request_id)


def test_an_error_of_ours_has_the_same_name_in_reply_header_and_log(manager):
    api = Api(manager)
    api.client.raise_request_exception = False
    log = logging.getLogger("apps.api.problems")
    noting = Noting()
    log.addHandler(noting)
    with connection.cursor() as cursor:  # a bug is made by taking away a column that the views read
        cursor.execute("ALTER TABLE projects_project RENAME COLUMN notice TO gone")
    try:
        reply = api.get("projects/", headers={"X-Request-Id": "trace-0123"})
    finally:
        connection.needs_rollback = False
        log.removeHandler(noting)
    assert "trace-0123" in problem(reply, 500)["detail"]
    assert noting.names == [" [trace-0123]"]


# --- Errors outside of the API's views ---


def test_an_error_in_a_middleware_is_a_problem_too(manager):
    client = Client(raise_request_exception=False)
    client.force_login(manager)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_user RENAME COLUMN imported_name TO gone")
    try:
        reply = client.get("/api/v1/projects/")
    finally:
        connection.needs_rollback = False
    body = problem(reply, 500)
    assert "imported_name" not in json.dumps(body)


def test_a_host_that_we_are_not_is_a_problem():
    problem(Client().get("/api/v1/projects/", headers={"Host": "evil.example"}), 400)
    assert Client().get("/login/", headers={"Host": "evil.example"}).headers["Content-Type"].startswith("text/html")


def test_a_body_without_a_length_is_411_and_not_taken_for_none(manager):
    reply = Api(manager).post("projects/", b"", headers={"Transfer-Encoding": "chunked"}, CONTENT_LENGTH="")
    assert "Content-Length" in problem(reply, 411)["detail"]


# --- Entity tags and caches ---


def test_what_one_has_is_not_sent_again(manager):
    api = Api(manager)
    first = api.get("projects/tides/")
    tag = first.headers["ETag"]
    for header in (tag, f'W/{tag}, "other"', "*"):
        again = api.get("projects/tides/", headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert "Content-Type" not in again.headers
    assert api.get("projects/tides/", headers={"If-None-Match": '"other"'}).status_code == 200
    api.call("PATCH", "projects/tides/", {"name": "Springs"})
    changed = api.get("projects/tides/", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["name"]) == (200, "Springs")
    assert changed.headers["ETag"] != tag


def test_long_replies_that_stay_the_same_are_not_sent_again_either(world, manager):
    api = Api(manager)
    paths = [
        f"reward-models/{world.model.pk}/archive/",
        f"snapshots/{world.snapshot.pk}/diff/{world.snapshot.pk}/",
        f"imports/{world.made.pk}/report/",
    ]
    for path in paths:
        first = api.get(path)
        assert first.getvalue() or path == paths[-1]
        again = api.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert "Content-Disposition" not in again.headers
    tag = api.get(paths[-1]).headers["ETag"]
    world.made.findings.create(line=1, kind="rejected", reason="Odd.")
    assert api.get(paths[-1], headers={"If-None-Match": tag}).status_code == 200
    assert api.get(f"{paths[1]}?fields=counts").headers["ETag"] != api.get(paths[1]).headers["ETag"]


def test_replies_are_kept_by_nobody_else(manager):
    api = Api(manager)
    got = api.get("projects/tides/")
    assert got.headers["Cache-Control"] == "private, no-cache"
    assert {"Authorization", "Cookie", "Accept"} <= {name.strip() for name in got.headers["Vary"].split(",")}
    assert api.get("projects/nothing/").headers["Cache-Control"] == "no-store"
    assert api.post("projects/", {}).headers["Cache-Control"] == "no-store"
    assert "ETag" not in api.post("projects/", {}).headers


def test_a_change_can_insist_on_what_was_read(manager):
    api = Api(manager)
    tag = api.get("projects/tides/").headers["ETag"]
    changed = api.call("PATCH", "projects/tides/", {"name": "Springs"}, headers={"If-Match": tag})
    assert changed.status_code == 200
    late = api.call("PATCH", "projects/tides/", {"name": "Neaps"}, headers={"If-Match": tag})
    assert problem(late, 412)["title"] == "Changed since you read it"
    assert api.get("projects/tides/").json()["name"] == "Springs"
    for header in (api.get("projects/tides/").headers["ETag"], "*"):
        assert api.call("PATCH", "projects/tides/", {"name": "Neaps"}, headers={"If-Match": header}).status_code == 200


# --- Fields and parameters ---


def test_a_list_has_the_fields_that_were_asked_for_and_makes_no_others(manager, project, monkeypatch):
    ComparisonFactory.create_batch(2, project=project)
    api = Api(manager)
    whole = api.get(COMPARISONS).json()["results"]
    monkeypatch.setattr(  # no mock of what it does: proof that it is not done
        "apps.signals.serializers.ComparisonSerializer.get_consensus", lambda *_: pytest.fail("It was computed.")
    )
    rows = api.get(f"{COMPARISONS}?fields=state,id").json()
    assert rows["results"] == [{"id": row["id"], "state": row["state"]} for row in whole]
    assert set(rows) == {"results", "next", "previous"}


def test_fields_stay_in_the_links(manager, project):
    ComparisonFactory.create_batch(3, project=project)
    api = Api(manager)
    page = api.get(f"{COMPARISONS}?fields=id&page_size=2").json()
    assert [set(row) for row in api.client.get(page["next"]).json()["results"]] == [{"id"}]


def test_one_object_has_them_too(manager):
    assert Api(manager).get("projects/tides/?fields=slug,role").json() == {"slug": "tides", "role": "manager"}


@pytest.mark.parametrize("fields", ["", "id,", "password", "consensus.preference", "__class__", "id,state,\x00"])
def test_a_field_that_does_not_exist_is_422_and_names_those_that_do(manager, fields):
    reply = Api(manager).get(COMPARISONS, query_params={"fields": fields})
    assert pointers(reply) == ["/fields"]
    assert "id, external_id, state" in problem(reply, 422)["detail"]


def test_a_reviewer_cannot_ask_for_signals(project, reviewer):
    ComparisonFactory(project=project)
    assert Api(reviewer).get(f"{COMPARISONS}?fields=id,signals").json()["results"][0].keys() == {"id"}


@pytest.mark.parametrize("method", ["GET", "PATCH", "HEAD"])
def test_an_unknown_parameter_is_an_error_everywhere(manager, method):
    assert Api(manager).call(method, "projects/tides/?nmae=x", {}).status_code == 422


def test_an_unknown_parameter_names_the_known_ones(manager):
    reply = Api(manager).get(f"{COMPARISONS}?nmae=x&order=y")
    assert pointers(reply) == ["/nmae", "/order"]
    assert pointers(Api(manager).get(f"{COMPARISONS}?state=open&state=complete")) == ["/state"]
    assert "cursor, external_id, fields, page_size, state" in reply.json()["errors"][0]["detail"]
    assert "it takes none" in Api(manager).post("projects/?x=1", {}).json()["errors"][0]["detail"]


FILES = {
    "schema/",
    "docs/",
    "imports/<str:id>/report/",
    "snapshots/<str:id>/card/",
    "snapshots/<str:id>/croissant/",
    "snapshots/<str:id>/files/<str:export_format>/<str:file>",
    "reward-models/<str:id>/archive/",
    "reward-models/<str:id>/card/",
    "rule-sets/<str:id>/verdicts/",
}


def test_every_get_of_an_object_can_be_cut_down():
    without = set()
    for pattern in urls.urlpatterns[:-1]:
        assert isinstance(pattern, URLPattern)
        view = pattern.callback.cls
        if hasattr(view, "get") and not known_parameters(view, "GET").fields:
            without.add(str(pattern.pattern))
    assert without == FILES


# --- JSON ---


def test_what_orjson_cannot_write_is_written_all_the_same(manager, project):
    ComparisonFactory(project=project, metadata={"big": 2**70, "small": 1e-7, "text": "\u00e9\u2028"})
    row = Api(manager).get(f"{COMPARISONS}{project.comparisons.get().pk}/").json()
    assert row["metadata"] == {"big": 2**70, "small": 1e-7, "text": "\u00e9\u2028"}


def test_times_are_utc_with_a_z(manager):
    assert Api(manager).get("projects/tides/").json()["created_at"].endswith("Z")
    assert User.objects.exists()
