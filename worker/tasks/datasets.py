"""Imports and snapshots: the cpu queue."""

from typing import Any

from celery import shared_task

from apps.exports.models import Snapshot
from apps.exports.services import result_of, write_snapshot
from apps.imports.models import Import
from apps.imports.previews import preview_import
from apps.imports.services import run_import
from apps.imports.undoing import undo_import
from worker.core.hub import DatasetUnavailable, dataset_rows
from worker.tasks.running import Held, JobFailed, run_job


@shared_task(name="tiebreak.import_pairs")
def import_pairs(job_id: int) -> None:
    """Read the source of an import, look at its first rows, or take it back."""

    def work(held: Held) -> dict[str, Any] | None:
        inputs = held.job.inputs
        made = Import.objects.select_related("project", "upload").get(pk=inputs["import"])
        if inputs.get("undo"):
            undo_import(
                made=made,
                claim=held.claim,
                on_rows=lambda done, total: held.progress(done, total, f"{done} of {total} comparisons deleted"),
            )
        elif inputs.get("preview"):
            return preview_import(made=made, dataset_rows=dataset_rows)
        else:
            run_import(
                made=made,
                on_batch=lambda rows: held.progress(rows, 0, f"{rows} rows read"),
                claim=held.claim,
                dataset_rows=dataset_rows,
            )
        return None  # what it did is stored together with how the job ended

    def work_with_the_hub(held: Held) -> dict[str, Any] | None:
        try:
            return work(held)
        except DatasetUnavailable as error:
            raise JobFailed(str(error)) from error

    run_job(job_id, work_with_the_hub)


@shared_task(name="tiebreak.build_snapshot")
def build_snapshot(job_id: int) -> None:
    """Write the files of a snapshot."""

    def work(held: Held) -> dict[str, Any] | None:
        snapshot = Snapshot.objects.select_related("project").get(pk=held.job.inputs["snapshot"])
        if snapshot.ready:
            return result_of(snapshot)
        write_snapshot(
            snapshot=snapshot,
            on_rows=lambda rows: held.progress(rows, 0, f"{rows} comparisons written"),
            claim=held.claim,
        )
        return None  # how the job ended is stored together with the files

    run_job(job_id, work)
