"""Fifty threads, on a real PostgreSQL, for a minute: they pull, type, submit, change, skip, let leases run out and die.

They die in two ways: an exception between two statements of a transaction, and a connection that another one
terminates at any moment. Afterwards every rule of DESIGN §4.1–4.2 must hold over the whole database. While working on
the queue, a shorter run does: `LOAD_SECONDS=10 python -m pytest tests/labeling/test_under_load.py`.
"""

import os
import random
import threading
import time
from collections import Counter, defaultdict
from datetime import timedelta

import psycopg
import pytest
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from apps.core.errors import Conflict, NotFound
from apps.labeling.answers import parse_answer
from apps.labeling.leasing import (
    bring_forward,
    expire_leases,
    lease_ahead,
    lease_next,
    release_ahead,
    take_up_again,
)
from apps.labeling.lookup import get_assignment
from apps.labeling.models import Annotation, Assignment, Cohort, QueueItem
from apps.labeling.services import (
    last_submitted,
    reopen_annotation,
    save_draft,
    skip_assignment,
    submit_annotation,
)
from tests.e2e.running import wait_until
from tests.factories import ComparisonFactory, MembershipFactory, ProjectFactory, UserFactory, answer, ratings
from tests.labeling.invariants import violations

SECONDS = float(os.environ.get("LOAD_SECONDS", "60"))
THREADS, PEOPLE = 50, 40
"""Ten people have the page open twice."""
DIES = 0.001
"""How likely a statement is the last one of its transaction."""
KILL_EVERY = 0.25

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("processes"),  # beside other tests it would be slower, not harder
    pytest.mark.timeout(SECONDS + 240),
]


class Died(Exception):
    """A process that ended between two statements."""


class Annotator(threading.Thread):
    """One open page: it does what a person might do next, again and again, and remembers what it was told."""

    def __init__(self, number, person, projects, typed, until, *, alone):
        super().__init__(name=f"{person.username}-{number}")
        self.person, self.projects, self.until = person, projects, until
        self.alone, self.dice = alone, random.Random(number)
        self.typed, self.promised = typed, {}
        self.counts, self.failures = Counter(), []
        self.backend = None

    def run(self):
        actions = {
            self.label: 12,
            self.submit_again: 2,
            self.change: 3,
            self.let_expire: 2,
            self.take_up: 4,
            self.submit_late: 3,
            self.skip_anything: 1,
            self.release: 1,
        }
        try:
            with connection.execute_wrapper(self.sometimes_die):
                while time.monotonic() < self.until:
                    self.act(*self.dice.choices(list(actions), list(actions.values())))
        finally:
            connection.close()

    def act(self, action):
        try:
            if connection.connection is None:
                connection.ensure_connection()
                self.backend = connection.connection.info.backend_pid
            action(self.dice.choice(self.projects))
        except Died:
            self.counts["died between statements"] += 1
        except Conflict:
            self.counts["refused"] += 1
        except NotFound:
            self.counts["gone"] += 1  # a pair leased ahead was given to somebody else
        except (OperationalError, InterfaceError) as error:
            if not self.was_terminated(error):
                self.failures.append(error)
            self.counts["lost the connection"] += 1
            self.backend = None
            connection.close()
        except Exception as error:  # noqa: BLE001  (shown by the assertion at the end)
            self.failures.append(error)

    @staticmethod
    def was_terminated(error):
        cause = error.__cause__ or error
        return isinstance(cause, psycopg.errors.AdminShutdown) or "closed" in str(error) or "terminat" in str(error)

    def sometimes_die(self, execute, sql, params, many, context):
        if self.dice.random() < DIES:
            raise Died
        result = execute(sql, params, many, context)
        if self.dice.random() < DIES:
            raise Died
        return result

    # --- What people do ---

    def label(self, project):
        page = self.dice.random() < 0.7
        held = lease_next(project=project, annotator=self.person, resume=page)
        if held is None:
            self.counts["nothing left"] += 1
            return
        self.counts["leased"] += 1
        held = get_assignment(user=self.person, assignment_id=held.pk)
        ahead = None
        if page and self.dice.random() < 0.5:
            ahead = lease_ahead(assignment=held)
            self.counts["leased ahead"] += ahead is not None
        while self.dice.random() < 0.4:
            self.type(held)
        match self.dice.choices(["submit", "skip", "flag", "leave"], [75, 8, 2, 15])[0]:
            case "submit":
                self.submit(held)
                if ahead is not None and bring_forward(annotator=self.person, assignment_id=ahead.pk):
                    self.counts["brought forward"] += 1
            case "skip":
                self.skip(held, "other")
            case "flag":
                self.skip(held, "broken")

    def submit_again(self, project):
        submitted = self.any_of_mine(project, state=Assignment.State.SUBMITTED, reopened_until=None)
        if submitted is None or submitted.pk not in self.promised:
            return
        body = self.promised[submitted.pk]
        before = Annotation.objects.filter(assignment=submitted, is_current=True).values_list("pk", flat=True).first()
        if self.dice.random() < 0.5:
            stored = submit_annotation(assignment=submitted, body=body)
            assert stored.pk >= before  # the same, or another tab has changed the answer and changed it back
            self.counts["submitted again"] += 1
        else:
            self.submit(submitted)

    def change(self, project):
        last = last_submitted(project=project, annotator=self.person)
        if last is None:
            return
        reopened = reopen_annotation(assignment=last)
        self.counts["re-opened"] += 1
        if self.dice.random() < 0.3:
            self.type(reopened)
        if self.dice.random() < 0.8:
            self.submit(get_assignment(user=self.person, assignment_id=reopened.pk))
            self.counts["revised"] += 1

    def let_expire(self, project):
        past = timezone.now() - timedelta(seconds=1)
        live = Assignment.objects.live().filter(annotator=self.person)
        self.counts["ran out"] += live.filter(pk__in=live.order_by("?").values("pk")[:3]).update(lease_expires_at=past)
        if self.dice.random() < 0.5:
            self.counts["expired"] += expire_leases()

    def take_up(self, project):
        expired = self.any_of_mine(project, state=Assignment.State.EXPIRED)
        if expired is not None:
            take_up_again(assignment=expired)
            self.counts["taken up again"] += 1

    def submit_late(self, project):
        expired = self.any_of_mine(project, state=Assignment.State.EXPIRED)
        if expired is not None:
            self.submit(expired)
            self.counts["submitted late"] += 1

    def skip_anything(self, project):
        mine = self.any_of_mine(project)
        if mine is not None:
            self.skip(mine, self.dice.choice(["other", "broken"]))

    def release(self, project):
        self.counts["released"] += release_ahead(project=project, annotator=self.person)

    # --- How they do it ---

    def any_of_mine(self, project, **which):
        mine = Assignment.objects.filter(project=project, annotator=self.person, **which).order_by("?").first()
        return mine and get_assignment(user=self.person, assignment_id=mine.pk)

    def type(self, held):
        body = {"justification": f"{self.name} types {self.dice.random()}"}
        self.typed[held.pk].append(body)  # it may be stored even if nobody is told so
        save_draft(assignment=held, body=body)
        if self.alone:
            self.typed[held.pk] = [body]  # from now on it is this one or nothing
        self.counts["typed"] += 1

    def submit(self, held):
        body = answer(preference=self.dice.choice([-3, -2, -1, 1, 2, 3, "neither"]), ratings=self.some_ratings())
        if self.dice.random() < 0.2:  # a body that is not complete leaves no trace
            body["preference"] = None
            with pytest.raises(Exception, match=r"Choose one of the six|submitted already"):
                submit_annotation(assignment=held, body=body)
            body["preference"] = 2
        self.typed[held.pk].append(body)  # when there is no room, it becomes the draft
        submit_annotation(assignment=held, body=body)
        self.promised[held.pk] = body
        self.counts["submitted"] += 1

    def some_ratings(self):
        return {label: ratings(self.dice.randint(0, 4)) for label in ("1", "2")}

    def skip(self, held, reason):
        skip_assignment(assignment=held, reason=reason, note="")
        self.counts["skipped"] += 1


def some_projects(people):
    """Protocols of all kinds, with about as many slots as so many people fill in the time."""
    size = max(1, int(SECONDS / 6))
    single = ProjectFactory(protocol_settings={"annotators": 1, "max_annotators": 1}, random_share=0.2)
    ComparisonFactory.create_batch(25 * size, project=single)
    strict = {"annotators": 3, "max_annotators": 5, "spread_limit": 1, "control_rate": 0.1, "repeat_rate": 0.1}
    escalating = ProjectFactory(protocol_settings=strict, random_share=0.5)
    ComparisonFactory.create_batch(12 * size, project=escalating)
    controls = ComparisonFactory.create_batch(size, project=escalating, gold=2, queue__wanted=32_767)
    QueueItem.objects.filter(pk__in=[each.pk for each in controls]).update(state=QueueItem.State.CONTROL)
    many = ProjectFactory(protocol_settings={"annotators": 5, "max_annotators": 7, "spread_limit": 3})
    for name, members in (("north", people[:8]), ("south", people[5:15])):
        cohort = Cohort.objects.create(project=many, name=name)
        cohort.members.set(members)
        ComparisonFactory.create_batch(3 * size, project=many, queue__cohort=cohort)
    ComparisonFactory.create_batch(6 * size, project=many)
    daily = {"annotators": 2, "max_annotators": 4, "annotations_per_person": 4 * size, "annotations_per_day": 3 * size}
    limited = ProjectFactory(protocol_settings={**daily, "undo_minutes": 0}, random_share=0.2)
    for priority in (-2.0, -1.0, 0.0):
        ComparisonFactory.create_batch(5 * size, project=limited, queue__priority=priority)
    projects = [single, escalating, many, limited]
    for person in people:
        for project in projects:
            MembershipFactory(project=project, user=person)
    return projects


def terminate_at_random(threads, until, killed):
    """Terminate the connection of one of them every moment, wherever in a statement or commit it is."""
    dice = random.Random(0)
    try:
        while time.monotonic() < until:
            time.sleep(KILL_EVERY)
            backend = dice.choice(threads).backend
            if backend is not None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
                    killed.append(backend)
    finally:
        connection.close()


def deadlocks():
    """Return how many PostgreSQL has ended in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


def other_sessions():
    """Return how many connections to this database there are besides our own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


def assert_stored(assignment_id, body):
    """Assert that the last answer that somebody was told to be stored is there."""
    assignment = Assignment.objects.select_related("project").get(pk=assignment_id)
    expected = parse_answer(body, assignment.project.protocol).hash
    assert Annotation.objects.filter(assignment=assignment, answer_hash=expected).exists()


def test_nothing_is_lost_and_nobody_gets_too_much_however_many_pull_and_die(capsys):
    people = UserFactory.create_batch(PEOPLE)
    projects = some_projects(people)
    deadlocks_before = deadlocks()
    typed, killed, until = defaultdict(lambda: [None]), [], time.monotonic() + SECONDS
    twice = range(THREADS - PEOPLE)
    threads = [
        Annotator(number, people[number % PEOPLE], projects, typed, until, alone=number % PEOPLE not in twice)
        for number in range(THREADS)
    ]
    killer = threading.Thread(target=terminate_at_random, args=(threads, until, killed))
    for thread in [*threads, killer]:
        thread.start()
    for thread in [*threads, killer]:
        thread.join(SECONDS + 120)
    assert not any(thread.is_alive() for thread in threads), "Some wait for ever."

    counts = sum((thread.counts for thread in threads), Counter())
    with capsys.disabled():
        print(
            f"\n{THREADS} threads, {SECONDS:.0f} s, {len(killed)} connections terminated: {dict(counts.most_common())}"
        )
    failures = [failure for thread in threads for failure in thread.failures]
    assert (failures, violations(typed=typed)) == ([], [])
    # A session writes its statistics down when it ends at the latest.
    wait_until(lambda: other_sessions() == 0, 10, "the sessions of the threads have ended")
    assert deadlocks() == deadlocks_before
    for thread in threads[
        PEOPLE - (2 * PEOPLE - THREADS) : PEOPLE
    ]:  # whoever had one page: what they were told is stored
        for assignment_id in thread.promised:
            assert Annotation.objects.filter(assignment=assignment_id, is_current=True).exists()
    for what in ("leased", "submitted", "typed", "revised", "skipped", "expired", "taken up again", "brought forward"):
        assert counts[what], f"Nobody has {what} anything: {counts}"


@pytest.mark.parametrize(
    "act",
    [
        lambda gone: save_draft(assignment=gone, body={"justification": "typing"}),
        lambda gone: submit_annotation(assignment=gone, body=answer()),
        lambda gone: skip_assignment(assignment=gone, reason="other"),
        lambda gone: take_up_again(assignment=gone),
    ],
    ids=["draft", "submit", "skip", "take up"],
)
def test_whoever_acts_on_a_pair_leased_ahead_that_was_given_away_this_moment_is_told_so(act):
    project, person = ProjectFactory(), UserFactory()
    ComparisonFactory.create_batch(2, project=project)
    held = lease_next(project=project, annotator=person, resume=True)
    ahead = lease_ahead(assignment=held)  # as a view has looked it up
    release_ahead(project=project, annotator=person)
    with pytest.raises(NotFound):
        act(ahead)
    assert violations() == []
