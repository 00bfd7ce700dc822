"""The rows a snapshot freezes: every labeled comparison of a selection, canonical and complete, in constant memory.

Raw SQL on one connection, chunk by chunk: no model object per row. While one chunk is converted and written, a thread
reads the next one, so that PostgreSQL and Python work at the same time.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import orjson
import psycopg

from apps.exports.selection import PEOPLE
from worker.core.datacard import Vote
from worker.core.splits import split_of

Row = dict[str, Any]
CHUNK = 1000
CHUNK_CHARACTERS = 16_000_000
"""Text that a chunk should not exceed by much: the next one is made smaller when rows are long."""

_LABELED = """
    FROM prompts_comparison AS c
    JOIN labeling_consensus AS k ON k.comparison_id = c.id
    {joins}
    WHERE c.project_id = %(project)s AND {labeled}
"""
_EXISTS = """EXISTS (SELECT FROM labeling_annotation AS a
    WHERE a.comparison_id = c.id AND a.is_current AND NOT a.is_repeat)"""
_LABELS = """JOIN (
        SELECT comparison_id, max(submitted_at) AS newest, bool_or(imported) AS some_imported,
            bool_and(imported) AS all_imported, bool_and(g.number = ANY(%(guideline_version)s)) AS guideline_fits
        FROM labeling_annotation AS a JOIN projects_guidelineversion AS g ON g.id = a.guideline_version_id
        WHERE a.project_id = %(project)s AND a.is_current AND NOT a.is_repeat GROUP BY comparison_id
    ) AS labels ON labels.comparison_id = c.id"""
_COMPARISONS = """
    SELECT c.id, c.external_id, p.content_hash, p.messages::text, r1.text, r1.model, r2.text, r2.model, c.reference,
        c.metadata::text, c.gold, k.preference, k.status, k.excluded_reason, k.spread, k.rule, k.kept::text
    FROM prompts_comparison AS c
    JOIN prompts_prompt AS p ON p.id = c.prompt_id
    JOIN prompts_response AS r1 ON r1.id = c.response_1_id
    JOIN prompts_response AS r2 ON r2.id = c.response_2_id
    JOIN labeling_consensus AS k ON k.comparison_id = c.id
    WHERE c.id = ANY(%s)"""
_VOTES = """
    SELECT a.comparison_id, a.id, a.annotator_id, a.neither, a.preference, a.swapped, a.imported, a.revision,
        a.guideline_version_id, a.submitted_at{more}
    FROM labeling_annotation AS a
    WHERE a.comparison_id = ANY(%s) AND a.is_current AND NOT a.is_repeat
    ORDER BY a.comparison_id, a.submitted_at, a.id"""
_MORE = """, a.ratings_1::text, a.ratings_2::text, a.justification, a.problems_1::text, a.problems_2::text,
        a.confidence, a.active_seconds, a.pasted_characters,
        (SELECT lease.propensity FROM labeling_assignment AS lease WHERE lease.id = a.assignment_id)"""


@dataclass(frozen=True)
class Frozen:
    """One comparison as it is frozen; `row` has `annotations` only where a format asks for the labels."""

    row: Row
    votes: list[Vote]
    characters: int
    """Length of its texts, which stands for its size."""


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

    def chunks(self) -> Generator[list[Frozen]]:
        """Yield the comparisons in the order of the bytes of their external ids, whatever language the database has.

        Close the iterator before the transaction ends: a thread may be reading ahead.
        """
        where, reason, values = _conditions(self.project_id, self.selection["filters"])
        self._count_excluded(where, reason, values)
        with (
            psycopg.ServerCursor(self.connection, f"snapshot_{token_hex(8)}") as ids,
            ThreadPoolExecutor(1, thread_name_prefix="snapshot-reader") as pool,
        ):
            # The next chunk is read ahead, and leaving early waits for it: the connection is not for two threads.
            ids.execute(
                f'SELECT c.id {where} AND ({reason}) IS NULL ORDER BY c.external_id COLLATE "C"',
                values,
            )
            size = CHUNK
            ahead = pool.submit(self._chunk, ids, size)
            while chunk := ahead.result():
                average = sum(frozen.characters for frozen in chunk) // len(chunk) + 1
                size = max(1, min(CHUNK, CHUNK_CHARACTERS // average))
                ahead = pool.submit(self._chunk, ids, size)
                yield chunk

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

    def _chunk(self, ids: "psycopg.ServerCursor[Any]", size: int) -> list[Frozen]:
        wanted = [pk for (pk,) in ids.fetchmany(size)]
        if not wanted:
            return []
        with psycopg.Cursor(self.connection) as cursor:
            labels = _VOTES.format(more=_MORE if self.with_labels else "")
            votes: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
            for vote in cursor.execute(labels, [wanted], binary=True):
                votes[vote[0]].append(vote)
            self._learn(cursor, votes)
            rows = {row[0]: row for row in cursor.execute(_COMPARISONS, [wanted], binary=True)}
        return [self._frozen(rows[pk], votes[pk]) for pk in wanted]

    def _learn(self, cursor: "psycopg.Cursor[Any]", votes: dict[int, list[tuple[Any, ...]]]) -> None:
        """Look up the names of annotators and the numbers of guideline versions that were not met before."""
        people = {vote[2] for group in votes.values() for vote in group} - self._names.keys()
        if people:
            cursor.execute(
                "SELECT id, coalesce(nullif(imported_name, ''), username) FROM accounts_user WHERE id = ANY(%s)",
                [list(people)],
            )
            self._names.update(cursor.fetchall())
        self.guideline_labels.update(vote[8] for group in votes.values() for vote in group)
        versions = self.guideline_labels.keys() - self.guidelines.keys()
        if versions:
            cursor.execute("SELECT id, number FROM projects_guidelineversion WHERE id = ANY(%s)", [list(versions)])
            self.guidelines.update(cursor.fetchall())

    def _frozen(self, row: tuple[Any, ...], labels: list[tuple[Any, ...]]) -> Frozen:
        (_pk, external_id, prompt_hash, messages, text_1, model_1, text_2, model_2, reference, metadata) = row[:10]
        gold, preference, status, excluded_reason, spread, rule, kept = row[10:]
        names = self._names
        kept_ids = set(orjson.loads(kept))
        votes = [
            Vote(names[annotator], None if neither else value, pk in kept_ids, swapped, imported, revision, moment)
            for _, pk, annotator, neither, value, swapped, imported, revision, _, moment, *_ in labels
        ]
        frozen: Row = {
            "external_id": external_id,
            "split": split_of(prompt_hash, self.selection["splits"], self.selection["seed"]),
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
        characters = len(messages) + len(text_1) + len(text_2) + len(reference) + len(metadata)
        if self.with_labels:
            frozen["annotations"] = [self._annotation(vote, label) for vote, label in zip(votes, labels, strict=True)]
            characters += sum(len(label[12]) for label in labels)
        return Frozen(frozen, votes, characters)

    def _annotation(self, vote: Vote, label: tuple[Any, ...]) -> Row:
        ratings_1, ratings_2, justification, problems_1, problems_2, confidence, seconds, pasted, propensity = label[
            10:
        ]
        return {
            "annotator": vote.annotator,
            "preference": "neither" if vote.preference is None else vote.preference,
            "ratings": [json.loads(ratings_1), json.loads(ratings_2)],
            "justification": justification,
            "shown_order": [2, 1] if vote.swapped else [1, 2],
            "kept": vote.kept,
            "revision": vote.revision,
            "imported": vote.imported,
            "guideline_version": self.guidelines[label[8]],
            "problems": [json.loads(problems_1), json.loads(problems_2)],
            "confidence": confidence,
            "active_seconds": seconds,
            "paste_share": None if pasted is None else min(1.0, pasted / max(1, len(justification))),
            "propensity": propensity,
            "submitted_at": vote.submitted_at.isoformat().replace("+00:00", "Z"),
        }


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
    where = _LABELED.format(joins="\n".join(joins), labeled="true" if _LABELS in joins else _EXISTS)
    return where, f"CASE {reason} END" if asked else "NULL::text", values
