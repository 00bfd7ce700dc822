"""Cohorts: named people get a batch that nobody else gets; exactly N holds, whatever is in it."""

import pytest

from apps.core.errors import InvalidInput
from apps.labeling import cohorts
from apps.labeling.cohorts import change_cohort, cohort_progress, create_cohort, delete_cohort
from apps.labeling.leasing import lease_next
from apps.labeling.models import Assignment, Cohort, QueueItem
from apps.labeling.services import submit_annotation
from apps.projects.models import AuditEvent, Membership
from tests.factories import ComparisonFactory, MembershipFactory, answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(project):
    return [MembershipFactory(project=project, user__username=name).user for name in ("ada", "ben", "cleo", "dora")]


@pytest.fixture
def three(people):
    return [person.username for person in people[:3]]


def make(project, manager, usernames, **changes):
    return create_cohort(project=project, actor=manager, **{"name": "Chemists", "usernames": usernames, **changes})


def lease(project, person):
    return lease_next(project=project, annotator=person, resume=False)


def pointers(refused):
    return [error.pointer for error in refused.value.errors]


def test_only_its_people_get_its_comparisons_and_they_get_them_first(project, manager, people, three):
    common = ComparisonFactory(project=project, queue__priority=9.0)
    batch = ComparisonFactory.create_batch(2, project=project)
    make(project, manager, three, external_ids=[pair.external_id for pair in batch])
    for person in people[:3]:
        got = [lease(project, person).comparison_id for _ in range(3)]
        assert got == [batch[0].pk, batch[1].pk, common.pk]
        assert lease(project, person) is None
    outsider = people[3]
    assert lease(project, outsider) is None  # the common one has its three annotators
    QueueItem.objects.filter(pk=common.pk).update(wanted=4)
    assert lease(project, outsider).comparison_id == common.pk
    assert lease(project, outsider) is None


def test_each_comparison_gets_exactly_as_many_as_the_protocol_asks_for(project, manager, people):
    batch = ComparisonFactory.create_batch(4, project=project)
    make(project, manager, [person.username for person in people], untouched=4)
    while leases := [held for person in people if (held := lease(project, person))]:
        for held in leases:
            submit_annotation(assignment=held, body=answer(preference=-2 if held.swapped else 2))
    assert Assignment.objects.count() == 12
    assert set(QueueItem.objects.values_list("taken", "wanted", "state")) == {(3, 3, "complete")}
    assert cohort_progress([Cohort.objects.get()])[Cohort.objects.get().pk] == cohorts.CohortProgress(4, 4, 0, 0)
    assert len(batch) == 4


def test_the_next_untouched_ones_come_in_the_order_of_the_queue(project, manager, people, three):
    begun = ComparisonFactory(project=project, queue__priority=5.0)
    lease(project, people[0])
    low, high = ComparisonFactory(project=project, queue__priority=-1.0), ComparisonFactory(project=project)
    ComparisonFactory(project=project, queue__priority=3.0, queue__state="closed")
    cohort = make(project, manager, three, untouched=1)
    assert list(cohort.queue_items.values_list("pk", flat=True)) == [high.pk]
    change_cohort(cohort=cohort, actor=manager, untouched=50)
    assert set(cohort.queue_items.values_list("pk", flat=True)) == {high.pk, low.pk}
    assert QueueItem.objects.get(pk=begun.pk).cohort is None


def test_live_leases_of_others_stay_and_can_be_submitted(project, manager, people, three):
    pair = ComparisonFactory(project=project)
    held = lease(project, people[3])
    make(project, manager, three, external_ids=[pair.external_id])
    submit_annotation(assignment=held, body=answer())
    assert [bool(lease(project, person)) for person in people[:3]] == [True, True, False]


def test_deleting_it_gives_its_comparisons_to_everybody(project, manager, people, three):
    pair = ComparisonFactory(project=project)
    cohort = make(project, manager, three, external_ids=[pair.external_id])
    held = lease(project, people[0])
    assert lease(project, people[3]) is None
    delete_cohort(cohort=cohort, actor=manager)
    assert lease(project, people[3]).comparison_id == pair.pk
    submit_annotation(assignment=held, body=answer())
    assert not Cohort.objects.exists()
    logged = AuditEvent.objects.get(verb="deleted a cohort")
    assert (logged.actor, logged.detail) == (manager, {"cohort": "Chemists", "comparisons": 1})


def test_it_needs_as_many_people_as_a_comparison_asks_for(project, manager, three):
    ComparisonFactory(project=project)
    for usernames in ([], three[:2], [*three[:2], three[0]]):
        with pytest.raises(InvalidInput) as refused:
            make(project, manager, usernames, untouched=1)
        assert pointers(refused) == ["/members"]
        assert "asks for 3 annotators" in refused.value.errors[0].detail
    assert not Cohort.objects.exists()
    cohort = make(project, manager, three)
    with pytest.raises(InvalidInput, match="not valid"):
        change_cohort(cohort=cohort, actor=manager, usernames=three[:2])
    assert cohort.members.count() == 3


def test_only_members_who_label_and_can_sign_in_are_taken(project, manager, researcher, stranger, people, three):
    people[3].is_active = False
    people[3].save()
    others = [researcher.username, stranger.username, "dora", "nobody"]
    with pytest.raises(InvalidInput) as refused:
        make(project, manager, [*three, *others])
    assert refused.value.errors[0].detail.endswith("in this project: dora, nobody, remy, stella.")
    assert make(project, manager, [*three, manager.username]).members.count() == 4


def test_names_are_unique_in_a_project_and_not_empty(project, manager, three):
    make(project, manager, three)
    for name in ("Chemists", " Chemists ", "", "  ", "x" * 81, "a\x00"):
        with pytest.raises(InvalidInput) as refused:
            make(project, manager, three, name=name)
        assert pointers(refused) == ["/name"], name
    other = MembershipFactory(role=Membership.Role.MANAGER)
    crew = [MembershipFactory(project=other.project).user.username for _ in range(3)]
    make(other.project, other.user, crew)
    assert Cohort.objects.count() == 2


def test_unknown_comparisons_are_named_and_nothing_is_done(project, manager, three):
    known = ComparisonFactory(project=project, external_id="q-1")
    foreign = ComparisonFactory(external_id="q-foreign")
    given = ["q-1", foreign.external_id, "a\x00b", *(f"q-missing-{number}" for number in range(9))]
    with pytest.raises(InvalidInput) as refused:
        make(project, manager, three, external_ids=given)
    assert pointers(refused) == [f"/external_ids/{place}" for place in range(1, 6)] + ["/external_ids"]
    assert "q-foreign" in refused.value.errors[0].detail
    assert refused.value.errors[-1].detail == "And 6 more."
    assert QueueItem.objects.get(pk=known.pk).cohort is None
    assert not Cohort.objects.exists()


def test_a_comparison_is_in_one_cohort_at_a_time(project, manager, three):
    pair, fresh = ComparisonFactory(project=project), ComparisonFactory(project=project)
    first = make(project, manager, three, external_ids=[pair.external_id])
    with pytest.raises(InvalidInput) as refused:
        make(project, manager, three, name="Others", external_ids=[fresh.external_id, pair.external_id])
    assert refused.value.errors[0].detail == f"1 of them are assigned to another cohort: {pair.external_id}."
    assert QueueItem.objects.get(pk=fresh.pk).cohort is None
    second = make(project, manager, three, name="Others", untouched=9)
    assert list(second.queue_items.values_list("pk", flat=True)) == [fresh.pk]
    change_cohort(cohort=first, actor=manager, remove_external_ids=[pair.external_id, fresh.external_id])
    assert QueueItem.objects.get(pk=pair.pk).cohort is None
    assert QueueItem.objects.get(pk=fresh.pk).cohort == second  # it was never of the first


def test_what_is_not_given_stays(project, manager, three):
    cohort = make(project, manager, three)
    change_cohort(cohort=cohort, actor=manager, name="Physicists")
    cohort.refresh_from_db()
    assert (cohort.name, cohort.members.count()) == ("Physicists", 3)
    make(project, manager, three)
    with pytest.raises(InvalidInput, match="not valid"):
        change_cohort(cohort=cohort, actor=manager, name="Chemists")


def test_a_large_batch_takes_a_few_statements(project, manager, three, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(cohorts, "BATCH", 10)
    pairs = ComparisonFactory.create_batch(25, project=project)
    ids = [pair.external_id for pair in pairs]
    with django_assert_max_num_queries(22):  # three statements for each of three batches, and what any cohort takes
        cohort = make(project, manager, three, external_ids=ids)
    assert cohort.queue_items.count() == 25
    with django_assert_max_num_queries(16):
        delete_cohort(cohort=cohort, actor=manager)
    assert QueueItem.objects.filter(cohort=None).count() == 25
