"""The order of the queue: priority, then pairs already begun, then import; and nothing that somebody had already."""

import pytest
from django.db import connection
from django.db.models import F

from apps.labeling import queue
from apps.labeling.leasing import lease_next
from apps.labeling.models import QueueItem
from apps.labeling.services import skip_assignment, submit_annotation
from tests.factories import ComparisonFactory, UserFactory, answer

pytestmark = pytest.mark.django_db


def leased(project, person, count):
    """Return the ids of the next comparisons that this person gets."""
    leases = [lease_next(project=project, annotator=person, resume=False) for _ in range(count)]
    return [lease and lease.comparison_id for lease in leases]


def test_a_pair_that_is_begun_goes_before_one_that_is_not(project):
    first, second, third = ComparisonFactory.create_batch(3, project=project)
    QueueItem.objects.filter(pk=third.pk).update(taken=1, had=[UserFactory().pk])
    assert leased(project, UserFactory(), 4) == [third.pk, first.pk, second.pk, None]


def test_priority_goes_before_what_is_begun(project):
    begun = ComparisonFactory(project=project, queue__priority=-0.2, queue__taken=1)
    urgent = ComparisonFactory(project=project, queue__priority=-0.1)
    assert leased(project, UserFactory(), 2) == [urgent.pk, begun.pk]


def test_among_pairs_begun_by_different_people_the_order_of_import_decides(project):
    pairs = ComparisonFactory.create_batch(6, project=project)
    people = UserFactory.create_batch(3)
    for person, pair in zip([people[2], people[0], people[1]], pairs[3:], strict=True):
        QueueItem.objects.filter(pk=pair.pk).update(taken=1, had=[person.pk])
    mine = people[0]
    assert leased(project, mine, 6) == [pairs[3].pk, pairs[5].pk, pairs[0].pk, pairs[1].pk, pairs[2].pk, None]


def test_a_skipped_pair_that_nobody_began_waits_in_its_place(project):
    first, second = ComparisonFactory.create_batch(2, project=project)
    skipping, other = UserFactory.create_batch(2)
    skip_assignment(assignment=lease_next(project=project, annotator=skipping, resume=False), reason="other")
    assert QueueItem.objects.get(pk=first.pk).had == [skipping.pk]
    assert leased(project, other, 3) == [first.pk, second.pk, None]
    assert leased(project, skipping, 2) == [second.pk, None]


def test_whoever_had_a_pair_is_noted_in_ascending_order(project):
    pair = ComparisonFactory(project=project)
    people = UserFactory.create_batch(3)
    for person in reversed(people):
        lease_next(project=project, annotator=person, resume=False)
    item = QueueItem.objects.get(pk=pair.pk)
    assert (item.had, item.taken) == ([person.pk for person in people], 3)


def test_a_hand_out_reads_a_few_pairs_however_many_the_same_people_had(project):
    first, second = UserFactory.create_batch(2)
    ComparisonFactory.create_batch(600, project=project)
    QueueItem.objects.annotate(half=F("pk") % 2).filter(half=0).update(taken=1, had=[first.pk])
    QueueItem.objects.filter(taken=0).update(taken=1, had=[second.pk])
    values = {"project": project.pk, "annotator": first.pk, "pool": queue.EVERYBODY}
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE labeling_queueitem")
        for statement in queue._STATEMENTS.values():
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
            assert 0 < rows_read(cursor.fetchone()[0][0]["Plan"]) < 100


def rows_read(plan):
    """Return how many rows the scans of a plan have read, those included that they passed over."""
    removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    own = (plan["Actual Rows"] + removed) * plan["Actual Loops"] if "Relation Name" in plan else 0
    return own + sum(rows_read(part) for part in plan.get("Plans", ()))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_everything_is_handed_out_once_whatever_the_groups(project, share):
    """Seven people, each alone with a share of the pairs: one hundred and twenty-eight possible groups."""
    project.random_share = share
    people = UserFactory.create_batch(7)
    pairs = ComparisonFactory.create_batch(128, project=project, queue__wanted=8)
    for number, pair in enumerate(pairs):
        had = [person.pk for bit, person in enumerate(people) if number >> bit & 1]
        QueueItem.objects.filter(pk=pair.pk).update(had=had, taken=len(had), priority=-(number % 3))
    for bit, person in enumerate(people):
        open_to_me = {pair.pk for number, pair in enumerate(pairs) if not number >> bit & 1}
        taken = [
            queue.take_slot(project_id=project.pk, annotator_id=person.pk, how="random" if share else "priority")
            for _ in range(len(open_to_me) + 1)
        ]
        assert taken[-1] is None
        assert set(taken[:-1]) == open_to_me


def test_the_shuffled_order_passes_over_what_one_had(project):
    late, early, middle = (ComparisonFactory(project=project, queue__shuffle_key=key) for key in (0.9, 0.1, 0.5))
    project.random_share = 1.0
    person, other = UserFactory.create_batch(2)
    assert leased(project, person, 2) == [early.pk, middle.pk]
    assert leased(project, other, 3) == [early.pk, middle.pk, late.pk]
    assert leased(project, person, 2) == [late.pk, None]


def test_what_remains_is_counted_per_person_and_up_to_a_limit(project):
    ComparisonFactory.create_batch(5, project=project)
    person = UserFactory()
    leased(project, person, 2)
    ids = {"project_ids": [project.pk], "annotator_id": person.pk}
    assert queue.count_open(**ids, most=100) == {project.pk: 3}
    assert queue.count_open(**ids, most=2) == {project.pk: 2}


def test_a_person_limit_ends_the_queue_and_says_why(project):
    from apps.labeling.leasing import limit_reached

    project.protocol_settings = {"annotations_per_person": 2}
    project.save()
    ComparisonFactory.create_batch(4, project=project)
    person = UserFactory()
    first, second, third = (lease_next(project=project, annotator=person, resume=False) for _ in range(3))
    assert third is None
    for lease in (first, second):
        submit_annotation(assignment=lease, body=answer())
    assert lease_next(project=project, annotator=person, resume=True) is None
    assert limit_reached(project=project, annotator=person) == (
        "You have done all 2 comparisons that this project asks of one person."
    )


def test_a_daily_limit_is_over_on_the_next_day(project):
    from apps.labeling.models import Workload

    project.protocol_settings = {"annotations_per_day": 1}
    project.save()
    ComparisonFactory.create_batch(2, project=project)
    person = UserFactory()
    submit_annotation(assignment=lease_next(project=project, annotator=person, resume=True), body=answer())
    assert lease_next(project=project, annotator=person, resume=True) is None
    workload = Workload.objects.get()
    workload.last_day = workload.last_day.replace(year=workload.last_day.year - 1)
    workload.save()
    assert lease_next(project=project, annotator=person, resume=True) is not None
