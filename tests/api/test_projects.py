"""Projects and members over REST."""

import pytest

from apps.projects.models import AuditEvent, GuidelineVersion, Membership, Project
from tests.api.conftest import Api, pointers, problem
from tests.factories import MembershipFactory, ProjectFactory, UserFactory

pytestmark = pytest.mark.django_db
NEW = {"slug": "moon", "name": "Moon"}


def test_a_new_project_has_its_defaults_and_its_creator_as_manager(stranger):
    reply = Api(stranger).post("projects/", {**NEW, "guideline": "# Read", "protocol": {"annotators": 2}})
    assert reply.status_code == 201
    body = reply.json()
    assert (body["slug"], body["name"], body["role"], body["guideline"]) == ("moon", "Moon", "manager", "# Read")
    assert (body["guideline_version"], body["notice"]) == (1, "")
    assert body["created_at"].endswith("Z")
    assert body["protocol"]["annotators"] == 2
    assert (body["protocol"]["max_annotators"], body["protocol"]["justification_words"]) == (5, [10, 300])
    assert [attribute["name"] for attribute in body["protocol"]["attributes"]][:2] == ["helpfulness", "correctness"]
    assert Api(stranger).get("projects/moon/").json() == body


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"slug": "Moon"}, "/slug"),
        ({"slug": ""}, "/slug"),
        ({"slug": None}, "/slug"),
        ({"slug": "tides"}, "/slug"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 121}, "/name"),
        ({"name": "a\x00b"}, "/name"),
        ({"name": "a\ud800b"}, "/name"),
        ({"name": ["a"]}, "/name"),
        ({"guideline": 7}, "/guideline"),
        ({"guideline": "x" * 200_001}, "/guideline"),
        ({"protocol": []}, "/protocol"),
        ({"protocol": None}, "/protocol"),
        ({"protocol": {"annotators": 10**400}}, "/protocol/annotators"),
        ({"protocol": {"colour": 1}}, "/protocol/colour"),
        (
            {"protocol": {"attributes": [{"name": "a", "levels": ["\x00"] * 5}]}},
            "/protocol",
        ),
        ({"owner": "me"}, "/owner"),
    ],
)
def test_a_wrong_project_is_refused_and_nothing_is_stored(project, stranger, change, pointer):
    assert pointers(Api(stranger).post("projects/", {**NEW, **change})) == [pointer]
    assert list(Project.objects.all()) == [project]


def test_the_list_has_mine_only_and_costs_the_same_for_many(manager, annotator, django_assert_num_queries):
    ProjectFactory.create_batch(3)
    for _ in range(3):
        MembershipFactory(user=annotator)
    api = Api(annotator)
    rows = api.get("projects/").json()["results"]
    assert {row["slug"] for row in rows} == {m.project.slug for m in annotator.memberships.select_related("project")}
    with django_assert_num_queries(2):  # token, projects with guideline and role
        api.get("projects/")


def test_a_superuser_sees_every_project_as_manager(project, superuser):
    (row,) = Api(superuser).get("projects/").json()["results"]
    assert (row["slug"], row["role"]) == ("tides", "manager")
    assert Api(superuser).get("projects/tides/").json() == row


@pytest.mark.parametrize("role", list(Membership.Role))
def test_every_member_sees_the_project(project, role):
    user = MembershipFactory(project=project, role=role).user
    assert Api(user).get("projects/tides/").json()["role"] == role


def test_a_stranger_and_a_missing_project_cannot_be_told_apart(project, stranger):
    api = Api(stranger)
    assert problem(api.get("projects/tides/"), 404) == problem(api.get("projects/nothing/"), 404)


def test_a_changed_guideline_is_a_new_version(manager):
    api = Api(manager)
    body = api.call("PATCH", "projects/tides/", {"guideline": "Read thrice."}).json()
    assert (body["guideline"], body["guideline_version"]) == ("Read thrice.", 2)
    assert api.call("PATCH", "projects/tides/", {"guideline": "Read thrice."}).json()["guideline_version"] == 2
    assert GuidelineVersion.objects.count() == 2


def test_name_and_protocol_change_and_the_rest_stays(manager):
    body = Api(manager).call("PATCH", "projects/tides/", {"name": "Ebb", "protocol": {"annotators": 4}}).json()
    assert (body["name"], body["protocol"]["annotators"], body["guideline"]) == ("Ebb", 4, "Read both responses.")


def test_rules_are_shown_when_a_manager_says_so(manager):
    api = Api(manager)
    assert api.get("projects/tides/").json()["shows_rules"] is False
    for shown in (True, True, False):
        assert api.call("PATCH", "projects/tides/", {"shows_rules": shown}).json()["shows_rules"] is shown
    verbs = AuditEvent.objects.filter(verb__contains="rules").order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["showed rules", "hid rules"]
    assert pointers(api.call("PATCH", "projects/tides/", {"shows_rules": "perhaps"})) == ["/shows_rules"]


@pytest.mark.parametrize("change", [{"slug": "other"}, {"protocol": {"annotators": 9}}, {"name": None}])
def test_a_wrong_change_is_refused_and_changes_nothing(manager, project, change):
    api = Api(manager)
    before = api.get("projects/tides/").json()
    problem(api.call("PATCH", "projects/tides/", {"guideline": "New.", **change}), 422)
    assert api.get("projects/tides/").json() == before


@pytest.mark.parametrize("who", ["annotator", "researcher", "reviewer"])
def test_only_managers_change_a_project_and_its_members(request, manager, who):
    api = Api(request.getfixturevalue(who))
    problem(api.call("PATCH", "projects/tides/", {"name": "Mine"}), 403)
    problem(api.post("projects/tides/members/", {"username": "mara", "role": "manager"}), 403)
    problem(api.call("PATCH", "projects/tides/members/mara/", {"role": "annotator"}), 403)
    problem(api.call("DELETE", "projects/tides/members/mara/"), 403)


def test_members_are_added_changed_and_removed(manager, stranger):
    api = Api(manager)
    added = api.post("projects/tides/members/", {"username": "stella", "role": "annotator"})
    assert (added.status_code, added.json()["username"], added.json()["role"]) == (201, "stella", "annotator")
    listed = api.get("projects/tides/members/").json()["results"]
    assert [(row["username"], row["role"]) for row in listed] == [("mara", "manager"), ("stella", "annotator")]
    changed = api.call("PATCH", "projects/tides/members/stella/", {"role": "reviewer"})
    assert (changed.status_code, changed.json()["role"]) == (200, "reviewer")
    assert api.call("DELETE", "projects/tides/members/stella/").status_code == 204
    problem(Api(stranger).get("projects/tides/"), 404)
    assert AuditEvent.objects.count() == 3


def test_a_member_twice_is_409(manager):
    problem(Api(manager).post("projects/tides/members/", {"username": "mara", "role": "annotator"}), 409)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"username": "nobody", "role": "annotator"}, "/username"),
        ({"username": "a\x00", "role": "annotator"}, "/username"),
        ({"username": "stella", "role": "king"}, "/role"),
        ({"username": "stella"}, "/role"),
        ({"username": "stella", "role": ["annotator"]}, "/role"),
    ],
)
def test_a_wrong_member_is_refused(manager, stranger, body, pointer):
    assert pointers(Api(manager).post("projects/tides/members/", body)) == [pointer]
    assert Membership.objects.count() == 1


@pytest.mark.parametrize("name", ["nobody", "a%00b", "x" * 300])
def test_an_unknown_member_is_404(manager, name):
    problem(Api(manager).call("PATCH", f"projects/tides/members/{name}/", {"role": "annotator"}), 404)
    problem(Api(manager).call("DELETE", f"projects/tides/members/{name}/"), 404)


def test_a_project_keeps_a_manager(manager):
    api = Api(manager, scope="admin")
    problem(api.call("PATCH", "projects/tides/members/mara/", {"role": "annotator"}), 409)
    problem(api.call("DELETE", "projects/tides/members/mara/"), 409)


def test_a_name_with_slashes_has_an_address(manager, project):
    MembershipFactory(project=project, user=UserFactory(username="a/b@tides"))
    assert Api(manager).call("DELETE", "projects/tides/members/a/b@tides/").status_code == 204


def test_annotators_do_not_see_the_other_members(annotator):
    problem(Api(annotator).get("projects/tides/members/"), 403)


def test_members_cost_the_same_for_many(manager, project, django_assert_num_queries):
    MembershipFactory.create_batch(5, project=project)
    api = Api(manager)
    api.get("projects/tides/members/")
    with django_assert_num_queries(3):  # token, membership, page
        api.get("projects/tides/members/")
