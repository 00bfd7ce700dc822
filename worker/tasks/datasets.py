"""Imports and snapshots: the cpu queue."""

from typing import Any

from celery import shared_task

from apps.exports.models import Snapshot
from apps.exports.services import write_snapshot
from apps.imports.models import Import
from apps.imports.services import run_import
from worker.tasks.running import Held, run_job


@shared_task(name="tiebreak.import_pairs")
def import_pairs(job_id: int) -> None:
    """Read the file of an import."""

    def work(held: Held) -> dict[str, Any]:
        made = Import.objects.select_related("project").get(pk=held.job.inputs["import"])
        report = run_import(made=made, on_batch=lambda rows: held.progress(rows, 0, f"{rows} rows read"))
        return report.to_dict()

    run_job(job_id, work)


@shared_task(name="tiebreak.build_snapshot")
def build_snapshot(job_id: int) -> None:
    """Write the files of a snapshot."""

    def work(held: Held) -> dict[str, Any]:
        snapshot = Snapshot.objects.select_related("project").get(pk=held.job.inputs["snapshot"])
        write_snapshot(snapshot=snapshot, on_rows=lambda rows: held.progress(rows, 0, f"{rows} comparisons written"))
        return {"snapshot": str(snapshot.pk)}

    run_job(job_id, work)
