"""Bring pairs and labels in: batch by batch, each batch whole or not at all, the same row twice changing nothing."""

import json
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from django.contrib.auth.hashers import make_password
from django.db import transaction

from apps.accounts.models import User
from apps.core.artifacts import artifact_storage, store_file
from apps.core.errors import Conflict
from apps.imports.models import Import
from apps.imports.rows import BadRow, ImportedPair, parse_row, read_lines
from apps.jobs.services import enqueue
from apps.labeling.consensus import settle
from apps.labeling.models import Annotation, Assignment, QueueItem
from apps.projects.models import Membership, Project
from apps.prompts.models import Comparison, Prompt, Response, json_hash
from apps.signals.services import score_new_responses

BATCH = 500
MAX_ERRORS = 1000


@dataclass
class ImportReport:
    """What became of the rows, counted in comparisons; `errors` names line, field and reason of the rejected ones."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def reject(self, line: int, field: str, reason: str) -> None:
        """Count a refused row and keep its message (the first thousand of them)."""
        self.rejected += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append({"line": line, "field": field, "reason": reason})

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as the job's result shows it."""
        return asdict(self)


@transaction.atomic
def start_import(*, project: Project, file_name: str, stream: IO[bytes], created_by: User | None) -> Import:
    """Keep the file and start the job that reads it."""
    made = Import.objects.create(project=project, file_name=file_name[-200:], created_by=created_by)
    made.stored_as = f"imports/{made.pk}.jsonl"
    with tempfile.NamedTemporaryFile() as copy:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            copy.write(chunk)
        copy.flush()
        store_file(Path(copy.name), made.stored_as)
    made.job = enqueue(kind="import", project=project, inputs={"import": made.pk}, created_by=created_by)
    made.save(update_fields=["stored_as", "job"])
    return made


def start_import_of_items(*, project: Project, items: list[object], created_by: User | None) -> Import:
    """Start an import of rows that came in a request's body."""
    with tempfile.TemporaryFile() as stream:
        for item in items:
            stream.write(json.dumps(item).encode() + b"\n")
        stream.seek(0)
        return start_import(project=project, file_name="items", stream=stream, created_by=created_by)


def run_import(*, made: Import, on_batch: Callable[[int], None]) -> ImportReport:
    """Read the stored file, then score what is new; run again after a crash, it finds its rows unchanged."""
    with artifact_storage().open(made.stored_as) as stream:
        report = import_stream(project=made.project, stream=stream, on_batch=on_batch)
    score_new_responses(project=made.project)
    return report


def import_stream(
    *,
    project: Project,
    stream: IO[bytes],
    accounts: Mapping[str, User] | None = None,
    on_batch: Callable[[int], None] = lambda rows: None,
) -> ImportReport:
    """Import JSON lines or a JSON array and return the report; `accounts` maps annotators to real accounts."""
    report = ImportReport()
    lines, read = read_lines(stream), 0
    while batch := list(islice(lines, BATCH)):
        pairs: list[tuple[int, ImportedPair]] = []
        for line, row in batch:
            try:
                pairs += [(line, pair) for pair in parse_row(row)]
            except BadRow as bad:
                report.reject(line, bad.field, bad.reason)
        _import_pairs(project, pairs, report, accounts or {})
        read += len(batch)
        on_batch(read)
    return report


@transaction.atomic
def _import_pairs(
    project: Project, pairs: list[tuple[int, ImportedPair]], report: ImportReport, accounts: Mapping[str, User]
) -> None:
    """Store one batch. Locks the project, so that two imports of the same rows come one after the other."""
    Project.objects.select_for_update().get(pk=project.pk)
    responses = _store_texts(project, [pair for _, pair in pairs])
    known = {
        comparison.external_id: comparison
        for comparison in Comparison.objects.filter(
            project=project, external_id__in=[pair.external_id for _, pair in pairs]
        ).prefetch_related("annotations")
    }
    new: list[tuple[Comparison, ImportedPair]] = []
    for line, pair in pairs:
        first, second = (responses[_response_key(pair, side)] for side in (0, 1))
        row = Comparison(
            project=project,
            prompt_id=first.prompt_id,
            response_1=first,
            response_2=second,
            external_id=pair.external_id,
            reference=pair.reference,
            metadata=pair.metadata,
            gold=pair.gold,
        )
        old = known.get(pair.external_id)
        if old is None:
            known[pair.external_id] = row
            new.append((row, pair))
            report.created += 1
        elif _content(old) == _content(row):
            report.unchanged += 1
        elif old.pk is None or old.annotations.exists():
            reason = (
                "An earlier row of this file has the same external_id."
                if old.pk is None
                else ("The comparison has annotations already; a changed row needs a new external_id.")
            )
            report.reject(line, "/external_id", reason)
        else:
            row.pk, row.created_at = old.pk, old.created_at
            row.save()
            report.updated += 1
    Comparison.objects.bulk_create([row for row, _ in new], batch_size=BATCH)
    wanted = project.protocol.annotators
    QueueItem.objects.bulk_create(
        [
            QueueItem(
                comparison=row,
                project=project,
                wanted=max(wanted, len(pair.annotations)),
                taken=len(pair.annotations),
                shuffle_key=random.random(),  # noqa: S311  (an order, not a secret)
            )
            for row, pair in new
        ],
        batch_size=BATCH,
    )
    _store_annotations(project, [(row, pair) for row, pair in new if pair.annotations], accounts)


def _store_texts(project: Project, pairs: Iterable[ImportedPair]) -> dict[tuple[str, str], Response]:
    """Store prompts and responses that are not there yet; return responses by (prompt hash, text hash)."""
    pairs = list(pairs)
    prompt_rows = {json_hash(pair.messages): pair.messages for pair in pairs}
    Prompt.objects.bulk_create(
        [Prompt(project=project, messages=messages, content_hash=key) for key, messages in prompt_rows.items()],
        ignore_conflicts=True,
    )
    prompts = {
        prompt.content_hash: prompt for prompt in Prompt.objects.filter(project=project, content_hash__in=prompt_rows)
    }
    rows = {
        _response_key(pair, side): Response(
            prompt=prompts[json_hash(pair.messages)],
            text=pair.texts[side],
            model=pair.models[side],
            content_hash=json_hash(pair.texts[side]),
        )
        for pair in pairs
        for side in (0, 1)
    }
    Response.objects.bulk_create(rows.values(), ignore_conflicts=True)
    return {
        (response.prompt.content_hash, response.content_hash): response
        for response in Response.objects.select_related("prompt").filter(prompt__in=prompts.values())
    }


def _store_annotations(
    project: Project, labeled: list[tuple[Comparison, ImportedPair]], accounts: Mapping[str, User]
) -> None:
    if not labeled:
        return
    names = {annotation.annotator for _, pair in labeled for annotation in pair.annotations}
    people = {**_imported_accounts(project, names - set(accounts)), **accounts}
    guideline = project.current_guideline()
    assignments, annotations = [], []
    for comparison, pair in labeled:
        for label in pair.annotations:
            assignment = Assignment(
                project=project,
                comparison=comparison,
                annotator=people[label.annotator],
                state=Assignment.State.SUBMITTED,
                swapped=False,
                drawn="imported",
                guideline_version=guideline,
                lease_expires_at=comparison.created_at,
            )
            assignments.append(assignment)
            annotations.append(
                Annotation(
                    assignment=assignment,
                    project=project,
                    comparison=comparison,
                    annotator=people[label.annotator],
                    guideline_version=guideline,
                    neither=label.preference is None,
                    preference=label.preference,
                    ratings_1=label.ratings[0],
                    ratings_2=label.ratings[1],
                    justification=label.justification,
                    swapped=False,
                    imported=True,
                    active_seconds=label.active_seconds,
                    answer_hash=json_hash([label.preference, label.ratings, label.justification]),
                    submitted_at=comparison.created_at,
                )
            )
    Assignment.objects.bulk_create(assignments, batch_size=BATCH)
    Annotation.objects.bulk_create(annotations, batch_size=BATCH)
    settle(comparison_ids=[comparison.pk for comparison, _ in labeled], protocol=project.protocol)


def _imported_accounts(project: Project, names: set[str]) -> dict[str, User]:
    """Return the named, inactive accounts of imported annotators, made where missing; nobody can sign in to them."""
    usernames = {name: f"{name}@{project.slug}"[:150] for name in sorted(names)}
    User.objects.bulk_create(
        [
            User(username=username, imported_name=name, is_active=False, password=make_password(None))
            for name, username in usernames.items()
        ],
        ignore_conflicts=True,
    )
    accounts = User.objects.in_bulk(usernames.values(), field_name="username")
    for name, username in usernames.items():
        if accounts[username].imported_name != name:
            raise Conflict(f"The annotator name {name!r} belongs to another account of this project; rename it.")
    Membership.objects.bulk_create(
        [Membership(project=project, user=user, role=Membership.Role.ANNOTATOR) for user in accounts.values()],
        ignore_conflicts=True,
    )
    return {name: accounts[username] for name, username in usernames.items()}


def _response_key(pair: ImportedPair, side: int) -> tuple[str, str]:
    return json_hash(pair.messages), json_hash(pair.texts[side])


def _content(comparison: Comparison) -> tuple[Any, ...]:
    return (
        comparison.response_1_id,
        comparison.response_2_id,
        comparison.reference,
        comparison.metadata,
        comparison.gold,
    )
