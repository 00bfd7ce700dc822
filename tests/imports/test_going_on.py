"""A run that breaks off goes on where the last batch was stored, and ends with the figures of an undisturbed one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from apps.imports import batches
from apps.imports.models import Import
from apps.imports.options import Options
from apps.imports.services import run_import, start_import, start_import_of_items
from apps.jobs import services as jobs
from apps.jobs.models import Job
from apps.labeling.models import Annotation, QueueItem
from apps.prompts.models import Comparison, Prompt, Response
from tests.e2e.running import wait_until
from tests.factories import ProjectFactory
from tests.imports.rows import lines, row
from worker.tasks.datasets import import_pairs

pytestmark = pytest.mark.django_db(transaction=True)
LABEL = [{"annotator": "a1", "preference": 1}]
ROOT = Path(__file__).parents[2]


def mixed(count):
    """Return rows of every kind: new ones with and without labels, repeats, contradicting ids, bad rows, duplicates."""
    rows = []
    for n in range(count):
        fresh = row(external_id=f"q-{n}", responses=[f"yes {n}", f"no {n}"], annotations=LABEL if n % 3 == 0 else [])
        rows.append(fresh)
        if n % 10 == 5:
            rows.append({**fresh, "external_id": f"again-{n}"})
        if n % 10 == 6:
            rows.append(rows[n // 2])
        if n % 10 == 7:
            rows.append({**fresh, "metadata": {"other": True}})
        if n % 10 == 8:
            rows.append({**fresh, "responses": ["one"]})
    return rows


def figures(made):
    made.refresh_from_db()
    stored = [model.objects.count() for model in (Comparison, Prompt, Response, QueueItem, Annotation)]
    findings = list(made.findings.order_by("line", "id").values_list("line", "kind", "field", "reason"))
    return made.counts, stored, findings, made.is_read, made.position


class Broken(Exception):
    pass


def broken_off(made, after):
    """Run an import until so many batches are stored."""
    stored = []

    def on_batch(rows):
        stored.append(rows)
        if len(stored) == after:
            raise Broken

    with pytest.raises(Broken):
        run_import(made=made, on_batch=on_batch)


@pytest.mark.parametrize("options", [{}, {"exclude_duplicates": True, "near_duplicates": True}, {"dry_run": True}])
def test_a_run_that_broke_off_ends_like_an_undisturbed_one(monkeypatch, options):
    monkeypatch.setattr(batches, "BATCH", 16)
    undisturbed, disturbed = (
        start_import_of_items(project=ProjectFactory(), items=mixed(60), created_by=None, options=Options(**options))
        for _ in range(2)
    )
    report = run_import(made=undisturbed, on_batch=lambda rows: None)
    expected = figures(undisturbed)
    Comparison.objects.all().delete()
    Prompt.objects.all().delete()
    broken_off(disturbed, 2)
    disturbed.refresh_from_db()
    assert 0 < disturbed.position < 60
    broken_off(disturbed, 4)
    again = run_import(made=Import.objects.get(pk=disturbed.pk), on_batch=lambda rows: None)
    assert figures(disturbed) == expected
    assert again == report


def test_a_worker_whose_job_was_taken_over_stores_nothing_more(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 16)
    made = start_import_of_items(project=ProjectFactory(), items=mixed(60), created_by=None)
    job, claim = jobs.claim(job_id=made.job_id, owner="first")
    Job.objects.filter(pk=job.pk).update(fencing_token=job.fencing_token + 1)
    with pytest.raises(jobs.LeaseLost):
        run_import(made=made, on_batch=lambda rows: None, claim=claim)
    assert not Comparison.objects.exists()
    made.refresh_from_db()
    assert (made.position, made.counts) == (0, {})


_WORKER = """
import sys
import django
django.setup()
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[2]
settings.STORAGES["artifacts"]["OPTIONS"]["location"] = sys.argv[3]
from apps.imports import batches
batches.BATCH = 16
from worker.tasks.datasets import import_pairs
import_pairs(int(sys.argv[1]))
"""


def test_sigkill_of_a_worker_half_way_changes_nothing_of_the_end(monkeypatch, settings):
    monkeypatch.setattr(batches, "BATCH", 16)
    count = 700
    content = lines(mixed(count))
    path = Path(settings.STORAGES["artifacts"]["OPTIONS"]["location"]) / "rows.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

    def handed_in():
        with path.open("rb") as stream:
            return start_import(project=ProjectFactory(), file_name="rows.jsonl", stream=stream, created_by=None)

    made = handed_in()
    command = [sys.executable, "-c", _WORKER, str(made.job_id), connection.settings_dict["NAME"], str(path.parent)]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    worker = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        wait_until(lambda: Import.objects.get(pk=made.pk).position > 50, 60, "the worker is half-way")
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    killed_at = Import.objects.get(pk=made.pk).position
    assert 0 < killed_at < count
    Job.objects.filter(pk=made.job_id).update(lease_until=None)
    assert Job.objects.get(pk=made.job_id).state == "running"
    import_pairs(made.job_id)
    found = figures(made)
    job = Job.objects.get(pk=made.job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    Comparison.objects.all().delete()
    Prompt.objects.all().delete()
    expected = handed_in()
    import_pairs(expected.job_id)
    assert found == figures(expected)
    assert job.result == Job.objects.get(pk=expected.job_id).result
