"""Tokens: their limits to projects, their family, and making them over REST."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from apps.accounts.models import ApiToken
from apps.accounts.services import create_token
from apps.core.errors import InvalidInput
from apps.endpoints.services import create_endpoint
from apps.projects.models import Project
from tests.api.conftest import Api, pointers, problem
from tests.architecture.test_access import addresses
from tests.factories import PASSWORD, MembershipFactory, ProjectFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def elsewhere(manager):
    return MembershipFactory(project=ProjectFactory(slug="elsewhere"), user=manager, role="manager").project


def with_key(key):
    api = Api(None)
    api.client = Client(headers={"Authorization": f"Token {key}"})
    return api


def test_a_token_is_made_shown_once_listed_and_revoked(manager, elsewhere):
    api = Api(manager, scope="admin")
    made = api.post("tokens/", {"name": "laptop", "scope": "write", "projects": ["elsewhere"], "days": 30})
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    body = made.json()
    key = body.pop("key")
    assert (body["name"], body["scope"], body["projects"]) == ("laptop", "write", ["elsewhere"])
    days = ApiToken.objects.get(pk=body["id"]).expires_at - timezone.now()
    assert timedelta(days=29) < days <= timedelta(days=30)
    assert [row["slug"] for row in with_key(key).get("projects/").json()["results"]] == ["elsewhere"]
    listed = api.get("tokens/")
    assert key not in listed.content.decode()
    row = next(row for row in listed.json()["results"] if row["id"] == body["id"])
    assert row["last_used_from"] == "127.0.0.1"
    assert row["last_used_at"] is not None
    assert api.call("DELETE", f"tokens/{body['id']}/").status_code == 204
    problem(with_key(key).get("projects/"), 401)


def test_a_session_makes_tokens_with_a_csrf_token_only(manager):
    client = Client(enforce_csrf_checks=True)
    client.login(username="mara", password=PASSWORD)
    problem(client.post("/api/v1/tokens/", {"name": "n"}, content_type="application/json"), 403)
    assert not ApiToken.objects.exists()
    client.cookies["csrftoken"] = "a" * 32
    reply = client.post(
        "/api/v1/tokens/", {"name": "n"}, content_type="application/json", headers={"X-CSRFToken": "a" * 32}
    )
    assert (reply.status_code, reply.json()["scope"]) == (201, "read")


def test_a_token_never_makes_a_stronger_one(manager, elsewhere, project):
    limited = Api(manager, scope="admin", projects=["elsewhere"])
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(days=5))
    for body in (
        {"name": "n"},
        {"name": "n", "projects": ["elsewhere", "tides"]},
        {"name": "n", "projects": ["tides"]},
    ):
        problem(limited.post("tokens/", body), 403)
    made = limited.post("tokens/", {"name": "n", "scope": "admin", "projects": ["elsewhere"], "days": 300}).json()
    assert ApiToken.objects.get(pk=made["id"]).expires_at <= timezone.now() + timedelta(days=5)
    for scope in ("read", "write"):
        problem(Api(manager, scope=scope).post("tokens/", {"name": "n"}), 403)


def test_a_limited_token_reaches_only_tokens_like_itself(manager, elsewhere):
    wide, narrow = Api(manager, scope="admin"), Api(manager, scope="admin", projects=["elsewhere"])
    assert len(wide.get("tokens/").json()["results"]) == 2
    assert [row["id"] for row in narrow.get("tokens/").json()["results"]] == [str(narrow.token.pk)]
    problem(narrow.call("DELETE", f"tokens/{wide.token.pk}/"), 404)
    assert wide.get("projects/").status_code == 200


def test_a_limited_token_reaches_nothing_of_its_person_beside_its_projects(manager, project, elsewhere):
    """Every address that names no project: lists are empty, nothing is made, nothing is found."""
    mine = create_endpoint(owner=manager, name="Mine", model="m", base_url="https://example.org/v1")
    api = Api(manager, scope="admin", projects=["elsewhere"])
    plain = {path for _, path in addresses(get_resolver()) if path.startswith("api/v1/") and "<" not in path}
    assert plain - {"api/v1/schema/", "api/v1/docs/", "api/v1/"} == {
        "api/v1/tokens/",
        "api/v1/model-endpoints/",
        "api/v1/projects/",
    }
    assert api.get("model-endpoints/").json()["results"] == []
    body = {"name": "More", "model": "m", "base_url": "https://example.org/v1"}
    problem(api.post("model-endpoints/", body), 403)
    address = f"model-endpoints/{mine.pk}/"
    change = {"cost_ceiling": "9"}
    for method, path in (("GET", address), ("PATCH", address), ("DELETE", address), ("POST", f"{address}test/")):
        problem(api.call(method, path, change if method == "PATCH" else {}), 404)
    assert pointers(api.post("projects/elsewhere/rule-extractions/", {"endpoint": str(mine.pk)})) == ["/endpoint"]
    assert Api(manager).get(address).json()["cost_ceiling"] is None
    assert manager.model_endpoints.count() == 1


def test_nobody_reaches_somebody_elses(manager, researcher):
    theirs = Api(researcher)
    api = Api(manager, scope="admin")
    problem(api.call("DELETE", f"tokens/{theirs.token.pk}/"), 404)
    assert str(theirs.token.pk) not in [row["id"] for row in api.get("tokens/").json()["results"]]


def test_revoking_a_token_revokes_what_was_made_with_it(manager):
    mother = Api(manager, scope="admin")
    child = with_key(mother.post("tokens/", {"name": "child", "scope": "admin"}).json()["key"])
    grandchild = with_key(child.post("tokens/", {"name": "grandchild"}).json()["key"])
    other = Api(manager)
    assert mother.call("DELETE", f"tokens/{mother.token.pk}/").status_code == 204
    assert [api.get("projects/").status_code for api in (mother, child, grandchild, other)] == [401, 401, 401, 200]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scope": "everything"}, "/scope"),
        ({"projects": ["nothing"]}, "/projects"),
        ({"projects": []}, "/projects"),
        ({"days": 0}, "/days"),
        ({"days": 10**9}, "/days"),
        ({"name": ""}, "/name"),
        ({"name": "\x00"}, "/name"),
        ({"key": "mine"}, "/key"),
    ],
)
def test_a_wrong_token_is_refused_by_field(manager, change, pointer):
    assert pointers(Api(manager, scope="admin").post("tokens/", {"name": "n", **change})) == [pointer]


def test_a_limit_to_a_deleted_project_opens_nothing(manager, elsewhere):
    api = Api(manager, projects=["elsewhere"])
    Project.objects.filter(slug="elsewhere").delete()
    assert api.get("projects/").json()["results"] == []
    problem(api.get("projects/tides/"), 404)


def test_a_limited_token_loses_what_its_person_loses(manager, elsewhere):
    api = Api(manager, projects=["elsewhere"])
    manager.memberships.filter(project=elsewhere).delete()
    problem(api.get("projects/elsewhere/"), 404)


def test_one_limits_a_token_to_ones_own_projects_only(stranger, project):
    with pytest.raises(InvalidInput, match="not a member"):
        create_token(user=stranger, name="n", projects=["tides"])


def test_managers_are_made_and_unmade_with_the_scope_admin_only(manager, annotator):
    UserFactory(username="nora")
    write, admin = Api(manager), Api(manager, scope="admin")
    members = "projects/tides/members/"
    assert write.post(members, {"username": "nora", "role": "annotator"}).status_code == 201
    problem(write.call("PATCH", f"{members}nora/", {"role": "manager"}), 403)
    assert admin.call("PATCH", f"{members}nora/", {"role": "manager"}).status_code == 200
    problem(write.call("PATCH", f"{members}nora/", {"role": "annotator"}), 403)
    problem(write.call("DELETE", f"{members}nora/"), 403)
    assert admin.call("DELETE", f"{members}nora/").status_code == 204
    problem(write.post(members, {"username": "nora", "role": "manager"}), 403)
    assert write.call("DELETE", f"{members}anna/").status_code == 204


def test_the_command_limits_to_projects_and_days(manager, elsewhere, capsys):
    call_command(
        "create_token", "mara", "--scope", "admin", "--project", "elsewhere", "--project", "tides", "--days", "7"
    )
    token = ApiToken.objects.usable(capsys.readouterr().out.splitlines()[-1])
    assert set(token.project_ids) == set(manager.memberships.values_list("project_id", flat=True))
    assert token.expires_at <= timezone.now() + timedelta(days=7)
    for wrong in (("--project", "nothing"), ("--days", "0")):
        with pytest.raises(CommandError):
            call_command("create_token", "mara", *wrong)


def test_the_use_of_a_token_notes_from_where(manager):
    api = Api(manager)
    api.get("projects/", REMOTE_ADDR="198.51.100.7")
    assert ApiToken.objects.get().last_used_from == "198.51.100.7"


def test_a_token_is_recognised_in_one_statement(manager, django_assert_num_queries):
    api = Api(manager)
    api.get("projects/")
    with django_assert_num_queries(2):  # token with its allowance, projects
        api.get("projects/")
