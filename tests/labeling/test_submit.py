"""Submitting stores one canonical annotation, or nothing at all."""

import pytest
from django.utils import timezone

from apps.core.errors import Conflict, InvalidInput
from apps.labeling.consensus import refresh_consensus
from apps.labeling.leasing import expire_leases, lease_next
from apps.labeling.models import Annotation, Assignment, Consensus, Draft, QueueItem
from apps.labeling.services import save_draft, skip_assignment, submit_annotation
from apps.projects.models import Project
from tests.factories import ComparisonFactory, UserFactory, answer, ratings

pytestmark = pytest.mark.django_db


def lease_for(project, swapped, **queue):
    """Lease a new comparison to a person who sees it in this order."""
    comparison = ComparisonFactory(project=project, **{f"queue__{name}": value for name, value in queue.items()})
    lease = lease_next(project=project, annotator=UserFactory(), resume=False)
    assert lease.comparison_id == comparison.pk
    Assignment.objects.filter(pk=lease.pk).update(swapped=swapped)
    lease.swapped = swapped
    return lease


@pytest.mark.parametrize("swapped", [False, True])
def test_values_and_mentions_are_stored_in_canonical_order(project, swapped):
    lease = lease_for(project, swapped)
    typed = "@Response 1 names the cause and @Response 2 only repeats what was asked, so 1 wins."
    stored = submit_annotation(
        assignment=lease,
        body=answer(preference=-3, ratings={"1": ratings(4), "2": ratings(1)}, justification=typed),
    )
    assert stored.preference == (3 if swapped else -3)
    assert stored.ratings_1 == ratings(1 if swapped else 4)
    assert stored.ratings_2 == ratings(4 if swapped else 1)
    better = "@Response 2" if swapped else "@Response 1"
    assert stored.justification.startswith(f"{better} names the cause")
    assert stored.shown_order == ([2, 1] if swapped else [1, 2])


def test_the_same_answer_again_is_the_same_annotation_and_another_one_a_conflict(project):
    lease = lease_for(project, swapped=True)
    first = submit_annotation(assignment=lease, body=answer())
    assert submit_annotation(assignment=lease, body=answer(active_seconds=99)) == first
    with pytest.raises(Conflict, match="another answer"):
        submit_annotation(assignment=lease, body=answer(preference=1))
    assert Annotation.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"preference": None}, "/preference"),
        ({"preference": 0}, "/preference"),
        ({"preference": 4}, "/preference"),
        ({"preference": True}, "/preference"),
        ({"preference": "3"}, "/preference"),
        ({"ratings": {"1": ratings(3)}}, "/ratings/2/helpfulness"),
        ({"ratings": {"1": ratings(3), "2": {**ratings(3), "verbosity": 5}}}, "/ratings/2/verbosity"),
        ({"ratings": {"1": ratings(3), "2": {**ratings(3), "charm": 1}}}, "/ratings/2/charm"),
        ({"ratings": [1, 2]}, "/ratings/1/helpfulness"),
        ({"justification": "Too short."}, "/justification"),
        ({"justification": "word " * 301}, "/justification"),
        ({"justification": "x" * 1_000_000}, "/justification"),
        ({"justification": "ten words and a NUL \x00 are not stored at all here"}, "/justification"),
        ({"justification": ["a list"]}, "/justification"),
        ({"active_seconds": -1}, "/active_seconds"),
        ({"annotator": "somebody else"}, "/annotator"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(project, changes, pointer):
    lease = lease_for(project, swapped=False)
    with pytest.raises(InvalidInput) as refused:
        submit_annotation(assignment=lease, body=answer(**changes))
    assert pointer in [error.pointer for error in refused.value.errors]
    assert not Annotation.objects.exists()
    lease.refresh_from_db()
    assert lease.state == Assignment.State.LEASED


def test_a_lost_lease_is_taken_back_while_there_is_room(project):
    lease = lease_for(project, swapped=False, wanted=1)
    Assignment.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    expire_leases()
    submit_annotation(assignment=lease, body=answer())
    assert QueueItem.objects.get().taken == 1


def test_a_lost_lease_without_room_keeps_the_text_as_a_draft(project):
    Project.objects.update(protocol_settings={"annotators": 1})
    project.refresh_from_db()
    lease = lease_for(project, swapped=False, wanted=1)
    Assignment.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    expire_leases()
    quicker = lease_next(project=project, annotator=UserFactory(), resume=False)
    submit_annotation(assignment=quicker, body=answer())
    with pytest.raises(Conflict, match="kept as a draft"):
        submit_annotation(assignment=lease, body=answer(preference=3))
    assert Draft.objects.get(assignment=lease).body == answer(preference=3)
    assert Annotation.objects.count() == 1


def test_a_skipped_comparison_cannot_be_submitted(project):
    lease = lease_for(project, swapped=False)
    skip_assignment(assignment=lease, reason="broken")
    with pytest.raises(Conflict, match="skipped"):
        submit_annotation(assignment=lease, body=answer())
    with pytest.raises(Conflict, match="skipped already"):
        save_draft(assignment=lease, body=answer())


def test_an_unknown_skip_reason_is_refused(project):
    lease = lease_for(project, swapped=False)
    with pytest.raises(InvalidInput, match="reason"):
        skip_assignment(assignment=lease, reason="bored")


def test_a_draft_holds_any_part_of_an_answer_and_goes_with_the_submission(project):
    lease = lease_for(project, swapped=True)
    before = lease.lease_expires_at
    save_draft(assignment=lease, body={"justification": "@Response 1 so far"})
    lease.refresh_from_db()
    assert lease.lease_expires_at > before
    assert Draft.objects.get().body == {"justification": "@Response 1 so far"}
    submit_annotation(assignment=lease, body=answer())
    assert not Draft.objects.exists()
    with pytest.raises(Conflict):
        save_draft(assignment=lease, body={"justification": "too late"})


@pytest.mark.parametrize("body", [[], {"reward": 3}, {"justification": "a\x00b"}, {"justification": "x" * 300_000}])
def test_a_draft_that_cannot_be_kept_is_refused_with_a_sentence(project, body):
    with pytest.raises(InvalidInput):
        save_draft(assignment=lease_for(project, swapped=False), body=body)


def annotate(project, comparison, preferences):
    for preference in preferences:
        lease = lease_next(project=project, annotator=UserFactory(), resume=False)
        assert lease.comparison_id == comparison.pk
        shown = preference if preference == "neither" or not lease.swapped else -preference
        submit_annotation(assignment=lease, body=answer(preference=shown))


def test_consensus_is_settled_with_the_last_submission(project):
    comparison = ComparisonFactory(project=project)
    annotate(project, comparison, [2, 3])
    assert Consensus.objects.get().status == "pending"
    annotate(project, comparison, [3])
    consensus = Consensus.objects.get()
    assert (consensus.status, consensus.preference, consensus.annotation_count) == ("agreed", 3, 3)
    assert len(consensus.kept) == 3
    assert consensus.settled_at is not None
    assert QueueItem.objects.get().state == "complete"


def test_two_more_annotators_are_asked_for_when_three_disagree(project):
    comparison = ComparisonFactory(project=project)
    annotate(project, comparison, [-2, 1, 2])
    item = QueueItem.objects.get()
    assert (Consensus.objects.get().status, item.wanted, item.state) == ("escalated", 5, "open")
    annotate(project, comparison, [2])
    assert Consensus.objects.get().preference == 2
    assert QueueItem.objects.get().wanted == 5
    annotate(project, comparison, [-3])
    consensus = Consensus.objects.get()
    assert (consensus.status, consensus.preference, consensus.annotation_count) == ("agreed", 2, 5)
    assert lease_next(project=project, annotator=UserFactory(), resume=False) is None


def test_disagreement_at_the_limit_is_excluded_with_its_reason(project):
    comparison = ComparisonFactory(project=project)
    annotate(project, comparison, [-3, 1, "neither", 3, -2])
    consensus = Consensus.objects.get()
    assert (consensus.status, consensus.preference) == ("excluded", None)
    assert "spread by 4" in consensus.excluded_reason


def test_neither_valid_by_all_is_a_consensus_without_a_number(project):
    comparison = ComparisonFactory(project=project)
    annotate(project, comparison, ["neither"] * 3)
    consensus = Consensus.objects.get()
    assert (consensus.status, consensus.preference, consensus.outcome) == ("neither", None, "neither")


def test_a_protocol_that_wants_more_people_reopens_what_is_unsettled(project):
    comparison = ComparisonFactory(project=project)
    annotate(project, comparison, [2, 2])
    Project.objects.update(protocol_settings={"annotators": 4})
    project.refresh_from_db()
    annotate(project, comparison, [2])
    assert QueueItem.objects.get().wanted == 4
    annotate(project, comparison, [2])
    assert Consensus.objects.get().preference == 2


def test_a_protocol_that_wants_fewer_people_ends_what_waits_for_more(project):
    comparison = ComparisonFactory(project=project)
    untouched = ComparisonFactory(project=project, queue__priority=-1)
    annotate(project, comparison, [-2, 1, 2])
    assert Consensus.objects.get().status == "escalated"
    Project.objects.update(protocol_settings={"annotators": 2, "max_annotators": 3})
    assert refresh_consensus() == 1
    assert Consensus.objects.get().status == "excluded"
    assert QueueItem.objects.get(pk=untouched.pk).wanted == 2
    assert refresh_consensus() == 0


def test_submitting_costs_few_queries_however_much_there_is(project, django_assert_max_num_queries):
    ComparisonFactory.create_batch(20, project=project)
    lease = lease_next(project=project, annotator=UserFactory(), resume=False)
    with django_assert_max_num_queries(14):
        submit_annotation(assignment=lease, body=answer())
