"""Who is let in: a live token with a wide enough scope, or a session with its CSRF token."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import ApiToken
from apps.accounts.services import create_token
from tests.api.conftest import Api, problem
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db
LIST = "/api/v1/projects/"


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "bearer"])
def test_a_key_opens_the_api_under_both_schemes(manager, scheme):
    _, key = create_token(user=manager, name="n")
    reply = Client(headers={"Authorization": f"{scheme} {key}"}).get(LIST)
    assert [row["slug"] for row in reply.json()["results"]] == ["tides"]


@pytest.mark.parametrize("header", ["Token", "Token a b", "Token wrong", "Bearer \x00", "Token schl\u00fcssel"])
def test_a_wrong_header_is_401_and_says_what_is_asked_for(db, header):
    reply = Client(headers={"Authorization": header}).get(LIST)
    problem(reply, 401)
    assert reply.headers["WWW-Authenticate"] == 'Token realm="tiebreak"'


def test_nobody_gets_401(db):
    reply = Client().get(LIST)
    assert "WWW-Authenticate" in reply.headers
    assert problem(reply, 401)["title"] == "Not signed in"


@pytest.mark.parametrize(
    "change", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now() - timedelta(seconds=1)}]
)
def test_a_revoked_or_expired_token_is_401(manager, change):
    token, key = create_token(user=manager, name="n")
    ApiToken.objects.filter(pk=token.pk).update(**change)
    problem(Client(headers={"Authorization": f"Token {key}"}).get(LIST), 401)


def test_an_inactive_person_is_401(manager):
    api = Api(manager)
    manager.is_active = False
    manager.save()
    problem(api.get("projects/"), 401)


def test_a_read_token_reads_and_does_not_write(manager):
    api = Api(manager, scope="read")
    assert api.get("projects/tides/").status_code == 200
    detail = problem(api.call("PATCH", "projects/tides/", {"name": "Changed"}), 403)["detail"]
    assert detail == "This token may only read; create one with the scope write."
    manager.memberships.get().project.refresh_from_db()
    assert manager.memberships.get().project.name == "Tides"


def test_the_use_of_a_token_is_noted_at_most_once_a_minute(manager, django_assert_num_queries):
    api = Api(manager)
    assert ApiToken.objects.get().last_used_at is None
    api.get("projects/")
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    with django_assert_num_queries(2):  # token, projects
        api.get("projects/")
    assert ApiToken.objects.get().last_used_at == first


def test_a_session_reads_and_needs_a_csrf_token_to_write(manager):
    client = Client(enforce_csrf_checks=True)
    assert client.login(username="mara", password=PASSWORD)
    assert client.get(LIST).status_code == 200
    new = {"slug": "moon", "name": "Moon"}
    problem(client.post(LIST, new, content_type="application/json"), 403)
    client.cookies["csrftoken"] = "a" * 32
    reply = client.post(LIST, new, content_type="application/json", headers={"X-CSRFToken": "a" * 32})
    assert reply.status_code == 201
