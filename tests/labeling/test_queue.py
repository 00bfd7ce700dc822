"""The queue hands out exactly N, never the same pair twice to one person, in the order of the project."""

import random
import threading

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.core.errors import Conflict
from apps.labeling.leasing import expire_leases, lease_next
from apps.labeling.models import Annotation, Assignment, QueueItem
from apps.labeling.services import skip_assignment, submit_annotation
from tests.factories import ComparisonFactory, ProjectFactory, UserFactory, answer


@pytest.mark.django_db
def test_higher_priority_goes_first_and_nobody_gets_a_pair_twice(project):
    low = ComparisonFactory(project=project, queue__priority=-2.0)
    high = ComparisonFactory(project=project, queue__priority=-0.1)
    person = UserFactory()
    first, second, third = (lease_next(project=project, annotator=person, resume=False) for _ in range(3))
    assert [first.comparison_id, second.comparison_id, third] == [high.pk, low.pk, None]


@pytest.mark.django_db
def test_the_page_resumes_the_lease_it_holds_with_the_same_sides(project):
    ComparisonFactory.create_batch(3, project=project)
    person = UserFactory()
    first = lease_next(project=project, annotator=person, resume=True)
    again = lease_next(project=project, annotator=person, resume=True)
    assert (again.pk, again.swapped) == (first.pk, first.swapped)
    assert Assignment.objects.count() == 1


@pytest.mark.django_db
def test_a_comparison_is_never_leased_to_more_people_than_it_asks_for(project):
    ComparisonFactory(project=project, queue__wanted=3)
    leases = [lease_next(project=project, annotator=UserFactory(), resume=False) for _ in range(5)]
    assert [lease is not None for lease in leases] == [True, True, True, False, False]


@pytest.mark.django_db
def test_the_random_share_walks_the_shuffled_order(project):
    project.random_share = 1.0
    ComparisonFactory(project=project, queue__priority=0.0, queue__shuffle_key=0.9)
    shuffled_first = ComparisonFactory(project=project, queue__priority=-9.0, queue__shuffle_key=0.1)
    lease = lease_next(project=project, annotator=UserFactory(), resume=False)
    assert (lease.comparison_id, lease.drawn) == (shuffled_first.pk, "random")


@pytest.mark.django_db
def test_one_in_five_hand_outs_is_random_by_default(project):
    from apps.labeling.queue import draw

    drawn = [draw(random_share=0.2) for _ in range(2000)]
    assert 320 < drawn.count("random") < 480  # 400 expected, standard deviation 18


@pytest.mark.django_db
def test_skipping_gives_the_slot_to_others_but_not_back_to_the_same_person(project):
    comparison = ComparisonFactory(project=project, queue__wanted=1)
    person, other = UserFactory(), UserFactory()
    lease = lease_next(project=project, annotator=person, resume=False)
    skip_assignment(assignment=lease, reason="needs_expertise", note="Organic chemistry")
    skip_assignment(assignment=lease, reason="needs_expertise")
    assert QueueItem.objects.get(pk=comparison.pk).taken == 0
    assert lease_next(project=project, annotator=person, resume=False) is None
    assert lease_next(project=project, annotator=other, resume=False).comparison_id == comparison.pk


@pytest.mark.django_db
def test_an_expired_lease_frees_its_slot_and_comes_back_last_with_the_same_sides(project):
    comparison = ComparisonFactory(project=project, queue__wanted=1)
    person, other = UserFactory(), UserFactory()
    lease = lease_next(project=project, annotator=person, resume=False)
    Assignment.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    assert expire_leases() == 1
    assert expire_leases() == 0
    assert QueueItem.objects.get(pk=comparison.pk).taken == 0
    again = lease_next(project=project, annotator=person, resume=False)
    assert (again.pk, again.swapped, again.state) == (lease.pk, lease.swapped, Assignment.State.LEASED)
    assert lease_next(project=project, annotator=other, resume=False) is None


@pytest.mark.django_db
def test_open_leases_of_one_person_have_a_limit(project, settings):
    settings.API_MAX_OPEN_ASSIGNMENTS = 2
    ComparisonFactory.create_batch(3, project=project)
    person = UserFactory()
    for _ in range(2):
        lease_next(project=project, annotator=person, resume=False)
    with pytest.raises(Conflict, match="2 open assignments"):
        lease_next(project=project, annotator=person, resume=False)


@pytest.mark.django_db
def test_the_database_itself_refuses_one_annotator_too_many(project):
    comparison = ComparisonFactory(project=project, queue__wanted=1)
    with pytest.raises(IntegrityError, match="never_more_annotators_than_wanted"), transaction.atomic():
        QueueItem.objects.filter(pk=comparison.pk).update(taken=2)


@pytest.mark.django_db(transaction=True)
def test_many_people_at_once_get_exactly_n():
    """Twelve threads lease, submit, skip and let leases expire; afterwards every count must be right."""
    project = ProjectFactory(random_share=0.2, protocol_settings={"spread_limit": 6})
    ComparisonFactory.create_batch(12, project=project, queue__wanted=3)
    people = UserFactory.create_batch(12)
    failures: list[BaseException] = []

    def work(person, seed):
        dice = random.Random(seed)
        try:
            while lease := lease_next(project=project, annotator=person, resume=False):
                match dice.choice(["submit", "submit", "submit", "skip", "expire"]):
                    case "submit":
                        submit_annotation(assignment=lease, body=answer(preference=dice.choice([1, 2])))
                    case "skip":
                        skip_assignment(assignment=lease, reason="other")
                    case "expire":
                        past = timezone.now() - timezone.timedelta(seconds=1)
                        Assignment.objects.filter(pk=lease.pk).update(lease_expires_at=past)
                        expire_leases()
        except BaseException as error:  # noqa: BLE001  (shown by the assertion below)
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(person, seed)) for seed, person in enumerate(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for item in QueueItem.objects.all():
        live = Assignment.objects.live().filter(comparison=item.pk).count()
        annotations = Annotation.objects.filter(comparison=item.pk).count()
        assert item.taken == live + annotations
        assert item.taken <= item.wanted
    for person in people:  # who found nothing while others held it comes back once more
        while lease := lease_next(project=project, annotator=person, resume=True):
            submit_annotation(assignment=lease, body=answer())
    assert Annotation.objects.count() == 36
