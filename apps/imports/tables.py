"""Store the rows of a batch: COPY takes them straight into their tables, in its binary form.

Ids are drawn from the sequences beforehand, so that no row is looked up again by its hash. The caller holds the lock
of the project: two imports of the same rows come one after the other, and nothing can have come in between. Every
constraint of the tables holds as for any other row; foreign keys are checked when the transaction commits.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from django.db import connection, models
from django.utils import timezone
from psycopg.types.json import set_json_dumps

from apps.imports.known import fetch
from apps.imports.models import Finding
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem
from apps.prompts.models import Comparison, Prompt, Response, canonical_json

Row = Sequence[Any]
"""Values in the order of the columns; JSON is spelled already."""
_COLUMNS: dict[str, tuple[type[models.Model], tuple[str, ...]]] = {
    "prompts": (Prompt, ("id", "messages", "content_hash")),
    "responses": (Response, ("id", "prompt_id", "text", "content_hash")),
    "comparisons": (
        Comparison,
        (
            "id",
            "prompt_id",
            "response_1_id",
            "response_2_id",
            "external_id",
            "reference",
            "metadata",
            "gold",
            "model_1",
            "model_2",
        ),
    ),
    "items": (QueueItem, ("comparison_id", "state", "wanted", "taken", "shuffle_key")),
    "assignments": (Assignment, ("id", "comparison_id", "annotator_id", "swapped")),
    "annotations": (
        Annotation,
        (
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
            "submitted_at",
            "stated_guideline_version",
        ),
    ),
    "consensus": (
        Consensus,
        (
            "comparison_id",
            "status",
            "preference",
            "excluded_reason",
            "spread",
            "kept",
            "annotation_count",
            "rule",
            "settled_at",
        ),
    ),
}
"""Field of `NewRows` → the model whose rows they are, and the columns that each row has a value for."""


@dataclass
class NewRows:
    """What a batch adds, in the order in which tables are filled, and the comparisons that it changes."""

    now: datetime = field(default_factory=timezone.now)
    prompts: list[Row] = field(default_factory=list)
    responses: list[Row] = field(default_factory=list)
    comparisons: list[Row] = field(default_factory=list)
    items: list[Row] = field(default_factory=list)
    assignments: list[Row] = field(default_factory=list)
    annotations: list[Row] = field(default_factory=list)
    consensus: list[Row] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)
    """Id, prompt, responses, reference, metadata, gold, models."""


def draw_ids(model: type[models.Model], count: int) -> list[int]:
    """Take so many ids from a table's sequence (one query)."""
    if not count:
        return []
    rows = fetch(
        # OFFSET 0: the name is looked up once, not once a row.
        "SELECT nextval(named.sequence) FROM generate_series(1, %s),"
        " (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS sequence OFFSET 0) AS named",
        [count, model._meta.db_table],
    )
    return [pk for (pk,) in rows]


class Ids:
    """Ids of new rows, drawn ahead by a thread that commits one batch while the next is decided."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stock: dict[type[models.Model], list[int]] = {}
        self._last: dict[type[models.Model], int] = {}

    def draw(self, model: type[models.Model], count: int) -> list[int]:
        """Take so many ids (one query where the stock has less)."""
        with self._lock:
            stock = self._stock.get(model, [])
            self._last[model], self._stock[model] = count, stock[count:]
            return stock[:count] + draw_ids(model, max(0, count - len(stock)))

    def stock_up(self) -> None:
        """Draw as many ids ahead as the last batch took (one query a table); those of a file's end are never used."""
        with self._lock:
            for model, count in self._last.items():
                self._stock[model] += draw_ids(model, max(0, count - len(self._stock[model])))


def store(rows: NewRows, *, project_id: int, guideline_id: int, import_number: int | None) -> None:
    """Store everything (one COPY per table that gets rows, and one statement for changes)."""
    same_for_all = {
        "project_id": project_id,
        "import_number": import_number,
        "guideline_version_id": guideline_id,
        "imported": True,
        "drawn": "imported",
        "lease_expires_at": rows.now,
    }
    for name, (model, columns) in _COLUMNS.items():
        others = {column.attname for column in model._meta.concrete_fields} - set(columns)
        same = {column: value for column, value in same_for_all.items() if column in others}
        if model is Assignment:
            same["state"] = Assignment.State.SUBMITTED
        copy_rows(model, columns, getattr(rows, name), now=rows.now, **same)
    if rows.changes:
        with connection.cursor() as cursor:
            cursor.execute(_CHANGE, [list(values) for values in zip(*rows.changes, strict=True)])


def write_findings(rows: Iterable[Row]) -> None:
    """COPY findings: source, line, kind, field, reason, external id."""
    copy_rows(Finding, ("source_id", "line", "kind", "field", "reason", "external_id"), list(rows))


def copy_rows(
    model: type[models.Model],
    columns: tuple[str, ...],
    rows: Sequence[Row],
    *,
    now: datetime | None = None,
    **same: Any,
) -> None:
    """COPY rows into a model's table; `same` is said of all, and columns nothing is said of get their model's default.

    Binary: text would be escaped here, read sign by sign there, and cost both sides twice as much.
    """
    if not rows:
        return
    statement, types, defaults = _copy_statement(model, columns, tuple(same))
    rest = (*same.values(), *((now or timezone.now()) if value is _NOW else value for value in defaults))
    with connection.wrap_database_errors, connection.cursor() as cursor:
        set_json_dumps(_as_spelled, cursor.cursor)
        with cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row((*row, *rest))


_CHANGE = """
UPDATE prompts_comparison AS stored SET prompt_id = changed.prompt_id, response_1_id = changed.response_1_id,
    response_2_id = changed.response_2_id, reference = changed.reference, metadata = changed.metadata::jsonb,
    gold = changed.gold, model_1 = changed.model_1, model_2 = changed.model_2
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::smallint[],
        %s::text[], %s::text[])
    AS changed(id, prompt_id, response_1_id, response_2_id, reference, metadata, gold, model_1, model_2)
WHERE stored.id = changed.id
"""
_NOW = object()


@cache
def _copy_statement(
    model: type[models.Model], columns: tuple[str, ...], same: tuple[str, ...]
) -> tuple[str, list[str], list[Any]]:
    """Return the COPY of a table, the types of its columns, and the values of those that nothing is said of."""
    fields = {column.attname: column for column in model._meta.concrete_fields}
    others = [name for name, column in fields.items() if name not in {*columns, *same} and not _is_drawn(column)]
    named = (*columns, *same, *others)
    quoted = ", ".join(connection.ops.quote_name(str(fields[name].column)) for name in named)
    table = connection.ops.quote_name(model._meta.db_table)
    types = [str(fields[name].db_type(connection)).partition("(")[0] for name in named]
    return f"COPY {table} ({quoted}) FROM STDIN (FORMAT BINARY)", types, [_default(fields[name]) for name in others]


def _is_drawn(column: Any) -> bool:
    """Say whether the database numbers the rows itself."""
    return isinstance(column, models.AutoField)


def _default(column: Any) -> Any:
    if getattr(column, "auto_now_add", False) or getattr(column, "auto_now", False):
        return _NOW
    value = column.get_default()
    return canonical_json(value) if isinstance(column, models.JSONField) and value is not None else value


def _as_spelled(spelled: str) -> str:
    """Return JSON that is spelled already as it is."""
    return spelled
