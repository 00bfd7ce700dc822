"""Rows of several models by one statement that is written once, for what every request asks.

Django builds and compiles each query anew. For a join of two models that takes the web process about a millisecond,
several times what PostgreSQL needs to answer. Where every request passes, the statement stands as text instead.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model

Row = TypeVar("Row", bound=Model)


class Columns(Generic[Row]):
    """The columns of a model in a statement, under an alias, and the way from their values to a row.

    Without `names`, all of them; a field that is left out is loaded when somebody asks for it, as after `defer`.
    """

    def __init__(self, model: type[Row], alias: str, *names: str) -> None:
        fields = [field for field in model._meta.concrete_fields if not names or field.attname in names]
        self._model, self._names = model, [field.attname for field in fields]
        self._sql = ", ".join(f'{alias}."{field.column}"' for field in fields)
        self._converters = [getattr(field, "from_db_value", None) for field in fields]

    def __str__(self) -> str:
        return self._sql

    def __len__(self) -> int:
        return len(self._names)

    def row(self, values: Sequence[Any]) -> Row:
        """Return the row with these values, in the order of the columns."""
        converted = [
            value if convert is None else convert(value, None, connection)
            for convert, value in zip(self._converters, values, strict=True)
        ]
        return self._model.from_db(DEFAULT_DB_ALIAS, self._names, converted)


def fetch_row(statement: str, values: Mapping[str, Any], *columns: Columns[Any]) -> list[Any] | None:
    """Return what the first row that a statement yields holds of each model, or None (one query).

    The statement selects these columns, in this order: `f"SELECT {MEMBERSHIP}, {PROJECT} FROM …"`.
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        fetched = cursor.fetchone()
    if fetched is None:
        return None
    rows, start = [], 0
    for each in columns:
        rows.append(each.row(fetched[start : start + len(each)]))
        start += len(each)
    return rows
