"""The queue against a model of it in plain Python, with whatever people may do, in whatever order.

After a change to the queue, let more machines run: `STATE_MACHINES=500 pytest tests/labeling/test_stateful.py`.

The model says which pair each person must get next, and whether each step is accepted. The random share and the control
and repeat rates are 0 here: nothing is left to chance but the steps themselves.
"""

import os
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.core.errors import Conflict
from apps.labeling import services
from apps.labeling.consensus import refresh_consensus
from apps.labeling.leasing import (
    bring_forward,
    expire_leases,
    lease_ahead,
    lease_next,
    release_ahead,
    take_up_again,
)
from apps.labeling.lookup import get_assignment
from apps.labeling.models import Assignment, Cohort, QueueItem
from tests.factories import ComparisonFactory, MembershipFactory, ProjectFactory, UserFactory, answer
from tests.labeling.invariants import violations
from tests.labeling.queue_model import ANNOTATORS, MOST, PAIRS, SPREAD, Lease, Model, Pair

PEOPLE, OPEN_AT_ONCE = 5, 3
VOTES = [-3, -1, 1, 3]
MACHINES, STEPS = int(os.environ.get("STATE_MACHINES", "25")), 60
someone = st.integers(0, PEOPLE - 1)
something = st.integers(0, 99)
"""Any of the assignments there are, in whatever state."""


class Queue(RuleBasedStateMachine):
    """Steps of people; each is taken in the model and in the database, and both must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model([], limit=0)
        self.typed: dict[int, list[object]] = {}
        self.undone = transaction.atomic()
        self.undone.__enter__()

    def teardown(self) -> None:
        """Undo everything, so that the next machine finds an empty database."""
        transaction.set_rollback(True)
        self.undone.__exit__(None, None, None)

    @initialize(limit=st.sampled_from([0, 3]))
    def begin(self, limit: int) -> None:
        """Make a project with two levels of priority and a cohort of two people; with a limit per person, or none."""
        protocol = {"annotators": ANNOTATORS, "max_annotators": MOST, "spread_limit": SPREAD, "flags_to_close": 2}
        self.project = ProjectFactory(protocol_settings={**protocol, "annotations_per_person": limit})
        self.people = UserFactory.create_batch(PEOPLE)
        for person in self.people:
            MembershipFactory(project=self.project, user=person)
        cohort = Cohort.objects.create(project=self.project, name="first two")
        cohort.members.set(self.people[:2])
        pairs, self.ids = [], []
        for number in range(PAIRS):
            level, in_cohort = -float(number % 2), number == 2
            row = ComparisonFactory(
                project=self.project, queue__priority=level, queue__cohort=cohort if in_cohort else None
            )
            self.ids.append(row.pk)
            pairs.append(Pair(level, wanted=ANNOTATORS, cohort=frozenset({0, 1}) if in_cohort else None))
        self.model = Model(pairs, limit=limit)

    # --- Pulling ---

    @rule(person=someone, resume=st.booleans())
    def lease(self, person: int, resume: bool) -> None:
        """Pull: what is held, or was leased ahead; the first of the queue; what somebody has not seen; what expired."""
        held = self.model.mine(person, "leased") + self.model.mine(person, "ahead")
        if not resume and len(held) >= OPEN_AT_ONCE:
            with pytest.raises(Conflict):
                lease_next(project=self.project, annotator=self.people[person], resume=resume)
            return
        got = lease_next(project=self.project, annotator=self.people[person], resume=resume)
        expected: int | None = None
        if resume and held:
            expected = held[0]
            self.model.leases[held[0]].state = "leased"
        elif self.model.reached(person):
            expected = None
        elif (pair := self.model.first_for(person)) is not None:
            expected = self.given(got, pair, person, "leased")
        elif unseen := self.model.unseen_for(person):
            pair = self.model.leases[unseen[0]].pair
            left = set(Assignment.objects.filter(pk__in=unseen).values_list("pk", flat=True))
            (gone,) = set(unseen) - left
            self.model.forget(gone)
            expected = self.given(got, pair, person, "leased")
        elif (expected := self.model.expired_for(person)) is not None:
            self.model.leases[expected].state = "leased"
        assert (got and got.pk) == expected

    @rule(resume=st.booleans(), first=someone)
    def everybody_pulls(self, resume: bool, first: int) -> None:
        """Pull one after another, as in the morning."""
        for place in range(PEOPLE):
            self.lease((first + place) % PEOPLE, resume)

    @rule(person=someone, vote=st.sampled_from(VOTES))
    def pull_and_submit(self, person: int, vote: int) -> None:
        """Work as most people do most of the time."""
        self.lease(person, resume=True)
        for held in self.model.mine(person, "leased")[:1]:
            self.submit_this(held, vote)

    @precondition(lambda self: self.model.any("leased"))
    @rule(which=something)
    def lease_ahead(self, which: int) -> None:
        """Lease the pair after one that is held; once, and while the person holds less than the most."""
        held, lease = self.choose(which, "leased")
        full = len(self.model.mine(lease.person, "leased")) >= OPEN_AT_ONCE
        got = lease_ahead(assignment=self.row(held))
        expected = next(iter(self.model.mine(lease.person, "ahead")), None)
        if expected is None and not full and not self.model.reached(lease.person):
            pair = self.model.first_for(lease.person)
            expected = None if pair is None else self.given(got, pair, lease.person, "ahead")
        assert (got and got.pk) == expected

    @precondition(lambda self: self.model.any("ahead"))
    @rule(which=something)
    def bring_forward(self, which: int) -> None:
        """Show what was leased ahead; once."""
        ahead, lease = self.choose(which, "ahead")
        person = self.people[lease.person]
        assert bring_forward(annotator=person, assignment_id=ahead).pk == ahead
        lease.state = "leased"
        assert bring_forward(annotator=person, assignment_id=ahead) is None

    @precondition(lambda self: self.model.any("ahead"))
    @rule(which=something)
    def release(self, which: int) -> None:
        """Give back what was leased ahead; once."""
        ahead, lease = self.choose(which, "ahead")
        person = self.people[lease.person]
        assert release_ahead(project=self.project, annotator=person) == 1
        self.model.forget(ahead)
        assert release_ahead(project=self.project, annotator=person) == 0

    # --- Answering: `which` is any assignment, in whatever state ---

    @precondition(lambda self: self.model.any())
    @rule(which=something, vote=st.sampled_from(VOTES))
    def submit(self, which: int, vote: int) -> None:
        """Submit: what is held, what ran out and has room; not what was submitted or skipped."""
        self.submit_this(self.choose(which)[0], vote)

    def submit_this(self, pk: int, vote: int) -> None:
        """Submit an answer in the order shown; twice."""
        lease = self.model.leases[pk]
        row = self.row(pk)
        shown = -vote if row.swapped else vote
        body = answer(preference=shown, justification=f"{shown} words " * 5)
        change = row.is_reopened
        fits = lease.state in ("leased", "ahead") or (lease.state == "expired" and self.model.has_room(lease.pair))
        if fits or change:
            stored = services.submit_annotation(assignment=row, body=body)
            assert services.submit_annotation(assignment=self.row(pk), body=body) == stored
            self.model.vote(pk, vote)
            return
        same = lease.state == "submitted" and dict(self.model.pairs[lease.pair].votes)[lease.person] == vote
        if same:
            assert services.submit_annotation(assignment=row, body=body).vote == vote
        else:
            with pytest.raises(Conflict):
                services.submit_annotation(assignment=row, body=body)
            if lease.state == "expired":
                self.typed[pk] = [body]

    @precondition(lambda self: self.model.any())
    @rule(which=something, words=st.sampled_from(["one", "two words"]))
    def draft(self, which: int, words: str) -> None:
        """Type: kept for what can still be submitted, also after the lease ran out."""
        pk, lease = self.choose(which)
        row, body = self.row(pk), {"justification": words}
        if lease.state == "skipped" or (lease.state == "submitted" and not row.is_reopened):
            with pytest.raises(Conflict):
                services.save_draft(assignment=row, body=body)
            return
        services.save_draft(assignment=row, body=body)
        if lease.state == "ahead":
            lease.state = "leased"
        self.typed[pk] = [body]

    @precondition(lambda self: self.model.any())
    @rule(which=something)
    def reopen(self, which: int) -> None:
        """Open a submitted answer again; nothing else can be."""
        pk, lease = self.choose(which)
        if lease.state == "submitted":
            assert services.reopen_annotation(assignment=self.row(pk)).is_reopened
        else:
            with pytest.raises(Conflict):
                services.reopen_annotation(assignment=self.row(pk))

    @precondition(lambda self: self.model.any())
    @rule(which=something, invalid=st.booleans())
    def skip(self, which: int, invalid: bool) -> None:
        """Skip, or flag as invalid; the second flag closes the pair."""
        pk, lease = self.choose(which)
        pair = self.model.pairs[lease.pair]
        reason = "broken" if invalid else "other"
        if lease.state == "submitted":
            with pytest.raises(Conflict):
                services.skip_assignment(assignment=self.row(pk), reason=reason)
            return
        services.skip_assignment(assignment=self.row(pk), reason=reason)
        if lease.state == "skipped":
            return  # the first word counts
        lease.state = "skipped"
        if invalid:
            pair.flags.add(lease.person)
            if pair.state == "open" and len(pair.flags) >= 2:
                pair.state = "closed"

    # --- Time ---

    @precondition(lambda self: self.model.any())
    @rule(which=something)
    def expire(self, which: int) -> None:
        """Let the time of a lease run out; one that nobody has seen is as if it had never been."""
        pk, lease = self.choose(which)
        Assignment.objects.filter(pk=pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        live = lease.state in ("leased", "ahead")
        assert expire_leases() == live
        if lease.state == "leased":
            lease.state = "expired"
        elif lease.state == "ahead":
            self.model.forget(pk)

    @precondition(lambda self: self.model.any())
    @rule(which=something)
    def take_up(self, which: int) -> None:
        """Take up again: what is held, or ran out and has room."""
        pk, lease = self.choose(which)
        fits = lease.state in ("leased", "ahead") or (lease.state == "expired" and self.model.has_room(lease.pair))
        if fits:
            assert take_up_again(assignment=self.row(pk)).state == Assignment.State.LEASED
            lease.state = "leased"
        else:
            with pytest.raises(Conflict):
                take_up_again(assignment=self.row(pk))

    # --- Always ---

    @invariant()
    def the_model_is_the_database(self) -> None:
        """Compare slots and states of every pair and assignment."""
        items = QueueItem.objects.filter(project=self.project).order_by("pk")
        stored = [(item.state, item.taken, item.wanted, item.had) for item in items]
        expected = [
            (pair.state, self.model.taken(number), pair.wanted, sorted(self.people[each].pk for each in pair.had))
            for number, pair in enumerate(self.model.pairs)
        ]
        assert stored == expected
        assignments = Assignment.objects.filter(project=self.project)
        states = {row.pk: "ahead" if row.ahead else row.state for row in assignments}
        assert states == {pk: lease.state for pk, lease in self.model.leases.items()}

    @invariant()
    def no_rule_is_broken(self) -> None:
        """Check all rules over the whole database."""
        assert violations(typed=self.typed) == []

    # --- Inside ---

    def choose(self, which: int, *states: str) -> tuple[int, Lease]:
        """Choose one of the assignments in these states; of all, twice as likely one that is not done with."""
        pks = self.model.any(*states) if states else self.model.any() + self.model.any("leased", "ahead", "expired")
        pk = pks[which % len(pks)]
        return pk, self.model.leases[pk]

    def row(self, pk: int) -> Assignment:
        """Return the assignment as a view would look it up."""
        return get_assignment(user=self.people[self.model.leases[pk].person], assignment_id=pk)

    def given(self, got: Assignment | None, pair: int, person: int, state: str) -> int:
        """Note that the queue gave a pair, which must be this one; return the assignment's id."""
        assert got is not None, f"Nobody got pair {pair}."
        assert (self.ids.index(got.comparison_id), got.annotator_id) == (pair, self.people[person].pk)
        self.model.leases[got.pk] = Lease(pair, person, state)
        self.model.pairs[pair].had.add(person)
        return got.pk


@pytest.mark.timeout(900)  # a failure takes minutes to be made small
@pytest.mark.django_db
def test_the_queue_does_what_a_model_of_it_says(settings):
    settings.API_MAX_OPEN_ASSIGNMENTS = OPEN_AT_ONCE
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Queue,
        settings=hypothesis_settings(
            max_examples=MACHINES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=slow,
        ),
    )


@pytest.mark.django_db
def test_a_control_item_that_becomes_a_pair_like_any_other_does_not_come_back_to_whoever_had_it():
    project = ProjectFactory(protocol_settings={"control_rate": 0.5})
    comparison = ComparisonFactory(project=project, gold=2, queue__state=QueueItem.State.CONTROL, queue__wanted=32_767)
    person = UserFactory()
    while not (control := lease_next(project=project, annotator=person, resume=False)):
        pass  # every second draw is for a control item
    services.submit_annotation(assignment=control, body=answer())
    project.protocol_settings = {}
    project.save()
    refresh_consensus()
    assert lease_next(project=project, annotator=person, resume=False) is None
    assert lease_next(project=project, annotator=UserFactory(), resume=False).comparison_id == comparison.pk
    assert violations() == []


@pytest.mark.django_db
def test_a_complete_pair_that_enough_people_flagged_does_not_come_back_when_an_answer_is_changed():
    project = ProjectFactory(protocol_settings={"annotators": 2, "max_annotators": 4, "flags_to_close": 2})
    comparison = ComparisonFactory(project=project)
    late = [lease_next(project=project, annotator=UserFactory(), resume=False) for _ in range(2)]
    Assignment.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert expire_leases() == 2
    for _ in range(2):
        answered = lease_next(project=project, annotator=UserFactory(), resume=False)
        services.submit_annotation(assignment=answered, body=answer(preference=-3 if answered.swapped else 3))
    for lease in late:
        services.skip_assignment(assignment=lease, reason="broken")
    reopened = services.reopen_annotation(assignment=answered)
    services.submit_annotation(assignment=reopened, body=answer(preference=3 if answered.swapped else -3))
    assert QueueItem.objects.get(pk=comparison.pk).state == QueueItem.State.CLOSED
    assert violations() == []
