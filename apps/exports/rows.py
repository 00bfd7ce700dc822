"""The rows a snapshot freezes: every labeled comparison of a selection, canonical and complete, in constant memory.

Raw SQL on one connection, chunk by chunk: no model object per row. While one chunk is converted and written, a thread
reads the next one, so that PostgreSQL and Python work at the same time.
"""

import json
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from secrets import token_hex
from typing import Any, NamedTuple

import orjson
import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

from apps.exports.formats import VERDICTS
from apps.exports.selection import PEOPLE, RULES
from worker.core.label_figures import Labeled, Vote
from worker.core.splits import Splits

Row = dict[str, Any]
CHUNK = 500
"""Comparisons read together: with more, texts leave the processor's cache before they are written."""
CHUNK_CHARACTERS = 16_000_000
"""Text that a chunk should not exceed by much: the next one is made smaller when rows are long."""

_LABELED = """
    FROM prompts_comparison AS c
    JOIN labeling_consensus AS k ON k.comparison_id = c.id
    {joins}
    WHERE c.project_id = %(project)s AND k.annotation_count > 0
"""
_LABELS = """JOIN (
        SELECT comparison_id, max(submitted_at) AS newest, bool_or(imported) AS some_imported,
            bool_and(imported) AS all_imported, bool_and(g.number = ANY(%(guideline_version)s)) AS guideline_fits
        FROM labeling_annotation AS a JOIN projects_guidelineversion AS g ON g.id = a.guideline_version_id
        WHERE a.project_id = %(project)s AND a.is_current AND NOT a.is_repeat GROUP BY comparison_id
    ) AS labels ON labels.comparison_id = c.id"""
_COMPARISONS = """
    SELECT c.id, c.external_id, p.content_hash, p.messages::text, r1.text, c.model_1, r2.text, c.model_2, c.reference,
        c.metadata::text, c.gold, k.preference, k.status, k.excluded_reason, k.spread, k.rule, k.kept::text{more}
    FROM prompts_comparison AS c
    JOIN prompts_prompt AS p ON p.id = c.prompt_id
    JOIN prompts_response AS r1 ON r1.id = c.response_1_id
    JOIN prompts_response AS r2 ON r2.id = c.response_2_id
    JOIN labeling_consensus AS k ON k.comparison_id = c.id
    {joins}
    WHERE c.id = ANY($1::bigint[])"""
_VERDICTS = ", v1.value, v1.parts::text, v2.value, v2.parts::text"
_VERDICTS_OF = """
    LEFT JOIN signals_signal AS v1 ON v1.response_id = c.response_1_id AND v1.scorer_id = {scorer}
    LEFT JOIN signals_signal AS v2 ON v2.response_id = c.response_2_id AND v2.scorer_id = {scorer}"""
_BY_INDEX = """SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
    SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL plan_cache_mode = force_generic_plan"""
"""For the rows of a chunk: without it, PostgreSQL reads whole tables of some ten thousand rows for each.

The plan is made once: to make it took an eighth of PostgreSQL's time.
"""
_LABELS_OF = """
    SELECT a.comparison_id, a.id, a.annotator_id, a.preference, a.swapped, a.imported, a.revision,
        a.guideline_version_id, a.submitted_at, a.assignment_id{more}
    FROM labeling_annotation AS a
    WHERE a.comparison_id = ANY($1::bigint[]) AND a.is_current AND NOT a.is_repeat
    ORDER BY a.comparison_id, a.submitted_at, a.id"""
_LEASES_OF = "SELECT DISTINCT created_at FROM labeling_assignment WHERE id = ANY($1::bigint[])"
"""An imported label whose file names no time has the time at which its batch, and so its lease, came in."""
_NAMES_OF = "SELECT id, coalesce(nullif(imported_name, ''), username) FROM accounts_user WHERE id = ANY($1::bigint[])"
_GUIDELINES_OF = "SELECT id, number FROM projects_guidelineversion WHERE id = ANY($1::bigint[])"
_MORE = """, a.ratings_1::text, a.ratings_2::text, a.justification, a.problems_1::text, a.problems_2::text,
        a.confidence, a.active_seconds, a.pasted_characters, a.stated_guideline_version,
        (SELECT lease.propensity FROM labeling_assignment AS lease WHERE lease.id = a.assignment_id)"""


_vote = cache(Vote)
_Values = tuple[Any, ...]


class _Fetched(NamedTuple):
    """What the database said: comparisons as `_COMPARISONS` lists them, and all their labels as `_LABELS_OF` does."""

    rows: list[_Values]
    labels: list[_Values]

    def average(self) -> int:
        """Return how many characters of text a comparison has, rounded up."""
        of_rows = sum([len(row[3]) + len(row[4]) + len(row[6]) + len(row[8]) + len(row[9]) for row in self.rows])
        return (of_rows + sum([len(label[12]) for label in self.labels if len(label) > 12])) // len(self.rows) + 1


@dataclass(frozen=True)
class Chunk:
    """Comparisons that were read together, and their labels."""

    rows: list[Row]
    """The frozen rows; they have `annotations` only where a format asks for the labels."""
    characters: list[int]
    """Length of the texts of each row, which stands for its size."""
    labeled: list[Labeled]
    labels: list[list[tuple[str, int, int | None]]]
    """For each row, its labels as (annotator, revision, preference)."""
    annotators: list[str]
    """Who gave each label, row after row."""
    moments: list[datetime]
    """When labels were given, row after row, without those of which only the time of their import is known."""
    verdicts: list[Row] = field(default_factory=list)
    """For each row, what the rules say of its responses; only where the selection asks for that."""


@dataclass
class Reader:
    """Read a selection inside the caller's transaction. `excluded` counts the comparisons left out, by reason."""

    connection: "psycopg.Connection[Any]"
    project_id: int
    selection: dict[str, Any]
    with_labels: bool
    excluded: dict[str, int] = field(default_factory=dict)
    guidelines: dict[int, int] = field(default_factory=dict)
    """Number by id of the guideline versions that labels were given under."""
    guideline_labels: Counter[int] = field(default_factory=Counter)
    """Labels by id of the guideline version."""
    _names: dict[int, str] = field(default_factory=dict)
    _prepared: dict[str, str] = field(default_factory=dict)
    _batches: set[datetime] = field(default_factory=set)
    """When batches of imports came in whose labels have no time of their own."""

    def __post_init__(self) -> None:
        self._splits = Splits(self.selection["splits"], self.selection["seed"])
        self._rules = self.selection.get(RULES)
        more, joins = (_VERDICTS, _VERDICTS_OF.format(scorer=int(self._rules["scorer"]))) if self._rules else ("", "")
        self._comparisons = _COMPARISONS.format(more=more, joins=joins)

    def chunks(self) -> Generator[Chunk]:
        """Yield the comparisons in the order of the bytes of their external ids, whatever language the database has.

        Close the iterator before the transaction ends: a thread may be reading ahead.
        """
        where, reason, values = _conditions(self.project_id, self.selection["filters"])
        self._count_excluded(where, reason, values)
        with (
            self._statements(),
            psycopg.ServerCursor(self.connection, f"snapshot_{token_hex(8)}") as ids,
            ThreadPoolExecutor(1, thread_name_prefix="snapshot-reader") as pool,
        ):
            # The next chunk is read ahead, and leaving early waits for it: the connection is not for two threads.
            ids.execute(
                f'SELECT c.id {where} AND ({reason}) IS NULL ORDER BY c.external_id COLLATE "C"',
                values,
            )
            with psycopg.Cursor(self.connection) as cursor:
                cursor.execute(_BY_INDEX)
            size = CHUNK
            ahead = pool.submit(self._fetch, ids, size)
            while (fetched := ahead.result()).rows:
                size = max(1, min(CHUNK, CHUNK_CHARACTERS // fetched.average()))
                ahead = pool.submit(self._fetch, ids, size)
                yield self._freeze(fetched)

    def _count_excluded(self, where: str, reason: str, values: dict[str, Any]) -> None:
        with psycopg.Cursor(self.connection) as cursor:
            cursor.execute("SET LOCAL jit = off")
            cursor.execute(f"SELECT {reason}, count(*) {where} GROUP BY 1", values)
            counted = dict(cursor.fetchall())
            cursor.execute("SELECT count(*) FROM prompts_comparison WHERE project_id = %s", [self.project_id])
            (everything,) = cursor.fetchone() or (0,)
        unlabeled = everything - sum(counted.values())
        self.excluded |= {"not labeled": unlabeled} if unlabeled else {}
        self.excluded |= {name: count for name, count in sorted(counted.items(), key=str) if name is not None}

    def _fetch(self, ids: "psycopg.ServerCursor[Any]", size: int) -> _Fetched:
        """Return the next comparisons with their labels; nothing is made of them yet, which is for the caller."""
        wanted = [pk for (pk,) in ids.fetchmany(size)]
        if not wanted:
            return _Fetched([], [])
        labels = self._ask(_LABELS_OF.format(more=_MORE if self.with_labels else ""), wanted)
        self._learn(labels)
        rows = {row[0]: row for row in self._ask(self._comparisons, wanted)}
        return _Fetched([rows[pk] for pk in wanted], labels)

    def _ask(self, query: str, wanted: list[int]) -> list[_Values]:
        """Return all rows of a query about comparisons, waiting for the last one in one call of libpq.

        A cursor takes the interpreter from the other thread for each block that arrives, several hundred times.
        """
        libpq = self.connection.pgconn
        if query not in self._prepared:
            name = self._prepared[query] = f"snapshot_{token_hex(8)}"
            _checked(libpq.prepare(name.encode(), query.encode()))
        ids = f"{{{','.join(map(str, wanted))}}}".encode()
        result = _checked(libpq.exec_prepared(self._prepared[query].encode(), [ids], result_format=Format.BINARY))
        transformer = Transformer(self.connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    @contextmanager
    def _statements(self) -> Iterator[None]:
        """Take what was prepared from the connection again, unless it is of no use any more."""
        try:
            yield
        finally:
            if self.connection.info.transaction_status == TransactionStatus.INTRANS:
                with psycopg.Cursor(self.connection) as cursor:
                    for name in self._prepared.values():
                        cursor.execute(f"DEALLOCATE {name}")
            self._prepared.clear()

    def _learn(self, labels: list[_Values]) -> None:
        """Look up names of annotators, numbers of guideline versions and times of imports that were not met before."""
        people = {label[2] for label in labels} - self._names.keys()
        if people:
            self._names.update(self._ask(_NAMES_OF, list(people)))
        self.guideline_labels.update([label[7] for label in labels])
        versions = self.guideline_labels.keys() - self.guidelines.keys()
        if versions:
            self.guidelines.update(self._ask(_GUIDELINES_OF, list(versions)))
        lease_at = {label[8]: label[9] for label in labels if label[5]}  # one of each moment will do
        if moments := lease_at.keys() - self._batches:
            came_in = {moment for (moment,) in self._ask(_LEASES_OF, [lease_at[moment] for moment in moments])}
            self._batches |= moments & came_in

    def _is_undated(self, label: _Values) -> bool:
        """Say whether nothing is known of when a label was given but that it came in with an import."""
        return bool(label[5]) and label[8] in self._batches

    def _freeze(self, fetched: _Fetched) -> Chunk:
        labels_of: dict[int, list[_Values]] = {row[0]: [] for row in fetched.rows}
        for label in fetched.labels:
            labels_of[label[0]].append(label)
        names = self._names
        chunk = Chunk(
            [],
            [],
            [],
            [],
            [names[label[2]] for label in fetched.labels],
            [label[8] for label in fetched.labels if not self._is_undated(label)],
        )
        for row in fetched.rows:
            self._append(chunk, row, labels_of[row[0]])
        return chunk

    def _append(self, chunk: Chunk, row: _Values, labels: list[_Values]) -> None:
        (_pk, external_id, prompt_hash, messages, text_1, model_1, text_2, model_2, reference, metadata) = row[:10]
        gold, preference, status, excluded_reason, spread, rule, kept = row[10:17]
        names, kept_ids = self._names, orjson.loads(kept)
        first, second = len(text_1), len(text_2)
        frozen: Row = {
            "external_id": external_id,
            "split": self._splits.of(prompt_hash),
            "prompt_hash": prompt_hash,
            "messages": orjson.loads(messages),
            "responses": [{"text": text_1, "model": model_1 or None}, {"text": text_2, "model": model_2 or None}],
            "reference": reference or None,
            "metadata": json.loads(metadata) if metadata != "{}" else {},
            "gold": gold,
            "consensus": {
                "preference": "neither" if status == "neither" else preference,
                "status": status,
                "excluded_reason": excluded_reason or None,
                "spread": spread,
                "rule": rule,
            },
        }
        characters = len(messages) + first + second + len(reference) + len(metadata)
        if self.with_labels:
            frozen["annotations"] = [self._annotation(label, label[1] in kept_ids) for label in labels]
            characters += sum([len(label[12]) for label in labels])
        votes = tuple([_vote(label[3], label[1] in kept_ids, label[4], label[5]) for label in labels])
        longer = None if first == second else second > first
        if self._rules:
            chunk.verdicts.append(_verdicts(frozen, self._rules["version"], row[17:]))
        chunk.rows.append(frozen)
        chunk.characters.append(characters)
        chunk.labeled.append(Labeled(votes, status, preference, longer))
        chunk.labels.append([(names[label[2]], label[6], label[3]) for label in labels])

    def _annotation(self, label: _Values, kept: bool) -> Row:
        (_comparison, _pk, annotator, preference, swapped, imported, revision, guideline, moment) = label[:9]
        ratings_1, ratings_2, justification, problems_1, problems_2 = label[10:15]
        confidence, seconds, pasted, stated, propensity = label[15:]
        return {
            "annotator": self._names[annotator],
            "preference": "neither" if preference is None else preference,
            "ratings": [orjson.loads(ratings_1), orjson.loads(ratings_2)],
            "justification": justification,
            "shown_order": [2, 1] if swapped else [1, 2],
            "kept": kept,
            "revision": revision,
            "imported": imported,
            "guideline_version": stated or self.guidelines[guideline],
            "problems": [orjson.loads(problems_1), orjson.loads(problems_2)],
            "confidence": confidence,
            "active_seconds": seconds,
            "paste_share": None if pasted is None else min(1.0, pasted / max(1, len(justification))),
            "propensity": propensity,
            "submitted_at": None if self._is_undated(label) else moment.isoformat().replace("+00:00", "Z"),
        }


def _checked(result: PGresult) -> PGresult:
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        raise psycopg.errors.error_from_result(result)
    return result


def _verdicts(row: Row, version: int, found: _Values) -> Row:
    """Return a row of what rules say; `found` has score and verdicts of both responses, null where there are none."""
    return {
        "external_id": row["external_id"],
        "split": row["split"],
        "prompt_hash": row["prompt_hash"],
        "preference": row["consensus"]["preference"],
        "rule_set": version,
        "responses": [_verdicts_on(*found[:2]), _verdicts_on(*found[2:])],
    }


def _verdicts_on(score: float | None, parts: str | None) -> Row | None:
    if score is None or parts is None:
        return None
    said = orjson.loads(parts)
    # Scores from before unreadable verdicts were counted apart have none of them.
    return {"score": score, **{verdict: said.get(verdict, []) for verdict in VERDICTS}}


def _conditions(project_id: int, filters: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return the labeled comparisons as SQL, why one of them is left out (NULL where it is not), and the values."""
    strength, agreement = filters.get("strength", {}), filters.get("agreement", {})
    submitted, source = filters.get("submitted", {}), filters.get("source")
    tests: list[tuple[bool, str, str]] = [
        ("state" in filters, "other state", "q.state = ANY(%(state)s)"),
        ("domain" in filters, "other domain", "c.metadata ->> 'domain' = ANY(%(domain)s)"),
        ("consensus_rule" in filters, "other consensus rule", "k.rule = ANY(%(consensus_rule)s)"),
        ("status" in agreement, "other consensus status", "k.status = ANY(%(status)s)"),
        ("max_spread" in agreement, "spread above the limit asked for", "k.spread <= %(max_spread)s"),
        (bool(strength), "strength not asked for", "abs(k.preference) BETWEEN %(min)s AND %(max)s"),
        ("from" in submitted, "newest label before the period", "labels.newest >= %(from)s::timestamptz"),
        ("to" in submitted, "newest label after the period", "labels.newest < %(to)s::timestamptz"),
        ("guideline_version" in filters, "labels of other guideline versions", "labels.guideline_fits"),
        (source == PEOPLE, "imported labels", "NOT labels.some_imported"),
        (source not in (None, PEOPLE), "labels that people gave here", "labels.all_imported"),
    ]
    asked = [(name, condition) for is_asked, name, condition in tests if is_asked]
    reason = " ".join(f"WHEN ({condition}) IS NOT TRUE THEN '{name}'" for name, condition in asked)
    joins = []
    if "state" in filters:
        joins.append("LEFT JOIN labeling_queueitem AS q ON q.comparison_id = c.id")
    if submitted or source or "guideline_version" in filters:
        joins.append(_LABELS)
    values = {
        "project": project_id,
        **{name: filters.get(name) for name in ("state", "domain", "consensus_rule")},
        "guideline_version": filters.get("guideline_version", []),
        "status": agreement.get("status"),
        "max_spread": agreement.get("max_spread"),
        "min": strength.get("min", 0),
        "max": strength.get("max", 3),
        **{name: submitted.get(name) for name in ("from", "to")},
    }
    where = _LABELED.format(joins="\n".join(joins))
    return where, f"CASE {reason} END" if asked else "NULL::text", values
