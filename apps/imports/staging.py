"""Store a batch: COPY it into temporary tables, merge those into the real ones in one statement.

Ids are drawn from the sequences beforehand, so that no row is looked up again by its hash. The caller holds the lock
of the project: two imports of the same rows come one after the other, and nothing can have come in between.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.db import connection, models

from apps.imports.rows import ImportedPair
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem
from apps.prompts.models import Comparison, Prompt, Response

_TABLES = {
    "staged_prompt": "id bigint, messages jsonb, content_hash text",
    "staged_response": "id bigint, prompt_id bigint, text text, model text, content_hash text",
    "staged_comparison": "id bigint, prompt_id bigint, response_1_id bigint, response_2_id bigint, external_id text,"
    " reference text, metadata jsonb, gold smallint, state text, wanted smallint, taken smallint",
    "staged_change": "id bigint, prompt_id bigint, response_1_id bigint, response_2_id bigint, reference text,"
    " metadata jsonb, gold smallint",
    "staged_label": "id bigint, assignment_id bigint, comparison_id bigint, annotator_id bigint, neither boolean,"
    " preference smallint, ratings_1 jsonb, ratings_2 jsonb, justification text, active_seconds integer,"
    " answer_hash text, swapped boolean, problems_1 jsonb, problems_2 jsonb, unsafe boolean, confidence smallint,"
    " pasted_characters integer, submitted_at timestamptz",
    "staged_consensus": "comparison_id bigint, status text, preference smallint, excluded_reason text, spread smallint,"
    " kept jsonb, annotation_count smallint, rule text, settled boolean",
}


@dataclass
class Staged:
    """Rows of one batch, in the columns of the temporary tables."""

    prompts: list[Sequence[Any]] = field(default_factory=list)
    responses: list[Sequence[Any]] = field(default_factory=list)
    comparisons: list[Sequence[Any]] = field(default_factory=list)
    changes: list[Sequence[Any]] = field(default_factory=list)
    labels: list[Sequence[Any]] = field(default_factory=list)
    consensus: list[Sequence[Any]] = field(default_factory=list)


def draw_ids(model: type[models.Model], count: int) -> list[int]:
    """Take so many ids from a table's sequence (one query)."""
    if not count:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            # OFFSET 0: the name is looked up once, not once a row.
            "SELECT nextval(named.sequence) FROM generate_series(1, %s),"
            " (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS sequence OFFSET 0) AS named",
            [count, model._meta.db_table],
        )
        return [row[0] for row in cursor.fetchall()]


def merge(
    staged: Staged,
    *,
    project_id: int,
    guideline_id: int,
    import_number: int | None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Store everything that is staged (one COPY per table that has rows, one or two statements).

    `meanwhile` is called when everything is sent, before the wait for what the database makes of it.
    """
    filled = {
        table: rows
        for table, rows in zip(
            _TABLES,
            (
                staged.prompts,
                staged.responses,
                staged.comparisons,
                staged.changes,
                staged.labels,
                staged.consensus,
            ),
            strict=True,
        )
        if rows
    }
    if not filled:
        return
    with connection.cursor() as cursor:
        for table, columns in _TABLES.items():
            cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {table} ({columns})")
        cursor.execute(f"TRUNCATE {', '.join(_TABLES)}")
        for table, rows in filled.items():
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        values = {"project": project_id, "guideline": guideline_id, "import": import_number}
        meanwhile()
        inserts = [name for name in _INSERTS if name in filled or (name == "items" and staged.comparisons)]
        inserts += ["assignments"] if staged.labels else []
        if inserts:
            *first, last = [_insert(name) for name in inserts]
            named = ", ".join(f"stored_{number} AS ({statement})" for number, statement in enumerate(first))
            cursor.execute(f"{'WITH ' if named else ''}{named} {last}", {**values, **_defaults()})
        if staged.changes:
            cursor.execute(_CHANGE, values)


def write_findings(rows: Iterable[Sequence[Any]]) -> None:
    """COPY findings: source, line, kind, field, reason, external id."""
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY imports_finding (source_id, line, kind, field, reason, external_id) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


@dataclass(frozen=True, slots=True)
class Known:
    """A comparison that is stored already; `content` compares with that of an `ImportedPair`."""

    id: int
    content: tuple[Any, ...]
    responses: tuple[int, int]

    def differs(self, pair: ImportedPair) -> bool:
        """Say whether a row of the same id has another content."""
        return self.content != pair.content


def known_comparisons(project_id: int, external_ids: list[str]) -> dict[str, Known]:
    """Return the comparisons with these external ids (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN_COMPARISONS, [project_id, external_ids])
        return {
            row[0]: Known(
                row[1], (*row[2:6], row[6] if isinstance(row[6], dict) else json.loads(row[6]), row[7]), row[8:]
            )
            for row in cursor.fetchall()
        }


def known_prompts(project_id: int, hashes: Collection[str]) -> dict[str, int]:
    """Return the ids of the prompts that are stored already, by their hash (one query, none without hashes)."""
    if not hashes:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN_PROMPTS, [project_id, list(hashes)])
        return dict(cursor.fetchall())


def known_responses(wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Return the ids of responses that are stored already, by prompt and hash (one query, none without any wanted)."""
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN_RESPONSES, [[prompt for prompt, _ in wanted], [text for _, text in wanted]])
        return {(prompt, text): pk for prompt, text, pk in cursor.fetchall()}


# Arrays, where the ORM would write two thousand parameters: that takes longer than the query.
_KNOWN_COMPARISONS = """
SELECT stored.external_id, stored.id, prompt.content_hash, first.content_hash, second.content_hash, stored.reference,
    stored.metadata, stored.gold, first.id, second.id
FROM prompts_comparison AS stored
JOIN prompts_prompt AS prompt ON prompt.id = stored.prompt_id
JOIN prompts_response AS first ON first.id = stored.response_1_id
JOIN prompts_response AS second ON second.id = stored.response_2_id
WHERE stored.project_id = %s AND stored.external_id = ANY(%s)
"""
_KNOWN_PROMPTS = "SELECT content_hash, id FROM prompts_prompt WHERE project_id = %s AND content_hash = ANY(%s)"
_KNOWN_RESPONSES = """
SELECT prompt_id, content_hash, id FROM prompts_response
JOIN unnest(%s::bigint[], %s::text[]) AS wanted(prompt_id, content_hash) USING (prompt_id, content_hash)
"""
# Table → the model it fills, and the columns that the staging table, or the import, says something about.
_INSERTS: dict[str, tuple[type[models.Model], str, Mapping[str, str]]] = {
    "staged_prompt": (
        Prompt,
        "staged_prompt",
        {"id": "id", "project_id": "%(project)s", "messages": "messages", "content_hash": "content_hash"},
    ),
    "staged_response": (
        Response,
        "staged_response",
        {"id": "id", "prompt_id": "prompt_id", "text": "text", "model": "model", "content_hash": "content_hash"},
    ),
    "staged_comparison": (
        Comparison,
        "staged_comparison",
        {
            "project_id": "%(project)s",
            "import_number": "%(import)s",
            **{
                name: name
                for name in (
                    "id",
                    "prompt_id",
                    "response_1_id",
                    "response_2_id",
                    "external_id",
                    "reference",
                    "metadata",
                    "gold",
                )
            },
        },
    ),
    "items": (
        QueueItem,
        "staged_comparison",
        {
            "comparison_id": "id",
            "project_id": "%(project)s",
            "state": "state",
            "wanted": "wanted",
            "taken": "taken",
            "shuffle_key": "random()",
        },
    ),
    "assignments": (
        Assignment,
        "staged_label",
        {
            "id": "assignment_id",
            "project_id": "%(project)s",
            "comparison_id": "comparison_id",
            "annotator_id": "annotator_id",
            "state": "'submitted'",
            "swapped": "swapped",
            "drawn": "'imported'",
            "guideline_version_id": "%(guideline)s",
            "lease_expires_at": "now()",
        },
    ),
    "staged_label": (
        Annotation,
        "staged_label",
        {
            "project_id": "%(project)s",
            "guideline_version_id": "%(guideline)s",
            "imported": "true",
            "submitted_at": "coalesce(submitted_at, now())",
            **{
                name: name
                for name in (
                    "id",
                    "assignment_id",
                    "comparison_id",
                    "annotator_id",
                    "neither",
                    "preference",
                    "ratings_1",
                    "ratings_2",
                    "justification",
                    "active_seconds",
                    "answer_hash",
                    "swapped",
                    "problems_1",
                    "problems_2",
                    "unsafe",
                    "confidence",
                    "pasted_characters",
                )
            },
        },
    ),
    "staged_consensus": (
        Consensus,
        "staged_consensus",
        {
            "project_id": "%(project)s",
            "settled_at": "CASE WHEN settled THEN now() END",
            **{
                name: name
                for name in (
                    "comparison_id",
                    "status",
                    "preference",
                    "excluded_reason",
                    "spread",
                    "kept",
                    "annotation_count",
                    "rule",
                )
            },
        },
    ),
}
_CHANGE = """
UPDATE prompts_comparison AS stored SET prompt_id = staged.prompt_id, response_1_id = staged.response_1_id,
    response_2_id = staged.response_2_id, reference = staged.reference, metadata = staged.metadata, gold = staged.gold
FROM staged_change AS staged WHERE stored.id = staged.id
"""


@cache
def _insert(name: str) -> str:
    """Return the statement that fills a table; columns it says nothing about get their model's default."""
    model, source, given = _INSERTS[name]
    columns, values = [], []
    for column in model._meta.concrete_fields:
        if column.attname in given:
            value = given[column.attname]
        elif getattr(column, "auto_now_add", False) or getattr(column, "auto_now", False):
            value = "now()"
        else:
            value = f"%({_default_name(model, column)})s::{column.db_type(connection)}"
        columns.append(connection.ops.quote_name(str(column.column)))
        values.append(value)
    table = connection.ops.quote_name(model._meta.db_table)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {source}"  # noqa: S608  (names of ours)


def _defaults() -> dict[str, Any]:
    """Return the defaults of the columns that no import says anything about, as the database takes them."""
    return {
        _default_name(model, column): column.get_db_prep_save(column.get_default(), connection)
        for model, _, given in _INSERTS.values()
        for column in model._meta.concrete_fields
        if column.attname not in given
    }


def _default_name(model: type[models.Model], column: Any) -> str:
    return f"{model._meta.model_name}_{column.attname}"
