"""Store the batches of a source, each whole or not at all, and keep the report."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Exists, OuterRef, Q

from apps.accounts.models import User
from apps.imports import tables
from apps.imports.batches import Batch, spelled
from apps.imports.deciding import Decided, Decider
from apps.imports.duplicates import Duplicates
from apps.imports.labels import People, add_consensus, add_labels, in_order, names_in
from apps.imports.models import Finding, Import
from apps.imports.options import Options
from apps.imports.outcomes import MAX_ERRORS, ImportReport
from apps.imports.rows import BrokenOff, ImportedPair
from apps.imports.turns import NeedsTurn, Transactions, needs_turn
from apps.labeling.consensus import note_who_had, place_in_queue, settle
from apps.labeling.models import QueueItem
from apps.projects.models import Project
from apps.prompts.models import Comparison, Prompt, Response


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
        self._project, self._source, self._options, self._storing = project, source, options, storing
        self._people = People(project=project, accounts=accounts or {}, dry_run=options.dry_run)
        self._decider = Decider(project=project, duplicates=duplicates, options=options, people=self._people)
        self._done_until, self._refused_before = 0, set[int]()
        self._guideline = project.current_guideline().pk
        self._dice = np.random.default_rng()
        self._ids = tables.Ids()
        self._transactions = Transactions(project.pk, before_commit=self._ids.stock_up)
        self._committing: Decided | None = None
        if source is not None and source.position:
            self._resume(source)

    def store(self, batch: Batch) -> None:
        """Store a batch, which may still be committing when the next one begins; `close` waits for the last."""
        if batch.last_line <= self._done_until:  # an earlier attempt has stored it
            stands = [place for place, (line, _) in enumerate(batch.pairs) if line not in self._refused_before]
            self._decider.remember(batch, stands)
            return
        overlapping = self._may_overlap(batch)
        try:
            decided = self._store(batch, overlapping=overlapping)
        except (NeedsTurn, IntegrityError, OperationalError) as error:
            if not overlapping or self._transactions.has_turn or not needs_turn(error):
                raise
            decided = self._store(batch, overlapping=False)  # raises again what went wrong with the one before
        self._committing = decided
        self._decider.remember(batch, decided.stands)

    def close(self) -> None:
        """Wait for the last batch to be committed; raise what went wrong with it."""
        try:
            self._transactions.wait()
        finally:
            self._transactions.close()

    def _may_overlap(self, batch: Batch) -> bool:
        """Say whether a batch may begin while the one before is committing: labels make accounts and lock items."""
        return self._transactions.can_overlap and not self._options.dry_run and not names_in(batch.pairs)

    def _store(self, batch: Batch, *, overlapping: bool) -> Decided:
        with self._transactions.open(overlapping=overlapping), ExitStack() as held:
            if not overlapping:
                self._take_turn(held)
            before = self._committing if self._transactions.is_committing else None
            decided = self._decider.decide(batch, before, may_lock=not overlapping, alone=self._transactions.alone)
            if overlapping:
                batch.read_next()  # PostgreSQL copies this batch now, and checks the one before
            made = [] if self._options.dry_run else self._write(decided)
            if overlapping:
                self._take_turn(held)
            self._report(batch, decided)
            if self._source is not None:
                self._note(self._source, batch, decided, made)
            batch.read_next()  # all foreign keys are checked now, at the commit
        return decided

    def _take_turn(self, held: ExitStack) -> None:
        """Lock the job, if there is one, and the project, so that imports of the same rows come one after the other."""
        self._transactions.wait()
        held.enter_context(self._storing())
        self._transactions.take_turn()

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

    def _write(self, decided: Decided) -> list[int]:
        """Store a batch and return the ids of the comparisons that it made."""
        rows = tables.NewRows()
        self._add_texts(rows, decided)
        made = self._ids.draw(Comparison, len(decided.new))
        ids = {pair.external_id: pk for pair, pk in zip(decided.new, made, strict=True)}
        stored = {name: old.id for name, old in decided.known.items()} | ids
        labels = [(stored[name], label) for name, fresh in decided.labels.items() for label in in_order(fresh)]
        votes = add_labels(rows, labels, self._people)
        self._add_comparisons(rows, decided, made, votes)
        rows.changes += [(stored[pair.external_id], *_body(pair, decided)) for pair in decided.changed]
        tables.store(
            rows,
            project_id=self._project.pk,
            guideline_id=self._guideline,
            import_number=self._source.pk if self._source else None,
        )
        if decided.changed:
            drop_unused({pk for pair in decided.changed for pk in decided.known[pair.external_id].responses})
        self._settle(votes.keys() - ids.values(), votes)
        real = {pk for pk, label in labels if self._people[label.annotator].real}
        if real:  # somebody real who labeled a pair elsewhere does not get it again
            note_who_had(comparison_ids=real)
        return made

    def _add_texts(self, rows: tables.NewRows, decided: Decided) -> None:
        """Add the prompts and responses that are not there yet, and complete the ids in `decided`."""
        pairs = [*decided.new, *decided.changed]
        missing = {pair.prompt_hash: pair for pair in pairs if pair.prompt_hash not in decided.prompts}
        for (prompt_hash, pair), pk in zip(missing.items(), self._ids.draw(Prompt, len(missing)), strict=True):
            decided.prompts[prompt_hash] = pk
            rows.prompts.append((pk, pair.messages, prompt_hash))
        texts: dict[tuple[int, str], str] = {}
        for pair in pairs:
            prompt = decided.prompts[pair.prompt_hash]
            for text_hash, text in zip(pair.hashes, pair.texts, strict=True):
                if (prompt, text_hash) not in decided.responses:
                    texts[prompt, text_hash] = text
        for (key, text), pk in zip(texts.items(), self._ids.draw(Response, len(texts)), strict=True):
            decided.responses[key] = pk
            rows.responses.append((pk, key[0], text, key[1]))

    def _add_comparisons(
        self, rows: tables.NewRows, decided: Decided, ids: list[int], votes: Mapping[int, list[Any]]
    ) -> None:
        """Add the new comparisons, their places in the queue, and what their labels add up to."""
        protocol = self._project.protocol
        keys = self._dice.random(len(ids)).tolist()
        for pk, key, pair in zip(ids, keys, decided.new, strict=True):
            rows.comparisons.append((pk, *_body(pair, decided, pair.external_id)))
            place = place_in_queue(gold=pair.gold, protocol=protocol)
            if pk not in votes:
                rows.items.append((pk, place["state"], place["wanted"], 0, key))
                continue
            item = QueueItem(pk=pk, project_id=self._project.pk, **place)
            add_consensus(rows, item=item, votes=votes[pk], protocol=protocol)
            rows.items.append((pk, item.state, item.wanted, item.taken, key))

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

    def _report(self, batch: Batch, decided: Decided) -> None:
        report = self.report
        decided.findings += [(line, (Finding.Kind.REJECTED, bad.field, bad.reason), "") for line, bad in batch.refused]
        report.broken_off = next((line for line, bad in batch.refused if isinstance(bad, BrokenOff)), report.broken_off)
        decided.findings.sort(key=lambda finding: finding[0])
        report.empty_responses += sum(not all(pair.texts) for _, pair in batch.pairs)
        report.created += len(decided.new)
        report.updated += len(decided.changed) + decided.labeled
        report.unchanged += decided.unchanged
        report.excluded += decided.excluded
        for line, note, _ in decided.findings:
            report.count_finding(line, *note)

    def _note(self, source: Import, batch: Batch, decided: Decided, made: list[int]) -> None:
        """Write down how far the source is read, and what there is to say of its rows."""
        tables.write_findings(
            (source.pk, line, kind, pointer[:300], reason[:1000], external_id)
            for line, (kind, pointer, reason), external_id in decided.findings
        )
        source.position, source.counts = batch.last_line, self.report.counts()
        if made:
            source.first_made = min(source.first_made or made[0], made[0])
            source.last_made = max(source.last_made or 0, made[-1])
        source.save(update_fields=["position", "counts", "first_made", "last_made"])


def drop_unused(response_ids: set[int]) -> None:
    """Delete responses that no comparison has any more, so that no model scores them."""
    used = Comparison.objects.filter(Q(response_1=OuterRef("pk")) | Q(response_2=OuterRef("pk")))
    Response.objects.filter(~Exists(used), pk__in=response_ids).delete()


def _body(pair: ImportedPair, decided: Decided, *external_id: str) -> tuple[Any, ...]:
    """Return a comparison's columns from its prompt to its models, with the external id in between or without."""
    prompt, (first, second) = decided.prompts[pair.prompt_hash], pair.hashes
    sides = decided.responses[prompt, first], decided.responses[prompt, second]
    return (prompt, *sides, *external_id, pair.reference, spelled(pair), pair.gold, *pair.models)
