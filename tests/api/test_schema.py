"""The OpenAPI schema has no gaps, the committed copy is the current one, and its pages obey our policy."""

from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern
from drf_spectacular.generators import SchemaGenerator

from apps.api import urls
from apps.reward_models.serving_urls import VIEWS

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "openapi.yaml"
    call_command("spectacular", file=str(path), validate=True, fail_on_warn=True)
    return path.read_text()


@pytest.fixture(scope="module")
def paths(generated):
    return yaml.load(generated, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["paths"]  # C is ten times as fast


def test_the_committed_schema_is_current(generated):
    assert COMMITTED.read_text() == generated, (
        "Run `manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml`."
    )


def test_every_address_is_described(paths):
    described = [pattern for pattern in urls.urlpatterns[:-1] if pattern.name not in {"schema", "docs"}]
    assert all(isinstance(pattern, URLPattern) for pattern in described)
    assert len([path for path in paths if path.startswith("/api/v1/")]) == len(described)
    assert {path for path in paths if not path.startswith("/api/v1/")} == {f"/rm/{{slug}}/{name}" for name in VIEWS}


def test_every_operation_may_answer_with_a_problem_and_needs_a_token(paths):
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert "application/problem+json" in operation["responses"]["default"]["content"], (method, path)
            assert {"token": []} in operation["security"], (method, path)


def test_filters_and_cursors_are_described(paths):
    operation = paths["/api/v1/projects/{slug}/comparisons/"]["get"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"slug", "cursor", "page_size", "state", "external_id", "fields"}


def test_the_replies_of_submit_say_which_is_which(paths):
    replies = paths["/api/v1/assignments/{id}/submit/"]["post"]["responses"]
    assert (replies["201"]["description"], replies["200"]["description"]) == (
        "Stored.",
        "The same answer was stored before.",
    )


def test_the_schema_is_served_to_everybody(db):
    assert b"openapi: 3" in Client().get("/api/v1/schema/").content
    reply = Client().get("/api/v1/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert reply.json()["info"]["title"] == "Tiebreak"


def test_the_schema_is_made_once_and_need_not_be_sent_again(db, monkeypatch):
    first = Client().get("/api/v1/schema/")
    assert first.headers["Content-Type"] == "application/vnd.oai.openapi; charset=utf-8"
    assert first.headers["Content-Disposition"] == 'inline; filename="Tiebreak.yaml"'
    monkeypatch.setattr(SchemaGenerator, "get_schema", None)
    assert Client().get("/api/v1/schema/").content == first.content
    again = Client().get("/api/v1/schema/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_docs_have_no_inline_script_and_a_policy_that_allows_their_styles_only(db):
    reply = Client().get("/api/v1/docs/")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = reply.content.decode()
    assert page.count("<script") == page.count("<script src=") == 3
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self' 'unsafe-inline'"
    script = Client().get("/api/v1/docs/?script")
    assert script.headers["Content-Type"] == "application/javascript"
    other = Client().get("/api/v1/schema/").headers["Content-Security-Policy"]
    assert "unsafe-inline" not in other


def test_an_invalid_token_at_the_docs_is_a_problem_too(db):
    for path in ("schema", "docs"):
        reply = Client().get(f"/api/v1/{path}/", headers={"Authorization": "Token wrong"})
        assert (reply.status_code, reply.headers["Content-Type"]) == (401, "application/problem+json")
