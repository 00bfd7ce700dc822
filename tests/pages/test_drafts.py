"""Drafts: saved as one types, whatever state the lease is in."""

import pytest

from apps.labeling.leasing import expire_leases
from apps.labeling.models import Assignment, Draft
from apps.labeling.services import save_draft
from tests.factories import answer
from tests.pages.conftest import posted

JSON = "application/json"


@pytest.fixture
def path(pair, lease):
    return f"/assignments/{lease().pk}/draft/"


def test_a_draft_is_kept_as_typed(as_user, annotator, path):
    body = {"preference": "neither", "ratings": {"1": {"verbosity": 0}, "2": {}}, "justification": "  two\n\nlines "}
    response = as_user(annotator).put(path, body, content_type=JSON)
    assert response.status_code == 200
    assert response.json()["held"] is True
    assert Draft.objects.get().body == body


def test_the_pages_form_is_a_draft_as_it_stands(as_user, annotator, path):
    fields = {"rating-2-coherence": 0, "problem-1-unsafe": "on", "preference": "neither", "pasted_characters": 3}
    response = as_user(annotator).post(path, fields | {"justification": "three\r\nwords here", "confidence": 1})
    assert response.json()["held"] is True
    assert Draft.objects.get().body == {
        "ratings": {"1": {}, "2": {"coherence": 0}},
        "problems": {"1": ["unsafe"], "2": []},
        "preference": "neither",
        "confidence": 1,
        "justification": "three\nwords here",
        "pasted_characters": 3,
    }


def test_a_draft_that_is_too_long_is_refused_with_the_reason(as_user, annotator, path):
    response = as_user(annotator).post(path, {"justification": "x" * 1_000_000})
    assert response.status_code == 422
    assert response.json()["detail"] == "The draft is too long to keep."


def test_a_draft_survives_the_end_of_the_lease(as_user, annotator, path):
    client = as_user(annotator)
    client.put(path, {"justification": "before"}, content_type=JSON)
    Assignment.objects.update(lease_expires_at="2000-01-01T00:00Z")
    expire_leases()
    response = client.put(path, {"justification": "after"}, content_type=JSON)
    assert response.json()["held"] is False
    assert Draft.objects.get().body == {"justification": "after"}


def test_saving_prolongs_the_lease(as_user, annotator, path):
    Assignment.objects.update(lease_expires_at="2000-01-01T00:00Z")
    as_user(annotator).put(path, {}, content_type=JSON)
    assert Assignment.objects.overdue().count() == 0


@pytest.mark.parametrize("body", ["", "nonsense", "[]", '{"gold": 3}', '{"justification": "\\u0000"}', "[" * 100_000])
def test_what_is_no_draft_is_refused(as_user, annotator, path, body):
    response = as_user(annotator).put(path, body, content_type=JSON)
    assert response.status_code == 422
    assert response.json()["detail"]
    assert not Draft.objects.exists()


def test_after_submitting_a_late_draft_is_refused_and_changes_nothing(as_user, annotator, path):
    client = as_user(annotator)
    client.post(path.replace("draft", "submit"), posted())
    assert client.put(path, answer(), content_type=JSON).status_code == 409
    assert not Draft.objects.exists()


def test_a_get_is_not_allowed(as_user, annotator, path):
    assert as_user(annotator).get(path).status_code == 405


def test_a_broken_draft_in_the_database_does_not_break_the_page(as_user, annotator, pair, lease):
    assignment = lease()
    save_draft(assignment=assignment, body={"preference": True, "ratings": [1], "justification": 7})
    response = as_user(annotator).get("/projects/tides/queue/")
    assert response.status_code == 200
    assert " checked" not in response.content.decode()
