"""REST for flags, leaving out and putting back, cohorts."""

import pytest

from apps.labeling.leasing import lease_next
from apps.labeling.models import Cohort, QueueItem
from apps.labeling.services import skip_assignment
from tests.api.conftest import Api, pointers, problem
from tests.factories import ComparisonFactory, MembershipFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(project):
    return ComparisonFactory(project=project, external_id="tide-1")


@pytest.fixture
def crew(project):
    return [MembershipFactory(project=project, user__username=name).user.username for name in ("ada", "ben", "cleo")]


def flag(project, name, reason="pii", note=""):
    person = MembershipFactory(project=project, user__username=name).user
    held = lease_next(project=project, annotator=person, resume=False)
    return skip_assignment(assignment=held, reason=reason, note=note)


@pytest.mark.parametrize("who", ["manager", "reviewer"])
def test_flags_reach_those_who_oversee_the_queue(request, project, pair, who):
    flag(project, "otto", note="A street address")
    flag(project, "olga", reason="other", note="Too long for me")
    flag(project, "oleg", reason="other")  # neither a flag nor a note
    api = Api(request.getfixturevalue(who))
    first, second = api.get("projects/tides/flags/").json()["results"]
    assert (first.pop("id"), first.pop("flagged_at")) != (None, None)
    assert first == {
        "comparison": str(pair.pk),
        "external_id": "tide-1",
        "annotator": "otto",
        "reason": "pii",
        "note": "A street address",
        "state": "open",
        "closed_reason": "",
    }
    assert (second["annotator"], second["flagged_at"]) == ("olga", None)
    assert api.get("projects/tides/flags/?state=closed").json()["results"] == []
    assert pointers(api.get("projects/tides/flags/?state=lost")) == ["/state"]


def test_a_comparison_is_left_out_and_put_back(project, manager, pair):
    api = Api(manager)
    address = f"projects/tides/comparisons/{pair.pk}"
    for _ in range(2):
        reply = api.post(f"{address}/close/", {"reason": "Wrong file"})
        assert reply.json() == {"id": str(pair.pk), "state": "closed", "closed_reason": "Wrong file"}
    assert api.get("projects/tides/comparisons/?state=closed").json()["results"][0]["external_id"] == "tide-1"
    assert api.post(f"{address}/put-back/").json() == {"id": str(pair.pk), "state": "open", "closed_reason": ""}
    assert pointers(api.post(f"{address}/close/", {"reason": 5})) == ["/reason"]
    assert pointers(api.post(f"{address}/close/", {"why": "?"})) == ["/why"]
    assert QueueItem.objects.get(pk=pair.pk).state == "open"


def test_a_comparison_of_another_project_is_not_found(project, manager):
    foreign = ComparisonFactory()
    for action in ("close", "put-back"):
        problem(Api(manager).post(f"projects/tides/comparisons/{foreign.pk}/{action}/", {}), 404)
    assert QueueItem.objects.get(pk=foreign.pk).state == "open"


@pytest.mark.parametrize("who", ["annotator", "researcher"])
def test_other_members_may_not(request, project, pair, who):
    api = Api(request.getfixturevalue(who))
    cohort = project.cohorts.create(name="Divers")
    problem(api.get("projects/tides/flags/"), 403)
    problem(api.post(f"projects/tides/comparisons/{pair.pk}/close/", {}), 403)
    problem(api.post(f"projects/tides/comparisons/{pair.pk}/put-back/"), 403)
    problem(api.get("projects/tides/cohorts/"), 403)
    problem(api.get(f"cohorts/{cohort.pk}/"), 403)
    problem(api.call("DELETE", f"cohorts/{cohort.pk}/"), 403)


def test_a_cohort_is_made_read_changed_and_deleted(project, manager, pair, crew):
    api = Api(manager)
    ComparisonFactory.create_batch(2, project=project)
    body = {"name": "Chemists", "members": crew, "external_ids": ["tide-1"], "untouched": 1}
    made = api.post("projects/tides/cohorts/", body)
    assert made.status_code == 201
    shown = made.json()
    assert (shown["name"], shown["members"]) == ("Chemists", crew)
    assert shown["comparisons"] == {"total": 2, "complete": 0, "begun": 0, "closed": 0}
    assert api.get("projects/tides/cohorts/").json()["results"] == [shown]
    address = f"cohorts/{shown['id']}/"
    assert api.get(address).json() == shown
    changed = api.call("PATCH", address, {"name": "Physicists", "remove_external_ids": ["tide-1"], "untouched": 0})
    assert (changed.json()["name"], changed.json()["comparisons"]["total"]) == ("Physicists", 1)
    more = api.call("PATCH", address, {"members": [*crew, "mara"]})
    assert more.json()["members"] == [*crew, "mara"]
    assert api.call("DELETE", address).status_code == 204
    problem(api.get(address), 404)
    assert not Cohort.objects.exists()


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"members": ["ada", "ben"]}, "/members"),
        ({"members": "ada"}, "/members"),
        ({"members": [["ada"]]}, "/members/0"),
        ({"name": " "}, "/name"),
        ({"name": 5}, "/name"),
        ({"external_ids": ["no-such-id"]}, "/external_ids/0"),
        ({"untouched": -1}, "/untouched"),
        ({"untouched": "all"}, "/untouched"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_what_is_wrong_with_a_cohort_is_named(project, manager, crew, changes, pointer):
    reply = Api(manager).post("projects/tides/cohorts/", {"name": "Chemists", "members": crew, **changes})
    assert pointers(reply) == [pointer]
    assert not Cohort.objects.exists()


def test_a_cohort_needs_a_name_and_members(project, manager):
    assert pointers(Api(manager).post("projects/tides/cohorts/", {})) == ["/members", "/name"]
