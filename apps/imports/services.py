"""Bring pairs and labels in: batch by batch, each batch whole or not at all, the same row twice changing nothing."""

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from apps.accounts.models import User
from apps.core.artifacts import artifact_storage, store_file
from apps.imports.models import Import
from apps.imports.rows import BadRow, ImportedAnnotation, ImportedPair, parse_row, read_lines
from apps.jobs.services import enqueue
from apps.labeling.consensus import note_who_had, place_in_queue, settle
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
    report, seen = ImportReport(), set[int]()
    lines, read = read_lines(stream), 0
    while batch := list(islice(lines, BATCH)):
        pairs: list[tuple[int, ImportedPair]] = []
        for line, row in batch:
            try:
                pairs += [(line, pair) for pair in parse_row(row)]
            except BadRow as bad:
                report.reject(line, bad.field, bad.reason)
        _import_pairs(project, pairs, report, accounts or {}, seen)
        read += len(batch)
        on_batch(read)
    return report


@transaction.atomic
def _import_pairs(
    project: Project,
    pairs: list[tuple[int, ImportedPair]],
    report: ImportReport,
    accounts: Mapping[str, User],
    seen: set[int],
) -> None:
    """Store one batch. Locks the project, so that two imports of the same rows come one after the other.

    `seen` holds hashes of the external ids of the file's earlier rows: wherever batches end, the first row wins.
    """
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    people = {**_imported_accounts(project, _annotators(pairs) - set(accounts)), **accounts}
    known = _known(project, [pair.external_id for _, pair in pairs])
    contents = {external_id: _content(comparison) for external_id, comparison in known.items()}
    new: list[ImportedPair] = []
    changed: list[ImportedPair] = []
    labels: list[tuple[str, ImportedAnnotation]] = []
    for line, pair in pairs:
        old, content = known.get(pair.external_id), _pair_content(pair)
        same = contents.get(pair.external_id) == content
        repeated = hash(pair.external_id) in seen
        try:
            strange = next((label.annotator for label in pair.annotations if label.annotator not in people), None)
            if strange is not None:
                raise BadRow("/annotations", f"The name {strange!r} belongs to an account of this project.")
            if repeated and not same:
                raise BadRow("/external_id", "An earlier row of this file has the same external_id.")
            if old is not None and not same and old.assignments.exists():
                raise BadRow(
                    "/external_id", "Somebody has seen this comparison; a changed row needs a new external_id."
                )
            fresh = [] if repeated else _fresh_labels(old, pair)
        except BadRow as bad:
            report.reject(line, bad.field, bad.reason)
            continue
        seen.add(hash(pair.external_id))
        contents[pair.external_id] = content
        labels += [(pair.external_id, label) for label in fresh]
        if repeated or (same and not fresh):
            report.unchanged += 1
        elif old is None:
            new.append(pair)
            report.created += 1
        else:
            if not same:
                changed.append(pair)
            report.updated += 1
    stored = known | _store_comparisons(project, new, changed, known)
    _store_annotations(project, [(stored[external_id], label) for external_id, label in labels], people)


def _known(project: Project, external_ids: list[str]) -> dict[str, Comparison]:
    """Return the comparisons that are there already, with their queue items locked: nobody leases them meanwhile."""
    found = Comparison.objects.filter(project=project, external_id__in=external_ids)
    list(QueueItem.objects.select_for_update().filter(comparison__in=found).order_by("pk"))
    rows = found.select_related("prompt", "response_1", "response_2").prefetch_related("annotations__annotator")
    return {comparison.external_id: comparison for comparison in rows}


def _fresh_labels(old: Comparison | None, pair: ImportedPair) -> list[ImportedAnnotation]:
    """Return the labels that are not there yet; raise BadRow for one that says something else than the stored one."""
    if old is None:
        return list(pair.annotations)
    current = [label for label in old.annotations.all() if label.is_current and not label.is_repeat]
    stored = {label.annotator.annotator_name: label.answer_hash for label in current}
    for index, label in enumerate(pair.annotations):
        if stored.get(label.annotator, _label_hash(label)) != _label_hash(label):
            raise BadRow(f"/annotations/{index}", f"{label.annotator!r} has another label for this comparison already.")
    return [label for label in pair.annotations if label.annotator not in stored]


def _store_comparisons(
    project: Project, new: list[ImportedPair], changed: list[ImportedPair], known: Mapping[str, Comparison]
) -> dict[str, Comparison]:
    """Store new comparisons with their queue items and change those that nobody has seen; return them by id."""
    responses = _store_texts(project, [*new, *changed])
    rows = {}
    for pair in [*new, *changed]:
        first, second = (responses[_response_key(pair, side)] for side in (0, 1))
        rows[pair.external_id] = Comparison(
            project=project,
            prompt_id=first.prompt_id,
            response_1=first,
            response_2=second,
            external_id=pair.external_id,
            reference=pair.reference,
            metadata=pair.metadata,
            gold=pair.gold,
        )
    replaced: set[int] = set()
    for pair in changed:
        old, row = known[pair.external_id], rows[pair.external_id]
        replaced |= {old.response_1_id, old.response_2_id}
        row.pk, row.created_at = old.pk, old.created_at
        row.save()
    _drop_unused(replaced)
    Comparison.objects.bulk_create([rows[pair.external_id] for pair in new], batch_size=BATCH)
    QueueItem.objects.bulk_create(
        [
            QueueItem(
                comparison=rows[pair.external_id],
                project=project,
                **place_in_queue(gold=pair.gold, protocol=project.protocol),
                shuffle_key=random.random(),  # noqa: S311  (an order, not a secret)
            )
            for pair in new
        ],
        batch_size=BATCH,
    )
    return rows


def _drop_unused(response_ids: set[int]) -> None:
    """Delete responses that no comparison has any more, so that no model scores them."""
    used = Comparison.objects.filter(Q(response_1=OuterRef("pk")) | Q(response_2=OuterRef("pk")))
    Response.objects.filter(~Exists(used), pk__in=response_ids).delete()


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
    hashes = {text_hash for _, text_hash in rows}
    return {
        (response.prompt.content_hash, response.content_hash): response
        for response in Response.objects.select_related("prompt").filter(
            prompt__in=prompts.values(), content_hash__in=hashes
        )
    }


def _store_annotations(
    project: Project, labels: list[tuple[Comparison, ImportedAnnotation]], people: Mapping[str, User]
) -> None:
    """Store labels as submitted assignments, in the order of the file, and settle their comparisons."""
    if not labels:
        return
    guideline, now = project.current_guideline(), timezone.now()
    assignments, annotations = [], []
    for comparison, label in labels:
        assignment = Assignment(
            project=project,
            comparison=comparison,
            annotator=people[label.annotator],
            state=Assignment.State.SUBMITTED,
            swapped=False,
            drawn="imported",
            guideline_version=guideline,
            lease_expires_at=now,
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
                answer_hash=_label_hash(label),
                submitted_at=now,
            )
        )
    added = Counter(comparison.pk for comparison, _ in labels)
    items = list(QueueItem.objects.select_for_update().filter(pk__in=added).order_by("pk"))
    for item in items:
        item.taken += added[item.pk]
        item.wanted = max(item.wanted, item.taken)
    QueueItem.objects.bulk_update(items, ["taken", "wanted"], batch_size=BATCH)
    Assignment.objects.bulk_create(assignments, batch_size=BATCH)
    Annotation.objects.bulk_create(annotations, batch_size=BATCH)
    # Somebody real who labeled a pair elsewhere does not get it again.
    real = {comparison.pk for comparison, label in labels if not people[label.annotator].imported_name}
    if real:
        note_who_had(comparison_ids=real)
    settle(comparison_ids=list(added), protocol=project.protocol)


def _annotators(pairs: Iterable[tuple[int, ImportedPair]]) -> set[str]:
    return {label.annotator for _, pair in pairs for label in pair.annotations}


def _imported_accounts(project: Project, names: set[str]) -> dict[str, User]:
    """Return the named, inactive accounts of imported annotators, made where missing; nobody can sign in to them.

    A name whose account belongs to somebody real is left out.
    """
    usernames = {name: f"{name}@{project.slug}"[:150] for name in sorted(names)}
    User.objects.bulk_create(
        [
            User(username=username, imported_name=name, is_active=False, password=make_password(None))
            for name, username in usernames.items()
        ],
        ignore_conflicts=True,
    )
    accounts = User.objects.in_bulk(usernames.values(), field_name="username")
    ours = {name: user for name, username in usernames.items() if (user := accounts[username]).imported_name == name}
    Membership.objects.bulk_create(
        [Membership(project=project, user=user, role=Membership.Role.ANNOTATOR) for user in ours.values()],
        ignore_conflicts=True,
    )
    return ours


def _label_hash(label: ImportedAnnotation) -> str:
    return json_hash([label.preference, label.ratings, label.justification])


def _response_key(pair: ImportedPair, side: int) -> tuple[str, str]:
    return json_hash(pair.messages), json_hash(pair.texts[side])


def _content(comparison: Comparison) -> tuple[Any, ...]:
    return (
        comparison.prompt.content_hash,
        comparison.response_1.content_hash,
        comparison.response_2.content_hash,
        comparison.reference,
        comparison.metadata,
        comparison.gold,
    )


def _pair_content(pair: ImportedPair) -> tuple[Any, ...]:
    prompt, first = _response_key(pair, 0)
    return prompt, first, json_hash(pair.texts[1]), pair.reference, pair.metadata, pair.gold
