"""Leaving a comparison out and putting it back: the queue, what is held, flags, consensus, the audit log."""

import pytest

from apps.core.errors import InvalidInput
from apps.labeling.consensus import CLOSED_DECIDED, CLOSED_UNDECIDED, refresh_consensus
from apps.labeling.leasing import lease_next
from apps.labeling.models import Annotation, Assignment, Cohort, Consensus, QueueItem
from apps.labeling.oversight import close_comparison, nobody_left, put_back, reported
from apps.labeling.services import skip_assignment, submit_annotation
from apps.projects.models import AuditEvent, Membership
from apps.prompts.models import Comparison
from tests.factories import ComparisonFactory, MembershipFactory, answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(project):
    return ComparisonFactory(project=project)


def lease(project, person=None):
    person = person or MembershipFactory(project=project).user
    return lease_next(project=project, annotator=person, resume=False)


def vote(project, preference):
    """Let somebody new label the next pair, whichever sides they see."""
    held = lease(project)
    return submit_annotation(assignment=held, body=answer(preference=-preference if held.swapped else preference))


def flag(project, **changes):
    """Let somebody new call the next pair invalid."""
    return skip_assignment(assignment=lease(project), **{"reason": "broken", **changes})


def item(pair):
    return QueueItem.objects.get(pk=pair.pk)


def test_a_closed_comparison_is_handed_out_no_more(project, manager, pair):
    assert close_comparison(comparison=pair, actor=manager, reason=" Wrong file ") is True
    assert lease(project) is None
    closed = item(pair)
    assert (closed.state, closed.closed_reason) == (QueueItem.State.CLOSED, "Wrong file")
    assert closed.closed_at is not None
    assert not Consensus.objects.filter(pk=pair.pk).exists()  # nobody has said anything about it
    logged = AuditEvent.objects.get(project=project, verb="closed a comparison")
    assert (logged.actor, logged.detail) == (manager, {"comparison": pair.external_id, "reason": "Wrong file"})


def test_closing_twice_changes_nothing(project, manager, pair):
    close_comparison(comparison=pair, actor=manager, reason="First")
    assert close_comparison(comparison=pair, actor=manager, reason="Second") is False
    assert item(pair).closed_reason == "First"
    assert AuditEvent.objects.filter(project=project, verb="closed a comparison").count() == 1


@pytest.mark.parametrize("reason", ["x" * 201, "a\x00b", "\ud800"])
def test_a_reason_that_cannot_be_stored_is_refused(manager, pair, reason):
    with pytest.raises(InvalidInput) as refused:
        close_comparison(comparison=pair, actor=manager, reason=reason)
    assert refused.value.errors[0].pointer == "/reason"
    assert item(pair).state == QueueItem.State.OPEN


def test_whoever_holds_it_may_still_submit_and_it_stays_closed(project, manager, pair):
    held = lease(project)
    close_comparison(comparison=pair, actor=manager)
    submit_annotation(assignment=held, body=answer())
    assert Annotation.objects.filter(comparison=pair).count() == 1
    assert item(pair).state == QueueItem.State.CLOSED
    consensus = Consensus.objects.get(pk=pair.pk)
    assert (consensus.status, consensus.excluded_reason, consensus.annotation_count) == (
        "excluded",
        CLOSED_UNDECIDED,
        1,
    )


def test_an_escalated_comparison_stops_being_pending(project, manager, pair):
    for preference in (-3, 3, 1):
        vote(project, preference)
    assert (Consensus.objects.get(pk=pair.pk).status, item(pair).wanted) == ("escalated", 5)
    close_comparison(comparison=pair, actor=manager)
    consensus = Consensus.objects.get(pk=pair.pk)
    assert (consensus.status, consensus.excluded_reason) == ("excluded", CLOSED_UNDECIDED)
    assert consensus.settled_at is not None
    refresh_consensus()
    assert (Consensus.objects.get(pk=pair.pk).status, item(pair).state) == ("excluded", "closed")
    put_back(comparison=pair, actor=manager)
    consensus = Consensus.objects.get(pk=pair.pk)
    assert (consensus.status, consensus.excluded_reason, consensus.settled_at) == ("escalated", "", None)
    assert (item(pair).state, item(pair).wanted, item(pair).taken) == ("open", 5, 3)
    assert lease(project).comparison_id == pair.pk


def test_an_agreed_comparison_that_is_left_out_is_no_label_until_it_is_put_back(project, manager, pair):
    for _ in range(3):
        vote(project, -2)
    assert Consensus.objects.get(pk=pair.pk).preference == -2
    close_comparison(comparison=pair, actor=manager)
    consensus = Consensus.objects.get(pk=pair.pk)
    assert (consensus.status, consensus.preference, consensus.excluded_reason) == ("excluded", None, CLOSED_DECIDED)
    put_back(comparison=pair, actor=manager)
    consensus = Consensus.objects.get(pk=pair.pk)
    assert (consensus.status, consensus.preference) == ("agreed", -2)
    assert item(pair).state == QueueItem.State.COMPLETE


def test_flags_close_a_comparison_and_what_was_said_of_it_is_no_label(project, pair):
    vote(project, 2)
    flag(project)
    assert item(pair).state == QueueItem.State.OPEN
    flag(project)
    assert (item(pair).state, item(pair).closed_reason) == ("closed", "Flagged as invalid by 2 people.")
    assert Consensus.objects.get(pk=pair.pk).excluded_reason == CLOSED_UNDECIDED


def test_old_flags_do_not_count_after_it_was_put_back(project, manager, pair):
    flag(project)
    flag(project)
    assert put_back(comparison=pair, actor=manager) is True
    assert (item(pair).state, item(pair).closed_reason, item(pair).closed_at) == ("open", "", None)
    flag(project)
    assert item(pair).state == QueueItem.State.OPEN
    flag(project)
    assert (item(pair).state, item(pair).closed_reason) == ("closed", "Flagged as invalid by 2 people.")
    logged = AuditEvent.objects.get(project=project, verb="put a comparison back")
    assert logged.detail == {"comparison": pair.external_id, "was_closed": True, "flags": 2}


def test_flags_of_an_open_comparison_are_forgotten_but_their_reasons_stay(project, manager, pair):
    flag(project, note="Half of it is missing")
    assert put_back(comparison=pair, actor=manager) is True
    assert put_back(comparison=pair, actor=manager) is False
    skipped = Assignment.objects.get(comparison=pair)
    assert (skipped.flagged_at, skipped.skip_reason, skipped.skip_note) == (None, "broken", "Half of it is missing")


def test_a_control_item_becomes_one_again(project, manager):
    project.protocol_settings = {"control_rate": 0.5}
    project.save()
    pair = ComparisonFactory(project=project, gold=2, queue__state="control", queue__wanted=32_767)
    close_comparison(comparison=pair, actor=manager)
    put_back(comparison=pair, actor=manager)
    assert (item(pair).state, item(pair).wanted) == ("control", 32_767)
    close_comparison(comparison=pair, actor=manager)
    project.protocol_settings = {}
    project.save()
    put_back(comparison=Comparison.objects.get(pk=pair.pk), actor=manager)
    assert (item(pair).state, item(pair).wanted) == ("open", 3)


def test_an_escalated_comparison_that_everybody_had_is_found(project, manager):
    people = [manager, *(MembershipFactory(project=project).user for _ in range(3))]
    MembershipFactory(project=project, role=Membership.Role.RESEARCHER)  # never asked
    MembershipFactory(project=project, user__is_active=False)  # nor somebody who cannot sign in
    stuck, agreed = ComparisonFactory(project=project, queue__priority=1.0), ComparisonFactory(project=project)
    for person, preference in zip(people[:3], (-3, 3, 1), strict=True):
        for _ in range(2):
            held = lease(project, person)
            preference = preference if held.comparison_id == stuck.pk else 2
            shown = -preference if held.swapped else preference
            submit_annotation(assignment=held, body=answer(preference=shown))

    def found():
        return list(Comparison.objects.filter(nobody_left(project)))

    assert found() == []  # one person is left
    last = lease(project, people[3])
    assert last.comparison_id == stuck.pk
    assert found() == []  # and has it just now
    skip_assignment(assignment=last, reason="needs_expertise")
    assert found() == [stuck]
    newcomer = MembershipFactory(project=project).user
    assert found() == []
    cohort = Cohort.objects.create(project=project, name="The first")
    cohort.members.set(people)
    QueueItem.objects.filter(pk=stuck.pk).update(cohort=cohort)
    assert found() == [stuck]
    assert lease(project, newcomer) is None
    assert agreed.consensus.status == "agreed"


def listed(membership, kind):
    return reported(membership=membership, kind=kind)


def test_what_was_reported_is_listed_once_each_the_newest_first(project, manager):
    membership = Membership.objects.get(user=manager)
    first, second, third = (ComparisonFactory(project=project, queue__priority=-n) for n in range(3))
    flag(project)  # of the first
    close_comparison(comparison=first, actor=manager)
    flag(project, note="A note")  # of the second
    skip_assignment(assignment=lease(project), reason="other", note="Only a note")
    close_comparison(comparison=second, actor=manager)
    flag(project)  # of the third
    put_back(comparison=second, actor=manager)
    flag(project)  # of the second again
    assert listed(membership, "flagged") == [second.pk, third.pk]
    assert listed(membership, "closed") == [first.pk]
    assert listed(membership, "notes") == [second.pk]
    assert listed(membership, "unsafe") == []


def test_a_reviewer_sees_what_is_part_of_an_answer_only_after_their_own(project, manager):
    rita = MembershipFactory(project=project, role=Membership.Role.REVIEWER)
    pair = ComparisonFactory(project=project)
    body = answer(problems={"1": ["unsafe"], "2": []})
    submit_annotation(assignment=lease(project), body=body)
    assert listed(Membership.objects.get(user=manager), "unsafe") == [pair.pk]
    assert listed(rita, "unsafe") == []
    held = lease(project, rita.user)
    assert listed(rita, "unsafe") == []
    submit_annotation(assignment=held, body=answer())
    assert listed(rita, "unsafe") == [pair.pk]
    other = MembershipFactory(project=project, role=Membership.Role.REVIEWER)
    assert listed(other, "unsafe") == []
    close_comparison(comparison=pair, actor=manager)
    assert listed(other, "unsafe") == [pair.pk]
