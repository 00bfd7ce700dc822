"""Make snapshots: freeze a selection, write its files once, and never change them."""

import hashlib
import importlib.metadata
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.artifacts import adopt_folder, artifact_storage, draft_folder
from apps.core.errors import Conflict, FieldError, InvalidInput, NotFound
from apps.core.file_replies import StoredFile
from apps.exports.diff import Diff
from apps.exports.encodings import ENCODINGS, GZIPPED, HashedFile
from apps.exports.formats import FORMATS, KNOWN_FORMATS
from apps.exports.models import Snapshot
from apps.exports.rows import Reader
from apps.exports.selection import RULES, encodings_of, formats_of, parse_selection
from apps.exports.writing import LABELS_FILE, Written, needs_labels, write_rows
from apps.jobs.services import Claim, enqueue, storing, succeed
from apps.projects.models import GuidelineVersion, Project
from apps.signals.models import Scorer
from apps.signals.services import rules_in_force
from worker.core.croissant import DescribedFile, describe
from worker.core.datacard import CardFile, render_card, what_it_is

BASE_FORMAT = "annotations"
SCHEMA = "tiebreak-snapshot/3"
FEWER_FORMATS = "tiebreak-snapshot/1"
FROZEN_RULES = ("version", "sha256", "rules", "not_applicable_is_yes", "verifier")
CARD, CROISSANT = "README.md", "croissant.json"
DOCUMENTS = {CARD: "text/markdown; charset=utf-8", CROISSANT: "application/ld+json", LABELS_FILE: ENCODINGS["jsonl"]}
CROISSANT_TYPES = {"parquet": "application/x-parquet", "csv": "text/csv", "jsonl": "application/jsonlines"}


def create_snapshot(*, project: Project, body: dict[str, Any], created_by: User | None) -> Snapshot:
    """Freeze the selection in `body` (`apps.exports.selection`) without writing files yet."""
    name, selection = parse_selection(body)
    if selection.get(RULES):
        selection[RULES] = _active_rules(project)
    return Snapshot.objects.create(project=project, name=name, selection=selection, created_by=created_by)


@transaction.atomic
def start_snapshot(*, project: Project, body: dict[str, Any], created_by: User | None) -> Snapshot:
    """Freeze a selection and start the job that writes its files."""
    snapshot = create_snapshot(project=project, body=body, created_by=created_by)
    snapshot.job = enqueue(kind="snapshot", project=project, inputs={"snapshot": snapshot.pk}, created_by=created_by)
    snapshot.save(update_fields=["job"])
    return snapshot


def write_snapshot(
    *, snapshot: Snapshot, on_rows: Callable[[int], None] = lambda rows: None, claim: Claim | None = None
) -> None:
    """Write the files of the snapshot in one reading of the database, unless they are written already.

    All rows come from one repeatable-read transaction, so labels that arrive meanwhile are in whole or not at all.
    With a `claim` the files count only while it holds; the job of this very snapshot ends together with them.
    """
    if snapshot.ready:
        return
    with draft_folder(f"snapshots/{snapshot.pk}") as draft:
        manifest = _write_files(snapshot, draft, on_rows)
        with storing(claim) if claim is not None else transaction.atomic():
            # The first writer wins: a worker that was presumed dead and comes back changes nothing.
            stored = Snapshot.objects.select_for_update().get(pk=snapshot.pk)
            if not stored.ready:
                stored.content_hash, stored.manifest = manifest["content_hash"], manifest
                adopt_folder(draft, stored.folder)
                stored.save(update_fields=["content_hash", "manifest"])
                if claim is not None and claim.job_id == stored.job_id:
                    succeed(claim, result=result_of(stored), done=sum(manifest["comparisons"].values()))
    snapshot.content_hash, snapshot.manifest = stored.content_hash, stored.manifest


def result_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return the result of the job that writes a snapshot."""
    return {"snapshot": str(snapshot.pk)}


def find_file(*, snapshot: Snapshot, export_format: str, file: str) -> StoredFile:
    """Return a file of the snapshot by format and name (`train.jsonl`), or raise NotFound with how to get it."""
    name = f"{export_format}/{file}"
    entry = snapshot.manifest.get("files", {}).get(name)
    if entry is None:
        raise NotFound(_why_missing(snapshot, export_format, file))
    return StoredFile(
        name=f"{snapshot.folder}/{name}",
        size=entry["bytes"],
        sha256=entry["sha256"],
        content_type=ENCODINGS[file.partition(".")[2]],
    )


def find_document(*, snapshot: Snapshot, name: str) -> StoredFile:
    """Return the data card or the Croissant description of a snapshot."""
    entry = snapshot.manifest.get("documents", {}).get(name)
    if entry is None:
        raise NotFound(
            _("The snapshot was made before there were data cards; make a new one.")
            if snapshot.ready
            else _("The snapshot's files are not written yet.")
        )
    return StoredFile(
        name=f"{snapshot.folder}/{name}", size=entry["bytes"], sha256=entry["sha256"], content_type=DOCUMENTS[name]
    )


def read_rows(snapshot: Snapshot, split: str) -> Iterator[dict[str, Any]]:
    """Yield the frozen rows of one split."""
    stored = find_file(snapshot=snapshot, export_format=BASE_FORMAT, file=f"{split}.jsonl")
    with artifact_storage().open(stored.name) as stream:
        for line in stream:
            yield json.loads(line)


def diff_snapshots(*, before: Snapshot, after: Snapshot) -> Diff:
    """Return what changed from one snapshot of a project to another one, read as it is iterated over."""
    if before.project_id != after.project_id:
        raise InvalidInput(_("Only snapshots of the same project can be compared."))
    names = []
    for snapshot in (before, after):
        if not snapshot.ready:
            raise Conflict(_("The files of the snapshot %(name)s are not written yet.") % {"name": snapshot.name})
        if LABELS_FILE not in snapshot.manifest.get("documents", {}):
            raise Conflict(
                _("The snapshot %(name)s was made before snapshots could be compared; make a new one.")
                % {"name": snapshot.name}
            )
        names.append(f"{snapshot.folder}/{LABELS_FILE}")
    return Diff(*names)


def export_folder(*, snapshot: Snapshot, export_format: str, encoding: str, folder: Path) -> dict[str, int]:
    """Copy the splits of one format into a folder with manifest, card and Croissant; return rows by file name.

    The card and the description name the files as they lie there, so that `datasets` and `mlcroissant` read the folder.
    """
    rows = {}
    for split in snapshot.selection["splits"]:
        name = f"{split}.{encoding}"
        stored = find_file(snapshot=snapshot, export_format=export_format, file=name)
        with artifact_storage().open(stored.name) as source, (folder / name).open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        rows[name] = snapshot.manifest["files"][f"{export_format}/{name}"]["rows"]
    manifest = snapshot.manifest
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    chosen = {f"{export_format}/{name}": name for name in rows}
    (folder / CARD).write_text(_card(manifest, chosen), encoding="utf-8")
    (folder / CROISSANT).write_text(_croissant(manifest, chosen), encoding="utf-8")
    return rows


@cache
def software_version() -> str:
    """Return the version of this program."""
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def _active_rules(project: Project) -> dict[str, Any]:
    """Return which rule set a selection means that asks for what the rules say."""
    scorer = rules_in_force(project)
    if scorer is None:
        detail = _("The project has no active rule set.")
        raise InvalidInput(_("The snapshot cannot be made like this."), [FieldError(f"/{RULES}", detail)])
    return {"version": scorer.config["version"], "sha256": scorer.config["sha256"], "scorer": scorer.pk}


def _write_files(snapshot: Snapshot, folder: Path, on_rows: Callable[[int], None]) -> dict[str, Any]:
    selection, project = snapshot.selection, snapshot.project
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        with connection.cursor() as cursor:
            if outermost:  # PostgreSQL allows it only before a transaction's first query
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        reader = Reader(connection.connection, project.pk, selection, needs_labels(selection))
        with closing(reader.chunks()) as chunks:
            written = write_rows(chunks=chunks, selection=selection, folder=folder, on_rows=on_rows)
        guidelines = list(project.guideline_versions.order_by("number"))
    return _manifest(snapshot, written, reader, guidelines, folder)


def _manifest(
    snapshot: Snapshot, written: Written, reader: Reader, guidelines: list[GuidelineVersion], folder: Path
) -> dict[str, Any]:
    """Return the manifest, and write the card and the Croissant description that are made from it."""
    protocol = snapshot.project.protocol
    content = {name: entry["sha256"] for name, entry in {**written.files, **written.documents}.items()}
    manifest = {
        "schema": SCHEMA,
        "project": snapshot.project.slug,
        "name": snapshot.name,
        "selection": snapshot.selection,
        "comparisons": {split: written.comparisons[split] for split in snapshot.selection["splits"]},
        "excluded": reader.excluded,
        "left_out": written.left_out,
        "files": written.files,
        "formats": {name: KNOWN_FORMATS[name].columns for name in formats_of(snapshot.selection)},
        "figures": written.figures.to_dict(),
        "protocol": {"digest": protocol.digest, "settings": protocol.to_dict()},
        "guidelines": [
            {
                "number": version.number,
                "labels": reader.guideline_labels[version.pk],
                "sha256": hashlib.sha256(version.text.encode()).hexdigest(),
                "text": version.text,
            }
            for version in guidelines
            if version.pk in reader.guideline_labels
        ],
        "consensus_rules": dict(sorted(written.rules.items())),
        "software": {
            "tiebreak": software_version(),
            **{name: importlib.metadata.version(name) for name in ("numpy", "orjson", "pyarrow")},
        },
        "content_hash": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
    }
    if RULES in snapshot.selection:
        config = Scorer.objects.get(pk=snapshot.selection[RULES]["scorer"]).config
        manifest["rule_set"] = {name: config[name] for name in FROZEN_RULES if name in config}
    described = _described(snapshot.selection)
    for name, text in ((CARD, _card(manifest, described)), (CROISSANT, _croissant(manifest, described))):
        document = HashedFile(folder / name)
        document.write(text.encode())
        document.close()
        written.documents[name] = {"bytes": document.bytes, "sha256": document.sha256}
    return {**manifest, "documents": written.documents}


def _described(selection: dict[str, Any]) -> dict[str, str]:
    """Return the files that card and description list, by name in the snapshot: one encoding, the best typed one."""
    encodings = encodings_of(selection)
    encoding = next(name for name in ("parquet", "jsonl", "csv", *ENCODINGS) if name in encodings)
    names = [f"{name}/{split}.{encoding}" for name in formats_of(selection) for split in selection["splits"]]
    return {name: name for name in names}


def _card(manifest: dict[str, Any], paths: dict[str, str]) -> str:
    files = []
    for name, path in paths.items():
        entry = manifest["files"][name]
        export_format, _slash, file = name.partition("/")
        files.append(CardFile(export_format, file.partition(".")[0], path, entry["rows"], entry["bytes"]))
    columns = {file.format: KNOWN_FORMATS[file.format].columns for file in files}
    summaries = {name: KNOWN_FORMATS[name].summary for name in columns}
    return render_card(manifest=manifest, files=files, columns=columns, summaries=summaries)


def _croissant(manifest: dict[str, Any], paths: dict[str, str]) -> str:
    files = []
    for name, path in paths.items():
        entry = manifest["files"][name]
        export_format, _slash, file = name.partition("/")
        split, _dot, encoding = file.partition(".")
        packed = [ENCODINGS[encoding]] if encoding in GZIPPED else []
        media_types = [*packed, CROISSANT_TYPES[GZIPPED.get(encoding, encoding)]]
        files.append(DescribedFile(export_format, split, path, encoding, media_types, entry["bytes"], entry["sha256"]))
    described = describe(
        name=manifest["name"],
        description=f"{what_it_is(manifest['figures'])} of the project {manifest['project']}.",
        version=f"1.0.0+{manifest['content_hash'][:16]}",
        files=files,
        columns={file.format: KNOWN_FORMATS[file.format].columns for file in files},
    )
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def _why_missing(snapshot: Snapshot, export_format: str, file: str) -> str:
    if not snapshot.ready:
        return _("The snapshot's files are not written yet.")
    split, _dot, encoding = file.partition(".")
    known = export_format in KNOWN_FORMATS and split in snapshot.selection["splits"] and encoding in ENCODINGS
    if known and snapshot.manifest["schema"] != FEWER_FORMATS:
        name = f"{export_format}/{file}"
        if export_format in formats_of(snapshot.selection):
            wanted = {"field": "encodings", "missing": encoding}
        elif export_format in FORMATS:
            wanted = {"field": "formats", "missing": export_format}
        else:
            return _('%(name)s was not written: make a snapshot with "%(field)s": true.') % {
                "name": name,
                "field": RULES,
            }
        message = _('%(name)s was not written: make a snapshot with "%(field)s": ["%(missing)s"].')
        return message % {"name": name, **wanted}
    return _("The snapshot has no file %(name)s.") % {"name": f"{export_format}/{file}"}
