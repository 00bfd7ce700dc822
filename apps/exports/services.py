"""Make snapshots: freeze a selection, write its files once, and never change them."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.artifacts import artifact_storage, store_folder
from apps.core.errors import FieldError, InvalidInput, NotFound
from apps.exports.formats import FORMATS, LeftOut
from apps.exports.models import Snapshot
from apps.exports.rows import snapshot_rows
from apps.jobs.services import enqueue
from apps.projects.models import Project

BASE_FORMAT = "annotations"
DEFAULT_SPLITS = {"train": 0.95, "validation": 0.05}
FILTERS = {"domain"}
SCHEMA = "tiebreak-snapshot/1"


def create_snapshot(*, project: Project, body: dict[str, Any], created_by: User | None) -> Snapshot:
    """Freeze the selection in `body` (name, splits, seed, filters) without writing files yet."""
    name, selection = _parse_selection(body)
    return Snapshot.objects.create(project=project, name=name, selection=selection, created_by=created_by)


@transaction.atomic
def start_snapshot(*, project: Project, body: dict[str, Any], created_by: User | None) -> Snapshot:
    """Freeze a selection and start the job that writes its files."""
    snapshot = create_snapshot(project=project, body=body, created_by=created_by)
    snapshot.job = enqueue(kind="snapshot", project=project, inputs={"snapshot": snapshot.pk}, created_by=created_by)
    snapshot.save(update_fields=["job"])
    return snapshot


def write_snapshot(*, snapshot: Snapshot, on_rows: Callable[[int], None] = lambda rows: None) -> None:
    """Write every format of the snapshot in one reading of the database, unless it is written already.

    All rows come from one repeatable-read transaction, so labels that arrive meanwhile are in whole or not at all.
    """
    if snapshot.ready:
        return
    with tempfile.TemporaryDirectory() as folder:
        counts = _write_files(snapshot, Path(folder), on_rows)
        files = {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(Path(folder).rglob("*.jsonl"))
        }
        for name, entry in files.items():
            entry["rows"] = counts["rows"][name]
        snapshot.content_hash = hashlib.sha256(
            json.dumps({name: entry["sha256"] for name, entry in files.items()}, sort_keys=True).encode()
        ).hexdigest()
        store_folder(Path(folder), snapshot.folder)
    snapshot.manifest = {
        "schema": SCHEMA,
        "project": snapshot.project.slug,
        "name": snapshot.name,
        "selection": snapshot.selection,
        "comparisons": counts["comparisons"],
        "left_out": counts["left_out"],
        "files": files,
        "content_hash": snapshot.content_hash,
    }
    # The first writer wins: a worker that was presumed dead and comes back changes nothing.
    unwritten = Snapshot.objects.filter(pk=snapshot.pk, content_hash="")
    if not unwritten.update(manifest=snapshot.manifest, content_hash=snapshot.content_hash):
        snapshot.refresh_from_db()


def open_file(*, snapshot: Snapshot, export_format: str, split: str) -> tuple[IO[bytes], dict[str, Any]]:
    """Open a file of the snapshot; return it with its entry in the manifest, or raise NotFound."""
    name = f"{export_format}/{split}.jsonl"
    entry = snapshot.manifest.get("files", {}).get(name)
    if entry is None:
        raise NotFound(
            _("The snapshot has no file %(name)s.") % {"name": name}
            if snapshot.ready
            else _("The snapshot's files are not written yet.")
        )
    return artifact_storage().open(f"{snapshot.folder}/{name}"), entry


def read_rows(snapshot: Snapshot, split: str) -> Iterator[dict[str, Any]]:
    """Yield the frozen rows of one split."""
    stream, _entry = open_file(snapshot=snapshot, export_format=BASE_FORMAT, split=split)
    with stream:
        for line in stream:
            yield json.loads(line)


def _write_files(snapshot: Snapshot, folder: Path, on_rows: Callable[[int], None]) -> dict[str, Any]:
    splits = list(snapshot.selection["splits"])
    rows_per_file: Counter[str] = Counter()
    left_out: dict[str, Counter[str]] = {name: Counter() for name in FORMATS}
    comparisons: Counter[str] = Counter()
    outermost = not connection.in_atomic_block
    with ExitStack() as stack, transaction.atomic():
        if outermost:  # PostgreSQL allows it only before a transaction's first query
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        files = {}
        for name in FORMATS:
            (folder / name).mkdir()
            for split in splits:
                file = f"{name}/{split}.jsonl"
                rows_per_file[file] = 0
                files[file] = stack.enter_context((folder / file).open("w", encoding="utf-8"))
        for number, row in enumerate(snapshot_rows(snapshot.project, snapshot.selection), start=1):
            comparisons[row["split"]] += 1
            for name, convert in FORMATS.items():
                file = f"{name}/{row['split']}.jsonl"
                try:
                    for converted in convert(row):
                        files[file].write(json.dumps(converted, ensure_ascii=False) + "\n")
                        rows_per_file[file] += 1
                except LeftOut as reason:
                    left_out[name][str(reason)] += 1
            if number % 500 == 0:
                on_rows(number)
    return {
        "rows": dict(rows_per_file),
        "comparisons": {split: comparisons[split] for split in splits},
        "left_out": {name: dict(sorted(counts.items())) for name, counts in left_out.items() if counts},
    }


def _parse_selection(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    errors: list[FieldError] = []
    errors += [
        FieldError(f"/{name}", _("There is no such field."))
        for name in sorted(set(body) - {"name", "splits", "seed", "filters"})
    ]
    name = body.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > 120:
        errors.append(FieldError("/name", _("Expected a name of at most 120 characters.")))
    splits = body.get("splits") or DEFAULT_SPLITS
    if not _is_splits(splits):
        example = '{"train": 0.95, "validation": 0.05}'
        errors.append(
            FieldError("/splits", _("Expected shares that add up to 1, such as %(example)s.") % {"example": example})
        )
    seed = body.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        errors.append(FieldError("/seed", _("Expected a whole number from 0.")))
    filters = body.get("filters") or {}
    if not isinstance(filters, dict) or set(filters) - FILTERS:
        errors.append(FieldError("/filters", _("Known filters are %(known)s.") % {"known": ", ".join(sorted(FILTERS))}))
    elif "domain" in filters and not (
        isinstance(filters["domain"], list)
        and filters["domain"]
        and all(isinstance(domain, str) for domain in filters["domain"])
    ):
        errors.append(FieldError("/filters/domain", _("Expected a list of one or more domains.")))
    if errors:
        raise InvalidInput(_("The snapshot cannot be made like this."), errors)
    return str(name).strip(), {"splits": splits, "seed": seed, "filters": filters}


def _is_splits(splits: object) -> bool:
    if not isinstance(splits, dict) or not 1 <= len(splits) <= 10:
        return False
    names_fit = all(isinstance(name, str) and name.isidentifier() and len(name) <= 30 for name in splits)
    shares_fit = all(isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x <= 1 for x in splits.values())
    return names_fit and shares_fit and abs(sum(splits.values()) - 1) < 1e-6


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
