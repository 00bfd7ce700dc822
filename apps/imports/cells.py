"""What the cells of a CSV file mean: each is a text, but where its column needs a number, a list or an object."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

import orjson

from apps.imports.conversations import Row, are_messages
from apps.imports.json_text import loads
from apps.imports.rows import BadRow

Meaning = Callable[[str], Any]
_WHOLE = re.compile(r"[+-]?\d{1,300}(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


class Cells(dict[str, Any]):
    """A row of a CSV file: the text of each cell by its column, None for an empty one."""

    ours = False
    """Whether one of our exports wrote the row, as it stands."""


def number(cell: str) -> int | float | str:
    """Return the number that a text is, a whole one where it has no fraction; the text where it is none."""
    said = cell.strip()
    if _WHOLE.fullmatch(said):
        return int(said.partition(".")[0])
    value = float(said) if _NUMBER.fullmatch(said) else None
    return cell if value is None or not isfinite(value) else value


def structure(cell: str) -> Any:
    """Return the list or object that a text is in JSON, or the text; raise BadRow for one that cannot be stored."""
    if not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        return loads(cell.encode())
    except orjson.JSONDecodeError:
        return cell


def rating(cell: str) -> Any:
    """Return a number, or a list of them."""
    return structure(cell) if cell.startswith("[") else number(cell)


def turns(cell: str) -> Any:
    """Return the messages that a text is in JSON, or the text."""
    value = structure(cell)
    return value if isinstance(value, list) and are_messages(value) else cell


def meant(cells: Cells, meanings: Mapping[str, Meaning]) -> Row:
    """Return the values of a row; cells of columns without a meaning of their own stay text."""
    return {name: meanings[name](cell) if cell and name in meanings else cell for name, cell in cells.items()}


def meant_by_sides(cells: Cells, meanings: Mapping[str, Meaning]) -> Row:
    """Return the values of a row that is text or messages: `chosen` and `rejected` are messages when both are."""
    row = meant(cells, meanings)
    sides = {side: turns(row.get(side) or "") for side in ("chosen", "rejected")}
    are_turns = all(isinstance(side, list) for side in sides.values())
    if are_turns:
        row |= sides
    if row.get("prompt") and (are_turns or not cells.ours):
        row["prompt"] = turns(row["prompt"])
    return row


def with_meaning(
    rows: Iterable[tuple[int, object]],
    read: Callable[[Cells, Mapping[str, Meaning]], Row],
    meanings: Mapping[str, Meaning],
) -> Iterator[tuple[int, object]]:
    """Yield rows, those of a CSV file as `read` has them, or a BadRow; others are what they are."""
    for line, row in rows:
        if isinstance(row, Cells):
            try:
                yield line, read(row, meanings)
            except BadRow as bad:
                yield line, bad
        else:
            yield line, row


STRUCTURES = dict.fromkeys(("messages", "responses", "pairs", "metadata", "annotations", "consensus"), structure)
"""Columns of our own import rows and `annotations` that hold lists or objects."""
