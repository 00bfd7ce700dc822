"""What an attacker, a tired annotator or a changed protocol does at the edges of leases and answers."""

import pytest
from django.utils import timezone

from apps.core.errors import Conflict, InvalidInput
from apps.labeling.guideline_changes import changed_lines
from apps.labeling.leasing import REPEAT_AFTER, expire_leases, lease_ahead, lease_next, take_up_again
from apps.labeling.models import Assignment, Cohort, Draft, QueueItem, Workload
from apps.labeling.oversight import close_comparison
from apps.labeling.services import my_counts, save_draft, submit_annotation
from apps.projects.protocol import parse_protocol
from tests.factories import ComparisonFactory, UserFactory, answer

pytestmark = pytest.mark.django_db


def set_protocol(project, **settings):
    project.protocol_settings = settings
    project.save()


def expire_all():
    Assignment.objects.live().update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    return expire_leases()


def test_a_limit_cannot_be_passed_by_letting_leases_expire(project):
    set_protocol(project, annotations_per_person=2)
    ComparisonFactory.create_batch(6, project=project)
    person = UserFactory()
    held = []
    for _ in range(3):
        held += [lease_next(project=project, annotator=person, resume=False) for _ in range(2)]
        expire_all()
    leases = list({lease.pk: lease for lease in held if lease}.values())
    for lease in leases[:2]:
        submit_annotation(assignment=lease, body=answer())
    for lease in leases[2:]:
        with pytest.raises(Conflict, match="all 2 comparisons"):
            submit_annotation(assignment=lease, body=answer())
        assert Draft.objects.filter(assignment=lease).exists()
        with pytest.raises(Conflict, match="all 2 comparisons"):
            take_up_again(assignment=lease)
    assert Workload.objects.get().submitted == 2


def test_nobody_hoards_pairs_by_typing_into_what_is_leased_ahead(project, settings):
    settings.API_MAX_OPEN_ASSIGNMENTS = 3
    ComparisonFactory.create_batch(6, project=project)
    lease = lease_next(project=project, annotator=UserFactory(), resume=True)
    while ahead := lease_ahead(assignment=lease):
        save_draft(assignment=ahead, body={})
        lease = ahead
    assert Assignment.objects.live().count() == 3


def test_an_expired_lease_does_not_come_back_to_somebody_outside_of_its_cohort(project):
    pair = ComparisonFactory(project=project)
    person = UserFactory()
    lease = lease_next(project=project, annotator=person, resume=True)
    expire_all()
    QueueItem.objects.filter(pk=pair.pk).update(cohort=Cohort.objects.create(project=project, name="Experts"))
    assert lease_next(project=project, annotator=person, resume=True) is None
    with pytest.raises(Conflict):
        submit_annotation(assignment=lease, body=answer())
    assert Draft.objects.get().body == answer()


def test_a_closed_pair_is_not_repeated(project, manager):
    ComparisonFactory.create_batch(REPEAT_AFTER + 2, project=project)
    person = UserFactory()
    while lease := lease_next(project=project, annotator=person, resume=True):
        submit_annotation(assignment=lease, body=answer())
    for item in QueueItem.objects.select_related("comparison__project"):
        close_comparison(comparison=item.comparison, actor=manager)
    set_protocol(project, repeat_rate=0.5)
    assert [lease_next(project=project, annotator=person, resume=False) for _ in range(20)] == [None] * 20


def test_an_answer_sent_again_after_the_protocol_changed_is_called_submitted(project):
    ComparisonFactory(project=project)
    lease = lease_next(project=project, annotator=UserFactory(), resume=True)
    submit_annotation(assignment=lease, body=answer())
    set_protocol(project, justification_words=[200, 300])
    lease = Assignment.objects.get()
    with pytest.raises(Conflict, match="submitted already"):
        submit_annotation(assignment=lease, body=answer())


def test_the_number_that_remains_does_not_tell_control_items_apart(project):
    ComparisonFactory.create_batch(12, project=project)
    person = UserFactory()
    assert my_counts(project=project, annotator=person)["remaining"] == 12
    set_protocol(project, control_rate=0.1)
    assert my_counts(project=project, annotator=person)["remaining"] == 20
    lease_next(project=project, annotator=person, resume=False)
    assert my_counts(project=project, annotator=person)["remaining"] == 20


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_no_draft(project, number):
    ComparisonFactory(project=project)
    lease = lease_next(project=project, annotator=UserFactory(), resume=True)
    with pytest.raises(InvalidInput):
        save_draft(assignment=lease, body={"confidence": number})


@pytest.mark.parametrize("value", [True, 1.0])
def test_a_preference_has_its_value_exactly(value):
    preferences = [{"value": each, "words": "x", "sentence": "y"} for each in (-3, -2, -1, value, 2, 3, "neither")]
    with pytest.raises(InvalidInput, match="protocol"):
        parse_protocol({"preferences": preferences})


def test_a_guideline_of_very_many_lines_is_shown_without_being_compared():
    lines = changed_lines("\n" * 20_000, "\n" * 20_001 + "new")
    assert lines[-1][0].text == "new"
