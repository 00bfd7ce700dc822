"""Flags take a pair out of the queue; control items and repeats come at their rates and count for nothing else."""

import pytest

from apps.core.errors import Conflict, InvalidInput
from apps.labeling.consensus import refresh_consensus
from apps.labeling.leasing import REPEAT_AFTER, lease_next, take_up_again
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem, Workload
from apps.labeling.services import skip_assignment, submit_annotation
from tests.factories import ComparisonFactory, UserFactory, answer

pytestmark = pytest.mark.django_db


def set_protocol(project, **settings):
    project.protocol_settings = settings
    project.save()


def skip(project, reason):
    """Let somebody new skip the next pair, and return their assignment."""
    lease = lease_next(project=project, annotator=UserFactory(), resume=False)
    return skip_assignment(assignment=lease, reason=reason)


def test_two_people_who_call_a_pair_invalid_take_it_out_of_the_queue(project):
    ComparisonFactory(project=project)
    assert skip(project, "pii").flagged_at is not None
    assert QueueItem.objects.get().state == "open"
    skip(project, "broken")
    item = QueueItem.objects.get()
    assert (item.state, item.closed_reason, item.taken) == ("closed", "Flagged as invalid by 2 people.", 0)
    assert lease_next(project=project, annotator=UserFactory(), resume=False) is None


def test_skips_that_are_about_the_person_close_nothing(project):
    ComparisonFactory(project=project)
    for _ in range(4):
        assert skip(project, "needs_expertise").flagged_at is None
    assert QueueItem.objects.get().state == "open"


def test_what_closes_a_pair_is_the_projects_choice(project):
    set_protocol(
        project, flags_to_close=1, skip_reasons=[{"name": "not_law", "label": "Not about the law", "invalid": True}]
    )
    ComparisonFactory(project=project)
    lease = lease_next(project=project, annotator=UserFactory(), resume=False)
    with pytest.raises(InvalidInput) as refused:
        skip_assignment(assignment=lease, reason="pii")
    assert refused.value.errors[0].detail == "Use one of not_law."
    skip_assignment(assignment=lease, reason="not_law")
    assert QueueItem.objects.get().state == "closed"


def test_who_holds_a_closed_pair_may_finish_it(project):
    ComparisonFactory(project=project)
    held = lease_next(project=project, annotator=UserFactory(), resume=False)
    for _ in range(2):
        skip(project, "broken")
    submit_annotation(assignment=held, body=answer())
    assert QueueItem.objects.get().state == "closed"
    assert Consensus.objects.get().annotation_count == 1


def test_skipping_counts_once_in_the_persons_work(project):
    ComparisonFactory(project=project)
    skipped = skip(project, "other")
    skip_assignment(assignment=skipped, reason="other")
    assert Workload.objects.get().skipped == 1


def test_a_control_item_is_for_everybody_and_gets_no_consensus(project):
    set_protocol(project, control_rate=0.5, annotators=1, max_annotators=1)
    control = ComparisonFactory(project=project, gold=2)
    refresh_consensus()
    assert QueueItem.objects.get().state == "control"
    people = UserFactory.create_batch(4)
    for person in people:
        lease = None
        while lease is None:  # half of all draws are for control items, and nothing else is there
            lease = lease_next(project=project, annotator=person, resume=False)
        assert (lease.comparison_id, lease.drawn) == (control.pk, "control")
        submit_annotation(assignment=lease, body=answer())
    item, consensus = QueueItem.objects.get(), Consensus.objects.get()
    assert (item.state, item.taken, item.had) == ("control", 4, [])
    assert (consensus.status, consensus.annotation_count) == ("pending", 4)
    assert [lease_next(project=project, annotator=people[0], resume=False) for _ in range(20)] == [None] * 20


def test_the_control_rate_decides_whether_pairs_with_a_known_answer_are_hidden_ones(project):
    ComparisonFactory(project=project, gold=2)
    refresh_consensus()
    assert QueueItem.objects.get().state == "open"
    submit_annotation(assignment=lease_next(project=project, annotator=UserFactory(), resume=False), body=answer())
    set_protocol(project, control_rate=0.1)
    refresh_consensus()
    item = QueueItem.objects.get()
    assert (item.state, item.taken) == ("control", 1)
    set_protocol(project)
    refresh_consensus()
    item = QueueItem.objects.get()
    assert (item.state, item.wanted, item.taken) == ("open", 3, 1)


def test_a_repeat_comes_with_the_sides_exchanged_and_changes_nothing_else(project):
    set_protocol(project, annotators=1, max_annotators=1)
    ComparisonFactory.create_batch(REPEAT_AFTER + 2, project=project)
    person = UserFactory()
    for _ in range(REPEAT_AFTER + 1):
        submit_annotation(assignment=lease_next(project=project, annotator=person, resume=True), body=answer())
    before = list(Consensus.objects.order_by("pk").values_list("pk", "status", "preference", "annotation_count"))
    taken = list(QueueItem.objects.order_by("pk").values_list("taken", flat=True))

    set_protocol(project, annotators=1, max_annotators=1, repeat_rate=0.5)
    repeat = None
    while repeat is None or repeat.drawn != "repeat":
        repeat = lease_next(project=project, annotator=person, resume=False)
        if repeat.drawn != "repeat":
            skip_assignment(assignment=repeat, reason="other")
            ComparisonFactory(project=project)
    earlier = repeat.repeat_of
    assert (repeat.comparison_id, repeat.swapped) == (earlier.comparison_id, not earlier.swapped)
    annotation = submit_annotation(assignment=repeat, body=answer(preference=3))
    assert annotation.is_repeat
    assert Annotation.objects.current().filter(comparison=repeat.comparison_id).count() == 1
    after = Consensus.objects.order_by("pk").values_list("pk", "status", "preference", "annotation_count")
    assert list(after) == before
    assert list(QueueItem.objects.order_by("pk").values_list("taken", flat=True))[: len(taken)] == taken


def test_nothing_is_repeated_before_enough_lies_between(project):
    set_protocol(project, repeat_rate=0.5)
    ComparisonFactory.create_batch(REPEAT_AFTER, project=project)
    person = UserFactory()
    while lease := lease_next(project=project, annotator=person, resume=True):
        submit_annotation(assignment=lease, body=answer())
    assert Assignment.objects.filter(drawn="repeat").count() == 0


def test_an_expired_repeat_can_be_taken_up_without_a_slot(project):
    set_protocol(project, annotators=1, max_annotators=1)
    ComparisonFactory(project=project)
    person = UserFactory()
    first = lease_next(project=project, annotator=person, resume=True)
    submit_annotation(assignment=first, body=answer())
    repeat = Assignment.objects.create(
        project=project,
        comparison=first.comparison,
        annotator=person,
        state="expired",
        swapped=not first.swapped,
        drawn="repeat",
        repeat_of=first,
        guideline_version=first.guideline_version,
        lease_expires_at=first.lease_expires_at,
    )
    assert take_up_again(assignment=repeat).state == "leased"
    assert QueueItem.objects.get().taken == 1


def test_untouched_pairs_follow_a_changed_number_of_annotators(project):
    touched, *untouched = ComparisonFactory.create_batch(4, project=project)
    held = lease_next(project=project, annotator=UserFactory(), resume=False)
    assert held.comparison_id == touched.pk
    for annotators in (4, 1, 2):
        set_protocol(project, annotators=annotators, max_annotators=5)
        refresh_consensus()
        asked = dict(QueueItem.objects.values_list("pk", "wanted"))
        assert asked == {touched.pk: 3, **{pair.pk: annotators for pair in untouched}}


def test_an_account_that_stands_for_imported_labels_gets_nothing(project):
    ComparisonFactory(project=project)
    with pytest.raises(Conflict, match="imported labels"):
        lease_next(project=project, annotator=UserFactory(imported_name="crowd 7"), resume=True)
