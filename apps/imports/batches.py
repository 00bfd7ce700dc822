"""Rows in batches: the next one is read and checked in a thread while PostgreSQL stores the current one."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from apps.accounts.models import User
from apps.imports import staging
from apps.imports.duplicates import Duplicates, Earlier, Look, Looks, Note, as_earlier, stored_pairs
from apps.imports.labels import (
    People,
    Stored,
    fresh_labels,
    names_in,
    stage_consensus,
    stage_labels,
    stored_labels,
)
from apps.imports.models import Finding, Import
from apps.imports.options import Options
from apps.imports.rows import BadRow, ImportedAnnotation, ImportedPair
from apps.imports.shapes import Unit
from apps.labeling.consensus import note_who_had, place_in_queue, settle
from apps.labeling.models import Assignment, QueueItem
from apps.projects.models import Project
from apps.prompts.models import Comparison, Prompt, Response, canonical_json
from worker.core.seen_keys import MISSING, SeenKeys

BATCH = 2000
MAX_ERRORS = 1000
COUNTS = (
    "created",
    "updated",
    "unchanged",
    "rejected",
    "excluded",
    "duplicates",
    "reversed",
    "contradictions",
    "near_duplicates",
    "contaminated",
)
_COUNTED_AS = {
    Finding.Kind.REJECTED: "rejected",
    Finding.Kind.DUPLICATE: "duplicates",
    Finding.Kind.REVERSED: "reversed",
    Finding.Kind.CONTRADICTION: "contradictions",
    Finding.Kind.NEAR_DUPLICATE: "near_duplicates",
    Finding.Kind.CONTAMINATED: "contaminated",
}


@dataclass
class ImportReport:
    """What became of the rows, counted in comparisons; `errors` names line, field and reason of the rejected ones."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    excluded: int = 0
    duplicates: int = 0
    reversed: int = 0
    contradictions: int = 0
    near_duplicates: int = 0
    contaminated: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return the numbers alone."""
        return {name: getattr(self, name) for name in COUNTS}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as the job's result shows it."""
        return {**self.counts(), "errors": self.errors}


@dataclass
class Batch:
    """Checked rows: comparisons and refused rows with their lines, and the line of the last row.

    `read_next` begins to prepare the next batch; best called when this thread is about to wait for the database for
    long, since the two threads share one interpreter.
    """

    pairs: list[tuple[int, ImportedPair]]
    refused: list[tuple[int, BadRow]]
    looks: Looks
    rows: int
    last_line: int
    read_next: Callable[[], None] = lambda: None


def batches_of(units: Iterator[Unit], *, split: str | None, look: Look) -> Iterator[Batch]:
    """Yield batches; each is prepared in a thread while the caller waits for the database to store the one before."""

    def prepare() -> Batch | None:
        pairs: list[tuple[int, ImportedPair]] = []
        refused: list[tuple[int, BadRow]] = []
        rows = line = 0
        for line, unit in islice(units, BATCH):
            rows += 1
            if isinstance(unit, BadRow):
                refused.append((line, unit))
            else:
                pairs += [(line, pair) for pair in unit]
        if split is not None:
            for _, pair in pairs:
                pair.metadata = {"split": split, **pair.metadata}
        return Batch(pairs, refused, look([pair for _, pair in pairs]), rows, line) if rows else None

    coming: list[Future[Batch | None]] = []

    def read_next() -> None:
        if not coming:
            coming.append(reader.submit(prepare))

    with ThreadPoolExecutor(1, thread_name_prefix="import") as reader:
        read_next()
        while (batch := coming.pop().result()) is not None:
            batch.read_next = read_next
            yield batch
            read_next()


_Placed = tuple[int, int, ImportedPair]
"""Place in the batch, line, pair."""


@dataclass
class _Decided:
    """What is to be done with a batch; `known` and the ids of texts are what the project has of it already."""

    known: dict[str, staging.Known]
    prompts: dict[str, int]
    responses: dict[tuple[int, str], int]
    new: list[_Placed] = field(default_factory=list)
    changed: list[_Placed] = field(default_factory=list)
    labeled: list[_Placed] = field(default_factory=list)
    unchanged: list[_Placed] = field(default_factory=list)
    excluded: int = 0
    labels: list[tuple[str, list[ImportedAnnotation]]] = field(default_factory=list)
    findings: list[tuple[int, Note, str]] = field(default_factory=list)
    contents: dict[int, int] = field(default_factory=dict)
    """Place → content of the rows that went in, or were in already: later rows of the file are held against them."""


class Storer:
    """Stores the batches of one source, each whole or not at all, and keeps the report.

    With a `source`, its position and counts are written with each batch: a run that is taken over goes on from there
    and reads the rows before it only to know what was in the file. `storing` opens the transaction of a batch.
    """

    def __init__(
        self,
        *,
        project: Project,
        duplicates: Duplicates,
        options: Options,
        source: Import | None = None,
        accounts: Mapping[str, User] | None = None,
        storing: Callable[[], AbstractContextManager[Any]] = transaction.atomic,
    ) -> None:
        self.report = ImportReport()
        self._project, self._source, self._options = project, source, options
        self._duplicates, self._storing = duplicates, storing
        self._people = People(project=project, accounts=accounts or {}, dry_run=options.dry_run)
        self._seen = SeenKeys()
        self._done_until, self._refused_before = 0, set[int]()
        self._guideline = project.current_guideline().pk
        if source is not None and source.position:
            self._resume(source)

    def store(self, batch: Batch) -> None:
        """Store a batch. Locks the project, so that two imports of the same rows come one after the other."""
        if batch.last_line <= self._done_until:
            self._remember_stored(batch)
            return
        with self._storing():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL synchronous_commit = off")  # what is lost is read again, with its position
            Project.objects.select_for_update(no_key=True).get(pk=self._project.pk)
            decided = self._decide(batch)
            made = [] if self._options.dry_run else self._write(decided, batch.read_next)
            self._report(batch, decided)
            if self._source is not None:
                self._note(self._source, batch, decided, made)
        self._remember(batch, decided.contents)

    def _resume(self, source: Import) -> None:
        self._done_until = source.position
        for name, count in source.counts.items():
            setattr(self.report, name, count)
        left_out = {
            Finding.Kind.REJECTED: True,
            Finding.Kind.DUPLICATE: self._options.exclude_duplicates,
            Finding.Kind.REVERSED: self._options.exclude_duplicates,
            Finding.Kind.NEAR_DUPLICATE: self._options.exclude_near_duplicates,
            Finding.Kind.CONTAMINATED: self._options.exclude_contaminated,
        }
        out = source.findings.filter(kind__in=[kind for kind, is_out in left_out.items() if is_out])
        self._refused_before = set(out.values_list("line", flat=True))
        refused = source.findings.filter(kind=Finding.Kind.REJECTED).order_by("line", "id")
        self.report.errors = [
            {"line": line, "field": pointer, "reason": reason}
            for line, pointer, reason in refused.values_list("line", "field", "reason")[:MAX_ERRORS]
        ]

    def _decide(self, batch: Batch) -> _Decided:
        """Say for each row what is to be done with it; locks the items of rows that change or bring labels."""
        pairs, looks = batch.pairs, batch.looks
        known = staging.known_comparisons(self._project.pk, [pair.external_id for _, pair in pairs])
        moving = [pair for _, pair in pairs if pair.external_id not in known or known[pair.external_id].differs(pair)]
        prompts = staging.known_prompts(self._project.pk, {pair.prompt_hash for pair in moving})
        responses = staging.known_responses(
            [
                (prompts[pair.prompt_hash], text)
                for pair in moving
                if pair.prompt_hash in prompts
                for text in pair.hashes
            ]
        )
        decided = _Decided(known, prompts, responses)
        self._people.know(names_in(pairs))
        begun, stored = self._lock(pairs, known)
        seen = self._seen.find(_keys(pairs)).tolist()
        earlier, near = self._duplicates.earlier(looks), self._duplicates.near(looks)
        elsewhere = self._stored_elsewhere(pairs, decided)
        lines = [line for line, _ in pairs]
        here: dict[str, int] = {}
        standing: dict[int, Earlier] = {}
        for place, (line, pair) in enumerate(pairs):
            old, content = known.get(pair.external_id), _content_key(pair)
            before = here.get(pair.external_id, seen[place])
            try:
                self._people.check(pair)
                if before not in (MISSING, content):
                    raise BadRow("/external_id", "An earlier row of this file has the same external_id.")
                differs = old is not None and old.differs(pair)
                if old is not None and differs and before == MISSING and old.id in begun:
                    raise BadRow(
                        "/external_id", "Somebody has seen this comparison; a changed row needs a new external_id."
                    )
                fresh = [] if before != MISSING else fresh_labels(pair, stored.get(old.id, {}) if old else {})
            except BadRow as bad:
                decided.findings.append((line, (Finding.Kind.REJECTED, bad.field, bad.reason), pair.external_id))
                continue
            row = (place, line, pair)
            if before != MISSING:
                decided.unchanged.append(row)
                continue
            key = int(looks.keys[place])
            if old is None:
                notes, out = self._duplicates.notes(
                    pair,
                    earlier=standing.get(key) or earlier[place] or elsewhere.get(place),
                    near=near[place],
                    contaminated=looks.contaminated[place],
                    lines=lines,
                )
                decided.findings += [(line, note, pair.external_id) for note in notes]
                if out:
                    decided.excluded += 1
                    continue
                decided.new.append(row)
            elif differs:
                decided.changed.append(row)
            else:
                (decided.labeled if fresh else decided.unchanged).append(row)
            if fresh:
                decided.labels.append((pair.external_id, fresh))
            here[pair.external_id] = decided.contents[place] = content
            standing.setdefault(key, as_earlier(pair, line))
        return decided

    def _lock(self, pairs: list[tuple[int, ImportedPair]], known: dict[str, staging.Known]) -> tuple[set[int], Stored]:
        """Lock the items of known rows that differ or bring labels: nobody leases them meanwhile.

        Returns which of them somebody has seen, and the labels that they have.
        """
        touched = {
            old.id
            for _, pair in pairs
            if (old := known.get(pair.external_id)) is not None and (pair.annotations or old.differs(pair))
        }
        if not touched:
            return set(), {}
        if not self._options.dry_run:
            list(QueueItem.objects.select_for_update().filter(pk__in=touched).order_by("pk").values_list("pk"))
        begun = set(Assignment.objects.filter(comparison__in=touched).values_list("comparison", flat=True))
        return begun, stored_labels(begun)

    def _stored_elsewhere(self, pairs: list[tuple[int, ImportedPair]], decided: _Decided) -> dict[int, Earlier]:
        """Return which new pairs the project has under another id, by place."""
        wanted = {}
        for place, (_, pair) in enumerate(pairs):
            prompt = decided.prompts.get(pair.prompt_hash)
            if prompt is not None and pair.external_id not in decided.known:
                sides = [decided.responses.get((prompt, text)) for text in pair.hashes]
                if sides[0] is not None and sides[1] is not None:
                    wanted[place] = (pair, sides[0], sides[1])
        return stored_pairs(self._project.pk, wanted)

    def _write(self, decided: _Decided, meanwhile: Callable[[], None]) -> list[int]:
        """Store a batch and return the ids of the comparisons that it made."""
        staged = staging.Staged()
        self._stage_texts(staged, decided)
        made = staging.draw_ids(Comparison, len(decided.new))
        ids = {pair.external_id: pk for (_, _, pair), pk in zip(decided.new, made, strict=True)}
        stored = {name: old.id for name, old in decided.known.items()} | ids
        labels = [(stored[name], label) for name, fresh in decided.labels for label in fresh]
        votes = stage_labels(staged, labels, self._people)
        protocol, project = self._project.protocol, self._project.pk
        for _, _, pair in decided.new:
            pk = ids[pair.external_id]
            place = place_in_queue(gold=pair.gold, protocol=protocol)
            queue = (place["state"], place["wanted"], 0)
            if pk in votes:
                item = QueueItem(pk=pk, project_id=project, **place)
                stage_consensus(staged, item=item, votes=votes[pk], protocol=protocol)
                queue = (item.state, item.wanted, item.taken)
            prompt = decided.prompts[pair.prompt_hash]
            first, second = (decided.responses[prompt, text] for text in pair.hashes)
            body = (pair.reference, _spelled(pair.metadata), pair.gold)
            staged.comparisons.append((pk, prompt, first, second, pair.external_id, *body, *queue))
        for _, _, pair in decided.changed:
            prompt = decided.prompts[pair.prompt_hash]
            first, second = (decided.responses[prompt, text] for text in pair.hashes)
            body = (pair.reference, _spelled(pair.metadata), pair.gold)
            staged.changes.append((stored[pair.external_id], prompt, first, second, *body))
        number = self._source.pk if self._source else None
        staging.merge(
            staged, project_id=project, guideline_id=self._guideline, import_number=number, meanwhile=meanwhile
        )
        if decided.changed:
            drop_unused({pk for _, _, pair in decided.changed for pk in decided.known[pair.external_id].responses})
        self._settle(votes.keys() - ids.values(), votes)
        real = {pk for pk, label in labels if self._people[label.annotator].real}
        if real:  # somebody real who labeled a pair elsewhere does not get it again
            note_who_had(comparison_ids=real)
        return made

    def _stage_texts(self, staged: staging.Staged, decided: _Decided) -> None:
        """Stage the prompts and responses that are not there yet, and complete the ids in `decided`."""
        rows = [pair for _, _, pair in (*decided.new, *decided.changed)]
        missing = {pair.prompt_hash: pair for pair in rows if pair.prompt_hash not in decided.prompts}
        for (prompt_hash, pair), pk in zip(missing.items(), staging.draw_ids(Prompt, len(missing)), strict=True):
            decided.prompts[prompt_hash] = pk
            staged.prompts.append((pk, pair.messages, prompt_hash))
        texts: dict[tuple[int, str], tuple[str, str]] = {}
        for pair in rows:
            prompt = decided.prompts[pair.prompt_hash]
            for text_hash, text, model in zip(pair.hashes, pair.texts, pair.models, strict=True):
                if (prompt, text_hash) not in decided.responses:
                    texts.setdefault((prompt, text_hash), (text, model))
        for (key, (text, model)), pk in zip(texts.items(), staging.draw_ids(Response, len(texts)), strict=True):
            decided.responses[key] = pk
            staged.responses.append((pk, key[0], text, model, key[1]))

    def _settle(self, comparison_ids: Any, votes: Mapping[int, list[Any]]) -> None:
        """Count new labels of comparisons that were there already, and settle them."""
        if not comparison_ids:
            return
        items = list(QueueItem.objects.select_for_update().filter(pk__in=comparison_ids).order_by("pk"))
        for item in items:
            item.taken += len(votes[item.pk])
            item.wanted = max(item.wanted, item.taken)
        QueueItem.objects.bulk_update(items, ["taken", "wanted"], batch_size=500)
        settle(comparison_ids=list(comparison_ids), protocol=self._project.protocol)

    def _report(self, batch: Batch, decided: _Decided) -> None:
        report = self.report
        decided.findings += [(line, (Finding.Kind.REJECTED, bad.field, bad.reason), "") for line, bad in batch.refused]
        decided.findings.sort(key=lambda finding: finding[0])
        report.created += len(decided.new)
        report.updated += len(decided.changed) + len(decided.labeled)
        report.unchanged += len(decided.unchanged)
        report.excluded += decided.excluded
        for line, (kind, pointer, reason), _ in decided.findings:
            name = _COUNTED_AS[Finding.Kind(kind)]
            setattr(report, name, getattr(report, name) + 1)
            if kind == Finding.Kind.REJECTED and len(report.errors) < MAX_ERRORS:
                report.errors.append({"line": line, "field": pointer, "reason": reason})

    def _note(self, source: Import, batch: Batch, decided: _Decided, made: list[int]) -> None:
        """Write down how far the source is read, and what there is to say of its rows."""
        staging.write_findings(
            (source.pk, line, kind, pointer[:300], reason[:1000], external_id)
            for line, (kind, pointer, reason), external_id in decided.findings
        )
        source.position, source.counts = batch.last_line, self.report.counts()
        if made:
            source.first_made = min(source.first_made or made[0], made[0])
            source.last_made = max(source.last_made or 0, made[-1])
        source.save(update_fields=["position", "counts", "first_made", "last_made"])

    def _remember(self, batch: Batch, contents: Mapping[int, int]) -> None:
        """Hold later rows of the file against these: place → content."""
        rows = [(place, *batch.pairs[place]) for place in contents]
        self._seen.add(
            _keys([(line, pair) for _, line, pair in rows]),
            np.fromiter(contents.values(), dtype=np.int64, count=len(contents)),
        )
        self._duplicates.add(batch.looks, rows)

    def _remember_stored(self, batch: Batch) -> None:
        """Remember the rows of a batch that an earlier attempt has stored."""
        self._remember(
            batch,
            {
                place: _content_key(pair)
                for place, (line, pair) in enumerate(batch.pairs)
                if line not in self._refused_before
            },
        )


def drop_unused(response_ids: set[int]) -> None:
    """Delete responses that no comparison has any more, so that no model scores them."""
    used = Comparison.objects.filter(Q(response_1=OuterRef("pk")) | Q(response_2=OuterRef("pk")))
    Response.objects.filter(~Exists(used), pk__in=response_ids).delete()


def _keys(pairs: list[tuple[int, ImportedPair]]) -> Any:
    return np.fromiter((hash(pair.external_id) for _, pair in pairs), dtype=np.int64, count=len(pairs))


def _content_key(pair: ImportedPair) -> int:
    """Return a number of 63 bits that two rows share when their content is the same."""
    spelled = (pair.prompt_hash, pair.hashes, pair.reference, _spelled(pair.metadata), pair.gold)
    return hash(spelled) & 0x7FFFFFFFFFFFFFFF


def _spelled(metadata: dict[str, Any]) -> str:
    return canonical_json(metadata) if metadata else "{}"
