"""Start an import and run it; `undoing` takes it back."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.artifacts import store_file
from apps.core.errors import AppError, Conflict, FieldError, InvalidInput
from apps.imports.batches import BATCH, batches_of
from apps.imports.benchmarks import read_benchmark
from apps.imports.duplicates import Duplicates
from apps.imports.files import Row, check_head, read_json, rows_of
from apps.imports.models import Import, Upload
from apps.imports.options import Options, options_of
from apps.imports.outcomes import ImportReport
from apps.imports.parquet import json_rows
from apps.imports.shapes import pairs_of
from apps.imports.sources import file_of, local_copy
from apps.imports.storing import Storer
from apps.jobs.services import Claim, enqueue, storing, succeed
from apps.projects.models import Project
from apps.signals.services import score_new_responses
from apps.webhooks.events import IMPORT_FINISHED
from apps.webhooks.services import emit

__all__ = ["BATCH", "ImportReport"]
DatasetRows = Callable[[dict[str, Any]], Iterator[Row]]


@transaction.atomic
def start_import(
    *,
    project: Project,
    file_name: str,
    stream: IO[bytes],
    created_by: User | None,
    options: Options | None = None,
    benchmarks: IO[bytes] | None = None,
    wait: bool = False,
) -> Import:
    """Keep the file and start the job that reads it; with `wait`, the job that only looks at its first rows."""
    made = Import(project=project, file_name=file_name[-200:], created_by=created_by)
    made.save()
    made.stored_as = f"imports/{made.pk}"
    _keep(stream, made.stored_as)
    return _start(made, options or Options(), benchmarks, wait=wait)


def start_import_of_items(
    *,
    project: Project,
    items: list[object],
    created_by: User | None,
    options: Options | None = None,
    benchmarks: IO[bytes] | None = None,
) -> Import:
    """Start an import of rows that came in a request's body."""
    with tempfile.TemporaryFile() as stream:
        for item in items:
            stream.write(json.dumps(item).encode() + b"\n")
        stream.seek(0)
        return start_import(
            project=project,
            file_name="items",
            stream=stream,
            created_by=created_by,
            options=options,
            benchmarks=benchmarks,
        )


@transaction.atomic
def start_import_of_upload(
    *,
    project: Project,
    upload_id: str,
    created_by: User | None,
    options: Options | None = None,
    benchmarks: IO[bytes] | None = None,
    wait: bool = False,
) -> Import:
    """Start an import of a file that was uploaded piece by piece; several imports may read the same one."""
    uploads = Upload.objects.select_for_update(no_key=True).filter(project=project)
    upload = uploads.filter(pk=upload_id).first() if upload_id.isascii() and upload_id.isdecimal() else None
    if upload is None:
        raise _wrong("/upload", _("There is no such upload in this project."))
    if not upload.is_complete:
        arrived = {"arrived": upload.offset, "length": upload.length}
        raise _wrong("/upload", _("Only %(arrived)s of its %(length)s bytes have arrived.") % arrived)
    if not upload.length:
        raise _wrong("/upload", _("The file is empty."))
    made = Import(project=project, file_name=upload.file_name, upload=upload, created_by=created_by)
    made.save()
    return _start(made, options or Options(), benchmarks, wait=wait)


@transaction.atomic
def start_import_of_dataset(
    *,
    project: Project,
    dataset: dict[str, Any],
    created_by: User | None,
    options: Options | None = None,
    benchmarks: IO[bytes] | None = None,
    wait: bool = False,
) -> Import:
    """Start an import of a Hugging Face dataset, which a worker reads row by row."""
    name = " ".join(str(dataset[key]) for key in ("name", "config", "split") if dataset.get(key))
    made = Import(project=project, file_name=name[:200], dataset=dataset, created_by=created_by)
    made.save()
    options = options or Options()
    if options.container:
        raise _wrong("/format", _("A dataset has no file format; name a format of rows."))
    return _start(made, options, benchmarks, wait=wait)


@transaction.atomic
def look_again(*, made: Import, options: Options) -> Import:
    """Look at the first rows once more, with other options."""
    _refuse_started(made)
    return _start(made, options, None, wait=True)


@transaction.atomic
def go_ahead(*, made: Import, options: Options, benchmarks: IO[bytes] | None = None) -> Import:
    """Start the job of an import that was only looked at; of one that ran dry, make another that stores."""
    if made.is_dry_run and made.is_read:
        again = Import(
            project=made.project,
            file_name=made.file_name,
            stored_as=made.stored_as,
            upload=made.upload,
            dataset=made.dataset,
            created_by=made.created_by,
        )
        again.save()
        return _start(again, options, benchmarks, wait=False)
    _refuse_started(made)
    return _start(made, options, benchmarks, wait=False)


def run_import(
    *,
    made: Import,
    on_batch: Callable[[int], None],
    claim: Claim | None = None,
    dataset_rows: DatasetRows | None = None,
) -> ImportReport:
    """Read the source, then score what is new. After a crash it goes on where the last batch was stored.

    With a `claim`, each batch is stored under it and the last one ends the job together with its rows.
    """
    if made.is_read:
        _start_over(made)
    with rows_from(made, dataset_rows) as rows:
        return import_rows(project=made.project, rows=rows, source=made, on_batch=on_batch, claim=claim)


def import_stream(
    *,
    project: Project,
    stream: IO[bytes],
    accounts: Mapping[str, User] | None = None,
    on_batch: Callable[[int], None] = lambda rows: None,
    options: Options | None = None,
) -> ImportReport:
    """Import JSON lines or a JSON array and return the report; `accounts` maps annotators to real accounts."""
    return import_rows(
        project=project,
        rows=read_json(stream),
        accounts=accounts,
        on_batch=on_batch,
        options=options,
    )


def import_file(*, project: Project, path: Path, options: Options, benchmarks: Path | None = None) -> ImportReport:
    """Import a file of this machine, now, and return the report; the import can be undone like any other."""
    made = Import(project=project, file_name=str(path)[-200:])
    with rows_of(path, file_name=path.name, container=options.container) as rows:
        made.save()
        try:
            made.options = options.stored()
            if benchmarks is not None:
                made.options["benchmarks"] = f"imports/{made.pk}-benchmarks"
                with benchmarks.open("rb") as stream:
                    _keep(stream, made.options["benchmarks"])
            _refuse_without_benchmark(made.options)
            made.save()
            return import_rows(project=project, rows=rows, source=made)
        except (AppError, OSError):
            if not made.position:  # nothing of it went in
                made.delete()
            raise


def import_rows(
    *,
    project: Project,
    rows: Iterator[Row],
    source: Import | None = None,
    accounts: Mapping[str, User] | None = None,
    on_batch: Callable[[int], None] = lambda rows: None,
    options: Options | None = None,
    claim: Claim | None = None,
) -> ImportReport:
    """Import rows and return the report; scoring of what is new starts where there is a `source`."""
    options = options_of(source.options) if source is not None else options or Options()
    transactions = partial(storing, claim) if claim is not None else transaction.atomic
    with _benchmark(options) as benchmark:
        duplicates = Duplicates(options=options, benchmark=benchmark)
    duplicates.know_stored(project, source)
    storer = Storer(
        project=project,
        duplicates=duplicates,
        options=options,
        source=source,
        accounts=accounts,
        storing=transactions,
    )
    ignored = storer.report.ignored_fields
    units, read = pairs_of(rows, shape=options.shape, mapping=options.mapping, ignored=ignored), 0
    with closing(storer):
        for batch in batches_of(units, split=options.split, look=duplicates.look):
            storer.store(batch)
            read += batch.rows
            on_batch(read)
    if source is not None:
        with transactions():
            source.is_read, source.counts = True, storer.report.counts()
            source.save(update_fields=["is_read", "counts"])
            if not options.dry_run:
                score_new_responses(project=project)
            if claim is not None:
                succeed(claim, result=storer.report.to_dict(), done=read)
            else:
                _tell_finished(source)
    return storer.report


@contextmanager
def rows_from(made: Import, dataset_rows: DatasetRows | None = None) -> Iterator[Iterator[Row]]:
    """Yield the rows of an import's source."""
    if made.dataset is not None:
        if dataset_rows is None:
            raise InvalidInput(_("Datasets are read by a worker."))
        yield json_rows(dataset_rows(made.dataset))
        return
    container = options_of(made.options).container
    with file_of(made) as path, rows_of(path, file_name=made.file_name, container=container) as rows:
        yield rows


def _start(made: Import, options: Options, benchmarks: IO[bytes] | None, *, wait: bool) -> Import:
    stored = options.stored()
    if benchmarks is not None:
        stored["benchmarks"] = f"imports/{made.pk}-benchmarks"
        _keep(benchmarks, stored["benchmarks"])
    elif made.options.get("benchmarks"):
        stored["benchmarks"] = made.options["benchmarks"]
    _refuse_without_benchmark(stored)
    made.options = stored
    inputs: dict[str, Any] = {"import": made.pk}
    if wait:
        made.preview = None
        inputs["preview"] = True
    job = enqueue(kind="import", project=made.project, inputs=inputs, created_by=made.created_by)
    if wait:
        made.preview_job = job
    else:
        made.job = job
    made.save()
    return made


def _refuse_without_benchmark(stored: dict[str, Any]) -> None:
    if stored.get("exclude_contaminated") and not stored.get("benchmarks"):
        raise _wrong("/exclude_contaminated", _("Name the benchmark prompts that rows must not share text with."))


def _refuse_started(made: Import) -> None:
    if not made.can_start:
        raise Conflict(_("The import has begun already."))


def _tell_finished(made: Import) -> None:
    """Tell the project's webhooks what the end of a job tells them; this import had none."""
    data = {"job": None, "kind": "import", "import": str(made.pk), **made.counts}
    emit(project=made.project, event=IMPORT_FINISHED, data=data)


def _start_over(made: Import) -> None:
    made.findings.all().delete()
    made.is_read, made.position, made.counts = False, 0, {}
    made.save(update_fields=["is_read", "position", "counts"])


@contextmanager
def _benchmark(options: Options) -> Iterator[Any]:
    if options.benchmarks is None:
        yield None
        return
    with local_copy([options.benchmarks]) as path:
        yield read_benchmark(path)


def _keep(stream: IO[bytes], name: str) -> None:
    """Copy a stream into the artifact storage; refuse at once what is no data."""
    with tempfile.NamedTemporaryFile() as copy:
        for number, chunk in enumerate(iter(lambda: stream.read(1 << 20), b"")):
            if not number:
                check_head(chunk)
            copy.write(chunk)
        copy.flush()
        store_file(Path(copy.name), name)


def _wrong(pointer: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, [FieldError(pointer, sentence)])
