"""A submitted answer can be changed for a while: a new revision, and the old one stays."""

import pytest
from django.utils import timezone

from apps.core.errors import Conflict
from apps.labeling.leasing import lease_next
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem, Workload
from apps.labeling.services import (
    changeable_ids,
    last_submitted,
    reopen_annotation,
    save_draft,
    stored_body,
    submit_annotation,
)
from tests.factories import ComparisonFactory, UserFactory, answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def person():
    return UserFactory()


@pytest.fixture
def submitted(project, person):
    ComparisonFactory.create_batch(2, project=project)
    assignment = lease_next(project=project, annotator=person, resume=True)
    submit_annotation(assignment=assignment, body=answer())
    assignment.refresh_from_db()
    return assignment


def test_a_changed_answer_is_a_new_revision_and_counts_once(project, person, submitted):
    reopen_annotation(assignment=submitted)
    changed = submit_annotation(assignment=submitted, body=answer(preference=3))
    first, second = Annotation.objects.order_by("revision")
    assert [(first.revision, first.is_current), (second.revision, second.is_current)] == [(1, False), (2, True)]
    assert second.pk == changed.pk
    assert abs(second.preference) == 3
    assert Consensus.objects.get().annotation_count == 1
    assert QueueItem.objects.get(pk=submitted.comparison_id).taken == 1
    workload = Workload.objects.get()
    assert (workload.submitted, workload.submitted_on_last_day) == (1, 1)


def test_without_reopening_another_answer_is_refused(submitted):
    with pytest.raises(Conflict, match="another answer"):
        submit_annotation(assignment=submitted, body=answer(preference=3))
    assert Workload.objects.get().submitted == 1


def test_after_the_change_it_is_closed_again(submitted):
    reopen_annotation(assignment=submitted)
    submit_annotation(assignment=submitted, body=answer(preference=3))
    with pytest.raises(Conflict):
        submit_annotation(assignment=submitted, body=answer(preference=1))
    assert Annotation.objects.count() == 2


def test_the_window_counts_from_the_first_submission(project, person, submitted):
    reopen_annotation(assignment=submitted)
    submit_annotation(assignment=submitted, body=answer(preference=3))
    Annotation.objects.filter(revision=1).update(submitted_at=timezone.now() - timezone.timedelta(minutes=31))
    assert last_submitted(project=project, annotator=person) is None
    assert changeable_ids(project=project, annotator=person) == set()
    with pytest.raises(Conflict, match="30 minutes"):
        reopen_annotation(assignment=submitted)


def test_a_project_without_undo_has_none(project, person, submitted):
    project.protocol_settings = {"undo_minutes": 0}
    project.save()
    assert last_submitted(project=project, annotator=person) is None
    with pytest.raises(Conflict):
        reopen_annotation(assignment=Assignment.objects.get())


def test_drafts_are_kept_while_it_is_open_and_refused_before(submitted):
    with pytest.raises(Conflict):
        save_draft(assignment=submitted, body={"justification": "too early"})
    reopen_annotation(assignment=submitted)
    save_draft(assignment=submitted, body={"justification": "better now"})
    assert Assignment.objects.get().state == "submitted"


def test_the_stored_answer_comes_back_as_it_was_given(project, person):
    ComparisonFactory(project=project)
    assignment = lease_next(project=project, annotator=person, resume=True)
    assignment.swapped = True
    assignment.save()
    problems = {"1": ["incorrect_information", "unsafe"], "2": ["repetition"]}
    body = answer(problems=problems, confidence=2, pasted_characters=12)
    stored = submit_annotation(assignment=assignment, body=body)
    assert stored_body(stored) == body
    assert (stored.problems_1, stored.problems_2) == (("repetition",), ("incorrect_information", "unsafe"))
    assert stored.unsafe
    assert stored.preference == 2


def test_the_newest_submission_is_the_one_to_undo(project, person, submitted):
    second = lease_next(project=project, annotator=person, resume=True)
    submit_annotation(assignment=second, body=answer())
    assert last_submitted(project=project, annotator=person).pk == second.pk
    assert changeable_ids(project=project, annotator=person) == {submitted.pk, second.pk}


def test_a_change_can_end_a_disagreement(project):
    ComparisonFactory(project=project)
    people = UserFactory.create_batch(3)
    leases = [lease_next(project=project, annotator=each, resume=True) for each in people]
    for lease, canonical in zip(leases, (1, 1, -3), strict=True):
        submit_annotation(assignment=lease, body=answer(preference=-canonical if lease.swapped else canonical))
    assert Consensus.objects.get().status == "escalated"
    reopen_annotation(assignment=leases[2])
    submit_annotation(assignment=leases[2], body=answer(preference=-2 if leases[2].swapped else 2))
    assert Consensus.objects.get().status == "agreed"
