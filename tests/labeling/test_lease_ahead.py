"""A pair leased ahead: invisible, once, given up without a trace, and never in anybody's way."""

import pytest
from django.utils import timezone

from apps.core.errors import NotFound
from apps.labeling.leasing import (
    GuidelineChanged,
    bring_forward,
    expire_leases,
    lease_ahead,
    lease_next,
    release_ahead,
)
from apps.labeling.models import Assignment, QueueItem
from apps.labeling.services import (
    accept_guideline,
    guideline_change,
    save_draft,
    skip_assignment,
    submit_annotation,
)
from apps.projects.models import GuidelineVersion
from tests.factories import ComparisonFactory, UserFactory, answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def person(project):
    ComparisonFactory.create_batch(3, project=project, queue__wanted=1)
    return UserFactory()


@pytest.fixture
def held(project, person):
    return lease_next(project=project, annotator=person, resume=True)


def test_it_is_leased_once_and_shown_after_the_one_before(project, person, held):
    ahead = lease_ahead(assignment=held)
    assert lease_ahead(assignment=held).pk == ahead.pk
    assert (ahead.ahead, ahead.comparison_id > held.comparison_id) == (True, True)
    submit_annotation(assignment=held, body=answer())
    shown = bring_forward(annotator=person, assignment_id=ahead.pk)
    assert (shown.pk, shown.ahead) == (ahead.pk, False)
    assert bring_forward(annotator=person, assignment_id=ahead.pk) is None
    assert lease_next(project=project, annotator=person, resume=True).pk == ahead.pk


def test_a_reload_shows_the_pair_that_is_held_not_the_one_ahead(project, person, held):
    lease_ahead(assignment=held)
    assert lease_next(project=project, annotator=person, resume=True).pk == held.pk


def test_after_a_crash_the_one_ahead_comes_next(project, person, held):
    ahead = lease_ahead(assignment=held)
    skip_assignment(assignment=held, reason="other")
    shown = lease_next(project=project, annotator=person, resume=True)
    assert (shown.pk, shown.ahead) == (ahead.pk, False)


def test_nothing_is_leased_ahead_for_somebody_who_holds_nothing(project, person, held):
    submit_annotation(assignment=held, body=answer())
    assert lease_ahead(assignment=held) is None


def test_a_release_leaves_no_trace_so_that_the_pair_can_come_again(project, person, held):
    ahead = lease_ahead(assignment=held)
    assert release_ahead(project=project, annotator=person) == 1
    assert release_ahead(project=project, annotator=person) == 0
    item = QueueItem.objects.get(pk=ahead.comparison_id)
    assert (item.taken, item.had) == (0, [])
    assert lease_ahead(assignment=held).comparison_id == ahead.comparison_id


def test_an_expired_one_is_released_too(project, person, held):
    ahead = lease_ahead(assignment=held)
    Assignment.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    assert expire_leases() == 2
    assert list(Assignment.objects.values_list("pk", "state")) == [(held.pk, "expired")]
    assert not QueueItem.objects.filter(taken__gt=0).exists()
    assert bring_forward(annotator=person, assignment_id=ahead.pk) is None


def test_somebody_who_would_find_nothing_gets_what_nobody_looks_at(project, person, held):
    ahead = lease_ahead(assignment=held)
    other, third = UserFactory.create_batch(2)
    rest = lease_next(project=project, annotator=other, resume=False)
    taken_over = lease_next(project=project, annotator=other, resume=False)
    assert {rest.comparison_id, taken_over.comparison_id}.isdisjoint({held.comparison_id})
    assert taken_over.comparison_id == ahead.comparison_id
    item = QueueItem.objects.get(pk=ahead.comparison_id)
    assert (item.taken, item.had) == (1, [other.pk])
    assert lease_next(project=project, annotator=third, resume=True) is None
    submit_annotation(assignment=held, body=answer())
    assert bring_forward(annotator=person, assignment_id=ahead.pk) is None
    assert lease_next(project=project, annotator=person, resume=True) is None


def test_what_is_only_for_later_takes_nothing_from_anybody(project, person, held):
    lease_ahead(assignment=held)
    other = UserFactory()
    mine = lease_next(project=project, annotator=other, resume=True)
    assert lease_ahead(assignment=mine) is None


def test_a_new_guideline_is_read_before_the_pair_is_shown(project, person, held):
    ahead = lease_ahead(assignment=held)
    GuidelineVersion.objects.create(project=project, number=2, text="Read them twice.")
    assert bring_forward(annotator=person, assignment_id=ahead.pk) is None
    submit_annotation(assignment=held, body=answer())
    accept_guideline(project=project, annotator=person, number=2)
    shown = lease_next(project=project, annotator=person, resume=True)
    assert (shown.pk, shown.guideline_version.number) == (ahead.pk, 2)


def test_a_draft_makes_it_a_lease_like_any_other(project, person, held):
    ahead = lease_ahead(assignment=held)
    save_draft(assignment=ahead, body={"justification": "I have seen it"})
    assert release_ahead(project=project, annotator=person) == 0
    assert not Assignment.objects.get(pk=ahead.pk).ahead


def test_it_counts_for_the_limit_of_a_person(project, person):
    project.protocol_settings = {"annotations_per_person": 1}
    project.save()
    held = lease_next(project=project, annotator=person, resume=True)
    assert lease_ahead(assignment=held) is None


def test_nobody_brings_forward_what_is_somebody_elses(project, person, held):
    ahead = lease_ahead(assignment=held)
    assert bring_forward(annotator=UserFactory(), assignment_id=ahead.pk) is None


def test_the_page_hands_out_nothing_new_before_a_new_guideline_is_accepted(project, person, held):
    GuidelineVersion.objects.create(project=project, number=2, text="Read them twice.")
    assert lease_next(project=project, annotator=person, resume=True).pk == held.pk
    submit_annotation(assignment=held, body=answer())
    with pytest.raises(GuidelineChanged):
        lease_next(project=project, annotator=person, resume=True)
    change = guideline_change(project=project, annotator=person)
    assert (change.before.number, change.after.number) == (1, 2)
    with pytest.raises(NotFound):
        accept_guideline(project=project, annotator=person, number=3)
    accept_guideline(project=project, annotator=person, number=2)
    assert guideline_change(project=project, annotator=person) is None
    assert lease_next(project=project, annotator=person, resume=True).guideline_version.number == 2


def test_somebody_new_begins_with_the_guideline_as_it_is(project, person):
    GuidelineVersion.objects.create(project=project, number=2, text="Read them twice.")
    assert lease_next(project=project, annotator=person, resume=True).guideline_version.number == 2
    assert guideline_change(project=project, annotator=person) is None
