"""Imports and snapshots as the worker runs them: progress is stored while the work sits in one long transaction."""

import pytest

from apps.exports.services import start_snapshot
from apps.imports.services import start_import_of_items
from apps.imports.undoing import start_undo, undo_import
from apps.jobs.models import Job
from apps.jobs.services import cancel
from tests.factories import ProjectFactory
from worker.tasks.datasets import build_snapshot, import_pairs

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = 1200


def rows():
    return [
        {
            "external_id": f"q-{number}",
            "prompt": f"Question {number}?",
            "responses": [f"Yes {number}", f"No {number}"],
            "annotations": [{"annotator": "a1", "preference": 1}],
        }
        for number in range(COUNT)
    ]


def test_a_large_import_and_a_large_snapshot_finish():
    project = ProjectFactory()
    made = start_import_of_items(project=project, items=rows(), created_by=None)
    import_pairs(made.job.pk)
    job = Job.objects.get(pk=made.job.pk)
    assert (job.state, job.result["created"], job.done, job.total) == ("succeeded", COUNT, COUNT, COUNT)

    snapshot = start_snapshot(project=project, body={"name": "all"}, created_by=None)
    build_snapshot(snapshot.job.pk)
    snapshot.refresh_from_db()
    job = Job.objects.get(pk=snapshot.job.pk)
    assert (job.state, job.error, job.result) == ("succeeded", "", {"snapshot": str(snapshot.pk)})
    assert (job.done, job.total) == (COUNT, COUNT)
    assert sum(snapshot.manifest["comparisons"].values()) == COUNT

    heard = []
    undone = start_undo(made=made)
    undo_import(made=undone, on_rows=lambda done, total: heard.append((done, total)))
    assert heard == [(0, COUNT), (1000, COUNT)]


def test_a_job_that_was_cancelled_before_it_began_is_left_alone():
    project = ProjectFactory()
    made = start_import_of_items(project=project, items=rows(), created_by=None)
    cancel(job=made.job)
    import_pairs(made.job.pk)
    assert not project.comparisons.exists()
