"""Two requests of one person at the same moment: a reload beside a submission, an expiry, an autosave.

Each race is forced: one transaction is held open at its worst point while the other request runs in a thread.
"""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.labeling.leasing import expire_leases, lease_next
from apps.labeling.models import Annotation, Assignment, QueueItem
from apps.labeling.services import save_draft, submit_annotation
from apps.projects.models import Project
from tests.factories import ComparisonFactory, ProjectFactory, UserFactory, answer

pytestmark = pytest.mark.django_db(transaction=True)


class Beside:
    """Run a function in a thread with its own connection; `result()` waits for it."""

    def __init__(self, function):
        self._outcome = None
        self._thread = threading.Thread(target=self._run, args=(function,))
        self._thread.start()

    def _run(self, function):
        try:
            self._outcome = function()
        except Exception as error:  # noqa: BLE001  (raised again by result)
            self._outcome = error
        finally:
            connection.close()

    def blocked(self):
        """Say whether it is still waiting for a lock after a moment."""
        self._thread.join(0.5)
        return self._thread.is_alive()

    def result(self):
        self._thread.join(20)
        assert not self._thread.is_alive(), "It waits for ever."
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


@pytest.fixture
def leased():
    project = ProjectFactory()
    ComparisonFactory.create_batch(2, project=project, queue__wanted=3)
    return lease_next(project=project, annotator=UserFactory(), resume=True)


def test_a_reload_beside_a_submission_does_not_take_the_pair_up_again(leased):
    with transaction.atomic():
        submit_annotation(assignment=leased, body=answer())
        reload = Beside(lambda: lease_next(project=leased.project, annotator=leased.annotator, resume=True))
        assert reload.blocked()
    assert reload.result().comparison_id != leased.comparison_id
    leased.refresh_from_db()
    assert leased.state == Assignment.State.SUBMITTED
    assert submit_annotation(assignment=leased, body=answer()) == Annotation.objects.get()


def test_a_reload_beside_the_expiry_leaves_the_counts_right(leased):
    Assignment.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    with transaction.atomic():
        expire_leases()
        reload = Beside(lambda: lease_next(project=leased.project, annotator=leased.annotator, resume=True))
        assert reload.blocked()
    reload.result()
    for item in QueueItem.objects.all():
        assert item.taken == Assignment.objects.live().filter(comparison=item.pk).count()
    expire_leases()


def test_an_autosave_does_not_hold_up_other_people(leased):
    with transaction.atomic():
        save_draft(assignment=leased, body={"justification": "typing"})
        other = Beside(lambda: lease_next(project=leased.project, annotator=UserFactory(), resume=False))
        assert other.result() is not None


def test_work_on_the_project_does_not_hold_up_people_who_label(leased):
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=leased.project.pk)
        assert Beside(lambda: submit_annotation(assignment=leased, body=answer())).result()
        assert Beside(lambda: lease_next(project=leased.project, annotator=UserFactory(), resume=False)).result()
