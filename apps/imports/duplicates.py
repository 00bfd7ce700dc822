"""Recognise pairs that are there already under another id, nearly the same ones, and ones that a benchmark has too."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from django.db import connection
from django.db.models import Avg, Q

from apps.imports.models import Finding, Import
from apps.imports.options import Options
from apps.imports.rows import ImportedPair
from apps.projects.models import Project
from apps.prompts.models import Comparison
from worker.core.contamination import Benchmark
from worker.core.near_duplicates import Match, NearDuplicates, Signature
from worker.core.seen_keys import MISSING, Numbers, SeenKeys

CHUNK = 1000
_NOTHING_SAID = 3
Pair = tuple[str, str, str]
Note = tuple[str, str, str]
"""Kind, field and reason of a finding."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """Where a pair stood before, whether the same way round, and which way its label or known answer points."""

    where: str
    first_is_lower: bool
    verdict: int | None


@dataclass
class Looks:
    """What can be said of a batch's pairs without the database."""

    keys: Numbers
    standings: Numbers
    """Line, orientation and verdict of each pair, packed into a number."""
    lines: Numbers
    signatures: list[Signature]
    contaminated: list[tuple[str, int] | None]


class Duplicates:
    """The pairs of a run so far."""

    def __init__(self, *, options: Options, benchmark: Benchmark | None = None) -> None:
        self.options, self._benchmark = options, benchmark
        self._pairs = SeenKeys()
        self._near = NearDuplicates() if options.looks_for_near_duplicates else None

    def look(self, numbered: Sequence[tuple[int, ImportedPair]]) -> Looks:
        """Return what a batch of (line, pair) needs; called in another thread, for it asks no database."""
        lines = np.fromiter((line for line, _ in numbered), dtype=np.int64, count=len(numbered))
        standings = np.fromiter((_packed(line, pair) for line, pair in numbered), dtype=np.int64, count=len(numbered))
        pairs = [pair for _, pair in numbered]
        keys = np.fromiter((pair_key(pair) for pair in pairs), dtype=np.int64, count=len(pairs))
        signatures = [self._near.signature(_text(pair)) for pair in pairs] if self._near else []
        hits: list[tuple[str, int] | None] = [None] * len(pairs)
        if self._benchmark is not None:
            hits = [_contaminated(pair, self._benchmark) for pair in pairs]
        return Looks(keys, standings, lines, signatures, hits)

    def know_stored(self, project: Project, source: Import | None) -> None:
        """Add what the project has, for near duplicates; what this import itself has brought comes from its file."""
        if self._near is None:
            return
        rows = Comparison.objects.filter(project=project).order_by("id")
        if source is not None:
            rows = rows.filter(~Q(import_number=source.pk) | Q(import_number=None))
        found = rows.values_list("id", "prompt__messages", "response_1__text", "response_2__text")
        ids: list[int] = []
        signatures: list[Signature] = []
        for pk, messages, first, second in found.iterator(chunk_size=CHUNK):
            ids.append(-pk)
            signatures.append(self._near.signature(_joined(messages, sorted([first, second]))))
            if len(ids) == CHUNK:
                self._near.add(np.stack(signatures), np.array(ids, dtype=np.int64))
                ids, signatures = [], []
        if ids:
            self._near.add(np.stack(signatures), np.array(ids, dtype=np.int64))

    def near(self, looks: Looks) -> list[Match | None]:
        """Return the nearest earlier pair of each pair of a batch, where one is near enough."""
        if self._near is None or not looks.signatures:
            return [None] * len(looks.keys)
        return self._near.find(np.stack(looks.signatures))

    def earlier(self, looks: Looks) -> list[Earlier | None]:
        """Return the same pair of an earlier batch, for each pair."""
        return [None if value == MISSING else _unpacked(value) for value in self._pairs.find(looks.keys).tolist()]

    def add(self, looks: Looks, places: Numbers) -> None:
        """Remember the pairs of a batch that went in, by their places."""
        self._pairs.add(looks.keys[places], looks.standings[places])
        if self._near is not None:
            self._near.add(np.stack([looks.signatures[place] for place in places.tolist()]), looks.lines[places])

    def notes(
        self,
        pair: ImportedPair,
        *,
        earlier: Earlier | None,
        near: Match | None,
        contaminated: tuple[str, int] | None,
        lines: Sequence[int],
    ) -> tuple[list[Note], bool]:
        """Return what there is to say of a new pair, and whether it stays out; `lines` are those of the batch."""
        notes: list[Note] = []
        out = False
        if earlier is not None:
            notes += _duplicate(pair, earlier)
            out = self.options.exclude_duplicates
        elif near is not None:
            line = lines[near.place] if near.place is not None else near.number or 0
            where = _named(-line) if line < 0 else f"line {line}"
            said = f"About {near.similarity:.0%} of the words of {where}, in the same order."
            notes.append((Finding.Kind.NEAR_DUPLICATE, "", said))
            out = self.options.exclude_near_duplicates
        if contaminated is not None:
            pointer, number = contaminated
            said = f"Thirteen words in a row, or all of a shorter text, are those of benchmark prompt {number + 1}."
            notes.append((Finding.Kind.CONTAMINATED, pointer, said))
            out = out or self.options.exclude_contaminated
        return notes, out


def pair_key(pair: ImportedPair) -> int:
    """Return a number that two pairs share when they have the same prompt and texts, whichever way round."""
    first, second = pair.hashes
    return hash((pair.prompt_hash, first, second) if first < second else (pair.prompt_hash, second, first))


def as_earlier(pair: ImportedPair, line: int) -> Earlier:
    """Return how a pair of this batch stands for those after it."""
    return Earlier(f"line {line}", pair.hashes[0] < pair.hashes[1], verdict_of(pair))


def verdict_of(pair: ImportedPair) -> int | None:
    """Return which response a row favours: −1, 0, 1, or None where it says nothing."""
    if pair.gold is not None:
        return _sign(pair.gold)
    said = [label.preference for label in pair.annotations if label.preference is not None]
    return _sign(sum(said)) if said else None


_STORED_PAIRS = """
SELECT wanted.place, stored.id, stored.external_id, stored.response_1_id = wanted.first
FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS wanted(place, first, second)
JOIN prompts_comparison AS stored
    ON (stored.response_1_id = wanted.first AND stored.response_2_id = wanted.second)
    OR (stored.response_1_id = wanted.second AND stored.response_2_id = wanted.first)
WHERE stored.project_id = %s ORDER BY stored.id DESC
"""


def stored_pairs(project_id: int, wanted: Mapping[int, tuple[ImportedPair, int, int]]) -> dict[int, Earlier]:
    """Return where the project has these pairs already under another id, by place (two queries, none without pairs).

    `wanted` maps a place to a pair and the ids of its two responses.
    """
    if not wanted:
        return {}
    sides = ([first for _, first, _ in wanted.values()], [second for _, _, second in wanted.values()])
    with connection.cursor() as cursor:
        cursor.execute(_STORED_PAIRS, [list(wanted), *sides, project_id])
        rows = [row for row in cursor.fetchall() if row[2] != wanted[row[0]][0].external_id]
    verdicts = _stored_verdicts([row[1] for row in rows])
    found = {}
    for place, pk, external_id, same_way in rows:
        lower = wanted[place][0].hashes[0] < wanted[place][0].hashes[1]
        found[place] = Earlier(repr(external_id), lower is same_way, verdicts.get(pk))
    return found


def _stored_verdicts(ids: Iterable[int]) -> dict[int, int | None]:
    current = Q(annotations__is_current=True, annotations__is_repeat=False)
    rows = Comparison.objects.filter(pk__in=list(ids)).annotate(mean=Avg("annotations__preference", filter=current))
    return {
        pk: _sign(gold) if gold is not None else None if mean is None else _sign(mean)
        for pk, gold, mean in rows.values_list("id", "gold", "mean")
    }


def _duplicate(pair: ImportedPair, earlier: Earlier) -> list[Note]:
    same_way = earlier.first_is_lower is (pair.hashes[0] < pair.hashes[1])
    notes: list[Note] = [
        (Finding.Kind.DUPLICATE, "", f"The same pair as {earlier.where}.")
        if same_way
        else (Finding.Kind.REVERSED, "/responses", f"The same pair as {earlier.where}, in the other order.")
    ]
    mine, theirs = verdict_of(pair), earlier.verdict
    if mine and theirs and mine * theirs * (1 if same_way else -1) < 0:
        said = f"The label or known answer favours the other response than that of {earlier.where}."
        notes.append((Finding.Kind.CONTRADICTION, "/gold" if pair.gold is not None else "/annotations", said))
    return notes


def _packed(line: int, pair: ImportedPair) -> int:
    verdict = verdict_of(pair)
    code = _NOTHING_SAID if verdict is None else verdict + 1
    return line << 3 | (pair.hashes[0] < pair.hashes[1]) << 2 | code


def _unpacked(value: int) -> Earlier:
    code = value & 3
    return Earlier(f"line {value >> 3}", bool(value & 4), None if code == _NOTHING_SAID else code - 1)


def _sign(number: Any) -> int:
    return (number > 0) - (number < 0)


def _named(pk: int) -> str:
    external_id = Comparison.objects.filter(pk=pk).values_list("external_id", flat=True).first()
    return "a pair that was deleted" if external_id is None else repr(external_id)


def _contaminated(pair: ImportedPair, benchmark: Benchmark) -> tuple[str, int] | None:
    """Return where a pair shares words with a benchmark, and the number of the prompt."""
    messages: list[dict[str, str]] = orjson.loads(pair.messages)
    texts = [(f"/messages/{index}", message["content"]) for index, message in enumerate(messages)]
    texts += [(f"/responses/{side}", pair.texts[side]) for side in (0, 1)]
    for pointer, text in texts:
        if (number := benchmark.match(text)) is not None:
            return pointer, number
    return None


def _text(pair: ImportedPair) -> str:
    return _joined(orjson.loads(pair.messages), sorted(pair.texts))


def _joined(messages: Sequence[Mapping[str, str]], texts: Sequence[str]) -> str:
    return "\n".join([*(message["content"] for message in messages), *texts])


Look = Callable[[Sequence[tuple[int, ImportedPair]]], Looks]
