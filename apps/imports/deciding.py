"""Say for each row of a batch what is to be done with it, by what the project has and what the file had before."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from apps.imports.batches import Batch
from apps.imports.duplicates import Duplicates, Earlier, Note, as_earlier, stored_pairs
from apps.imports.known import Known, known_comparisons, known_prompts, known_responses
from apps.imports.labels import Labels, People, SeenLabels, fresh_labels, names_in, number_of, stored_labels
from apps.imports.models import Finding
from apps.imports.options import Options
from apps.imports.rows import BadRow, ImportedAnnotation, ImportedPair
from apps.imports.turns import NeedsTurn
from apps.labeling.models import Assignment, QueueItem
from apps.projects.models import Project
from worker.core.seen_keys import MISSING, Numbers, SeenKeys


@dataclass
class Decided:
    """What is to be done with a batch; `known` and the ids of texts are what the project has of it already."""

    known: dict[str, Known]
    prompts: dict[str, int]
    responses: dict[tuple[int, str], int]
    new: list[ImportedPair] = field(default_factory=list)
    changed: list[ImportedPair] = field(default_factory=list)
    labeled: int = 0
    unchanged: int = 0
    excluded: int = 0
    labels: dict[str, list[ImportedAnnotation]] = field(default_factory=dict)
    """External id → labels to add, of all rows with that id."""
    findings: list[tuple[int, Note, str]] = field(default_factory=list)
    stands: list[int] = field(default_factory=list)
    """Places of the rows that went in, or were in already: later rows of the file are held against them.

    Of rows with one id, the first, and those that bring more labels.
    """


@dataclass
class _Context:
    """What is known about a batch before its rows are gone through; lists have one entry per pair."""

    begun: Collection[int]
    labels: Labels
    seen: list[int]
    contents: list[int]
    keys: list[int]
    earlier: list[Earlier | None]
    elsewhere: dict[int, Earlier]
    here: dict[str, int] = field(default_factory=dict)
    """External id → content of the rows of this batch so far."""
    standing: dict[int, tuple[int, ImportedPair]] = field(default_factory=dict)
    """Key of a pair → line and pair that stood first in this batch."""


class Decider:
    """Decides batch after batch of one source, and remembers what was in it."""

    def __init__(self, *, project: Project, duplicates: Duplicates, options: Options, people: People) -> None:
        self._project, self._duplicates, self._options, self._people = project, duplicates, options, people
        self._seen, self._seen_prompts = SeenKeys(), SeenKeys()
        self._seen_labels = SeenLabels()
        """Of a dry run; another one finds them in the project."""
        self._was_empty: bool | None = None
        """The project had nothing when this run began; None before the first batch."""

    def decide(
        self, batch: Batch, committing: Decided | None = None, *, may_lock: bool = True, alone: bool = False
    ) -> Decided:
        """Say for each row what is to be done with it; locks the items of rows that change or bring labels.

        What the batch before has stored is not seen while it is `committing`; its ids of texts are taken from there.
        `alone` says that nobody else has stored anything since this run began.
        Raises NeedsTurn where there is something to lock and it may not.
        """
        pairs, looks = batch.pairs, batch.looks
        seen = self._seen.find(batch.ids)
        decided = self._look_up(batch, seen, committing, alone=alone)
        known = decided.known
        self._people.know(names_in(pairs))
        begun, labels = self._lock(pairs, known, may_lock)
        context = _Context(
            begun,
            labels,
            seen.tolist(),
            batch.contents.tolist(),
            looks.keys.tolist(),
            self._duplicates.earlier(looks),
            self._stored_elsewhere(pairs, decided),
        )
        near = self._duplicates.near(looks)
        lines = [line for line, _ in pairs]
        for place, (line, pair) in enumerate(pairs):
            try:
                repeated, fresh = self._check(place, pair, known.get(pair.external_id), context)
            except BadRow as bad:
                decided.findings.append((line, (Finding.Kind.REJECTED, bad.field, bad.reason), pair.external_id))
                continue
            old = known.get(pair.external_id)
            if not repeated and (old is None or old.differs(pair)):
                before, alike = _before(place, context), near[place]
                if old is not None and alike is not None and alike.number == -old.id:
                    alike = None  # what it was before
                if before is not None or alike is not None or looks.contaminated[place] is not None:
                    notes, out = self._duplicates.notes(
                        pair, earlier=before, near=alike, contaminated=looks.contaminated[place], lines=lines
                    )
                    decided.findings += [(line, note, pair.external_id) for note in notes]
                    if out:
                        decided.excluded += 1
                        continue
                (decided.new if old is None else decided.changed).append(pair)
            elif fresh:
                decided.labeled += 1
            else:
                decided.unchanged += 1
                if repeated:
                    continue
            if fresh:
                decided.labels.setdefault(pair.external_id, []).extend(fresh)
                context.labels[pair.external_id].update({label.annotator: number_of(label) for label in fresh})
            context.here[pair.external_id] = context.contents[place]
            context.standing.setdefault(context.keys[place], (line, pair))
            decided.stands.append(place)
        return decided

    def remember(self, batch: Batch, places: list[int]) -> None:
        """Hold later rows of the file against the ones at these places."""
        if self._options.dry_run:
            self._seen_labels.add(batch.pairs[place][1] for place in places)
        chosen = np.array(places, dtype=np.int64)
        chosen = chosen[np.unique(batch.ids[chosen], return_index=True)[1]]
        chosen = np.sort(chosen[self._seen.find(batch.ids[chosen]) == MISSING])
        if len(chosen):
            self._seen.add(batch.ids[chosen], batch.contents[chosen])
            self._seen_prompts.add(batch.prompts[chosen], np.zeros(len(chosen), dtype=np.int64))
            self._duplicates.add(batch.looks, chosen)

    def _look_up(self, batch: Batch, seen: Numbers, committing: Decided | None, *, alone: bool) -> Decided:
        """Return what the project has of a batch: four queries, fewer where it cannot have more than this file had."""
        pairs, seen_prompts = [pair for _, pair in batch.pairs], self._seen_prompts.find(batch.prompts)
        if self._was_empty is None:
            self._was_empty = not self._project.prompts.exists()
        if not (alone and self._was_empty):
            seen = seen_prompts = np.zeros_like(seen)
        ids = [pair.external_id for pair, number in zip(pairs, seen.tolist(), strict=True) if number != MISSING]
        known = known_comparisons(self._project.pk, ids)
        moving = [not (old := known.get(pair.external_id)) or old.differs(pair) for pair in pairs]
        asked = (seen_prompts != MISSING) & np.array(moving, dtype=bool)
        hashes = {pair.prompt_hash for pair, ask in zip(pairs, asked.tolist(), strict=True) if ask}
        prompts = known_prompts(self._project.pk, hashes)
        if committing is not None:
            prompts |= {wanted: committing.prompts[wanted] for wanted in hashes & committing.prompts.keys()}
        stored = [
            (prompts[pair.prompt_hash], pair)
            for pair, moves in zip(pairs, moving, strict=True)
            if moves and pair.prompt_hash in prompts
        ]
        texts = [(prompt, text) for prompt, pair in stored for text in pair.hashes]
        responses = known_responses(texts)
        if committing is not None:
            responses |= {wanted: committing.responses[wanted] for wanted in texts if wanted in committing.responses}
        return Decided(known, prompts, responses)

    def _check(
        self, place: int, pair: ImportedPair, old: Known | None, context: _Context
    ) -> tuple[bool, list[ImportedAnnotation]]:
        """Return whether the row repeats one of its file, and its labels that are not there yet; raise BadRow."""
        is_here = pair.external_id in context.here
        before = context.here[pair.external_id] if is_here else context.seen[place]
        repeated = before != MISSING
        if pair.annotations:
            self._people.check(pair)
        if repeated and before != context.contents[place]:
            raise BadRow("/external_id", "An earlier row of this file has the same external_id.")
        if not repeated and old is not None and old.id in context.begun and old.differs(pair):
            raise BadRow("/external_id", "Somebody has seen this comparison; a changed row needs a new external_id.")
        if not pair.annotations:
            return repeated, []
        is_stored = repeated and not is_here and not self._options.dry_run
        if is_stored and (old is None or old.differs(pair)):
            raise BadRow("/external_id", "The comparison of an earlier row of this file was changed or deleted since.")
        return repeated, fresh_labels(pair, context.labels[pair.external_id])

    def _lock(
        self, pairs: list[tuple[int, ImportedPair]], known: Mapping[str, Known], may_lock: bool
    ) -> tuple[set[int], Labels]:
        """Lock the items of known rows that differ or bring labels: nobody leases them meanwhile.

        Returns which of them somebody has seen, and the labels that are there: in a dry run, also those of its file.
        """
        touched = {
            old.id
            for _, pair in pairs
            if (old := known.get(pair.external_id)) is not None and (pair.annotations or old.differs(pair))
        }
        begun = self._lock_items(touched, may_lock) if touched else set()
        labels = stored_labels(begun)
        if self._options.dry_run:
            for external_id, seen in self._seen_labels.find(pair for _, pair in pairs).items():
                labels[external_id].update(seen)
        return begun, labels

    def _lock_items(self, touched: set[int], may_lock: bool) -> set[int]:
        """Lock these items, and return which of them somebody has seen."""
        if not may_lock:
            raise NeedsTurn
        if not self._options.dry_run:
            list(QueueItem.objects.select_for_update().filter(pk__in=touched).order_by("pk").values_list("pk"))
        return set(Assignment.objects.filter(comparison__in=touched).values_list("comparison", flat=True))

    def _stored_elsewhere(self, pairs: list[tuple[int, ImportedPair]], decided: Decided) -> dict[int, Earlier]:
        """Return which new and changed pairs the project has under another id, by place."""
        wanted = {}
        for place, (_, pair) in enumerate(pairs) if decided.responses else ():
            prompt = decided.prompts.get(pair.prompt_hash)
            old = decided.known.get(pair.external_id)
            if prompt is not None and (old is None or old.differs(pair)):
                sides = [decided.responses.get((prompt, text)) for text in pair.hashes]
                if sides[0] is not None and sides[1] is not None:
                    wanted[place] = (pair, sides[0], sides[1])
        return stored_pairs(self._project.pk, wanted)


def _before(place: int, context: _Context) -> Earlier | None:
    """Return the same pair as it stood before: in this batch, in an earlier one, or in the project."""
    stood = context.standing.get(context.keys[place])
    if stood is not None:
        return as_earlier(stood[1], stood[0])
    return context.earlier[place] or context.elsewhere.get(place)
