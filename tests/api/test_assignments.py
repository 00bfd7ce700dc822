"""Labeling over REST: lease, draft, submit, skip; everything in the labels shown."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.labeling.leasing import expire_leases
from apps.labeling.models import Annotation, Assignment, Draft, QueueItem
from tests.api.conftest import Api, pointers, problem
from tests.factories import JUSTIFICATION, ComparisonFactory, MembershipFactory, answer, ratings

pytestmark = pytest.mark.django_db
PATH = "projects/tides/assignments/"


@pytest.fixture
def api(annotator):
    return Api(annotator)


def lease(api, project, swapped=None):
    """Lease a comparison; draw again until the sides are as asked for."""
    while True:
        ComparisonFactory(project=project)
        body = api.post(PATH).json()
        if swapped in (None, Assignment.objects.get(pk=body["id"]).swapped):
            return body


def test_a_lease_has_the_texts_in_the_order_shown(api, project):
    for swapped in (False, True):
        body = lease(api, project, swapped)
        assignment = Assignment.objects.select_related("comparison__prompt").get(pk=body["id"])
        pair = assignment.comparison
        texts = [pair.response_1.text, pair.response_2.text]
        assert body["responses"] == [
            {"label": 1, "text": texts[swapped]},
            {"label": 2, "text": texts[not swapped]},
        ]
        assert body["prompt"] == {"messages": pair.prompt.messages}
        assert body["guideline_version"] == 1
        assert body["protocol"]["annotators"] == 3
        assert body["lease_expires_at"].endswith("Z")
        assert set(body) == {
            "id", "lease_expires_at", "prompt", "responses", "guideline_version", "protocol",
        }  # fmt: skip


def test_each_call_is_a_new_lease_and_an_empty_queue_is_204(api, project):
    ComparisonFactory.create_batch(2, project=project)
    first, second = api.post(PATH), api.post(PATH)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    third = api.post(PATH)
    assert (third.status_code, third.content) == (204, b"")


def test_too_many_open_leases_are_409(api, project, settings):
    settings.API_MAX_OPEN_ASSIGNMENTS = 2
    ComparisonFactory.create_batch(3, project=project)
    assert [api.post(PATH).status_code for _ in range(2)] == [201, 201]
    problem(api.post(PATH), 409)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_submitted_answer_comes_back_as_typed_and_is_stored_canonically(api, project, swapped):
    body = lease(api, project, swapped)
    sent = answer(preference=-2, ratings={"1": ratings(4), "2": ratings(1)})
    reply = api.post(f"assignments/{body['id']}/submit/", sent)
    assert reply.status_code == 201
    shown = reply.json()
    assert {name: shown[name] for name in sent} == sent
    assert (shown["assignment"], shown["guideline_version"]) == (body["id"], 1)
    stored = Annotation.objects.get(pk=shown["id"])
    assert stored.preference == (2 if swapped else -2)
    assert (stored.ratings_1, stored.ratings_2) == ((ratings(1), ratings(4)) if swapped else (ratings(4), ratings(1)))
    assert stored.justification.startswith("@Response 2" if swapped else "@Response 1")


def test_the_same_answer_again_is_200_and_another_one_409(api, project):
    address = f"assignments/{lease(api, project)['id']}/submit/"
    first = api.post(address, answer())
    again = api.post(address, answer())
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    problem(api.post(address, answer(preference=3)), 409)
    assert Annotation.objects.count() == 1


def test_neither_valid_is_an_answer(api, project):
    reply = api.post(f"assignments/{lease(api, project)['id']}/submit/", answer(preference="neither"))
    assert reply.json()["preference"] == "neither"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"preference": 0}, "/preference"),
        ({"preference": 4}, "/preference"),
        ({"preference": True}, "/preference"),
        ({"preference": "1"}, "/preference"),
        ({"preference": 10**400}, "/preference"),
        ({"preference": [1]}, "/preference"),
        ({"preference": None}, "/preference"),
        ({"justification": "Too short."}, "/justification"),
        ({"justification": JUSTIFICATION + "\x00"}, "/justification"),
        ({"justification": JUSTIFICATION + "\ud800"}, "/justification"),
        ({"justification": 5}, "/justification"),
        ({"active_seconds": -1}, "/active_seconds"),
        ({"active_seconds": 10**400}, "/active_seconds"),
        ({"active_seconds": 1.5}, "/active_seconds"),
        ({"ratings": {"1": ratings(3), "2": {**ratings(3), "verbosity": 5}}}, "/ratings/2/verbosity"),
        ({"ratings": {"1": ratings(3), "2": ratings(3), "3": {}}}, "/ratings/3"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_a_wrong_answer_is_422_and_stores_nothing(api, project, change, pointer):
    reply = api.post(f"assignments/{lease(api, project)['id']}/submit/", answer(**change))
    assert pointers(reply) == [pointer]
    assert not Annotation.objects.exists()


def test_an_answer_without_ratings_names_each_of_them(api, project):
    sent = answer(ratings=[])
    found = pointers(api.post(f"assignments/{lease(api, project)['id']}/submit/", sent))
    assert len(found) == 10
    assert found[0] == "/ratings/1/coherence"


@pytest.mark.parametrize("body", [b"[]", b"null", b"3"])
@pytest.mark.parametrize(("method", "action"), [("POST", "submit"), ("PUT", "draft"), ("POST", "skip")])
def test_a_body_that_is_no_object_is_422(api, project, method, action, body):
    assert pointers(api.call(method, f"assignments/{lease(api, project)['id']}/{action}/", body)) == [""]


def test_a_draft_keeps_any_subset_as_typed_and_prolongs_the_lease(api, project):
    body = lease(api, project)
    Assignment.objects.update(lease_expires_at=timezone.now())
    draft = {"preference": 9, "justification": "@Response 1 is"}
    reply = api.call("PUT", f"assignments/{body['id']}/draft/", draft)
    assert (reply.status_code, reply.json()["draft"], reply.json()["id"]) == (200, draft, body["id"])
    assert Draft.objects.get().body == draft
    assert Assignment.objects.get().lease_expires_at > timezone.now() + timedelta(minutes=29)


@pytest.mark.parametrize("draft", [{"justification": "\x00"}, {"justification": "\udc00"}, {"note": "x"}])
def test_a_draft_that_cannot_be_kept_is_422(api, project, draft):
    problem(api.call("PUT", f"assignments/{lease(api, project)['id']}/draft/", draft), 422)
    assert not Draft.objects.exists()


def test_a_lost_lease_with_room_left_is_accepted(api, project):
    body = lease(api, project)
    Assignment.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    expire_leases()
    assert api.post(f"assignments/{body['id']}/submit/", answer()).status_code == 201


def test_a_lost_lease_without_room_is_409_and_keeps_the_text(api, project):
    body = lease(api, project)
    Assignment.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    expire_leases()
    QueueItem.objects.update(state="complete")
    assert "kept as a draft" in problem(api.post(f"assignments/{body['id']}/submit/", answer()), 409)["detail"]
    assert Draft.objects.get().body == answer()


def test_a_skipped_comparison_goes_back_to_the_queue(api, project):
    body = lease(api, project)
    skip = {"reason": "language", "note": "Finnish"}
    reply = api.post(f"assignments/{body['id']}/skip/", skip)
    assert (reply.status_code, reply.json()) == (200, {"id": body["id"], "state": "skipped", **skip})
    assert QueueItem.objects.get().taken == 0
    assert api.post(PATH).status_code == 204
    problem(api.post(f"assignments/{body['id']}/submit/", answer()), 409)


@pytest.mark.parametrize(
    ("skip", "pointer"),
    [
        ({}, "/reason"),
        ({"reason": "bored"}, "/reason"),
        ({"reason": ["pii"]}, "/reason"),
        ({"reason": "pii", "note": "x" * 1001}, "/note"),
        ({"reason": "pii", "note": "\x00"}, "/note"),
        ({"reason": "pii", "note": None}, "/note"),
        ({"reason": "pii", "why": "x"}, "/why"),
    ],
)
def test_a_wrong_skip_is_422(api, project, skip, pointer):
    assert pointers(api.post(f"assignments/{lease(api, project)['id']}/skip/", skip)) == [pointer]
    assert Assignment.objects.get().state == "leased"


@pytest.mark.parametrize("action", ["draft", "submit", "skip"])
def test_another_persons_assignment_does_not_exist(api, project, manager, stranger, action):
    assignment = lease(api, project)["id"]
    method = "PUT" if action == "draft" else "POST"
    other = MembershipFactory(project=project).user
    for user in (other, manager, stranger):
        problem(Api(user).call(method, f"assignments/{assignment}/{action}/", {}), 404)


def test_who_may_no_longer_label_no_longer_submits(api, project, annotator):
    assignment = lease(api, project)["id"]
    annotator.memberships.update(role="researcher")
    problem(api.post(f"assignments/{assignment}/submit/", answer()), 404)
    annotator.memberships.all().delete()
    problem(api.post(f"assignments/{assignment}/submit/", answer()), 404)
    assert not Annotation.objects.exists()


def test_researchers_do_not_lease(researcher, project):
    ComparisonFactory(project=project)
    problem(Api(researcher).post(PATH), 403)
    assert not Assignment.objects.exists()


def test_queries_of_a_lease_and_of_an_answer_are_few(api, project, django_assert_max_num_queries):
    api.get("projects/")
    ComparisonFactory.create_batch(5, project=project)
    with django_assert_max_num_queries(14):
        body = api.post(PATH).json()
    with django_assert_max_num_queries(26):
        reply = api.post(f"assignments/{body['id']}/submit/", answer())
    assert reply.status_code == 201, reply.content
