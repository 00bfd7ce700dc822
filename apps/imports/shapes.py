"""Recognise the rows of other datasets by their columns and turn them into import rows.

What makes import rows of a family of datasets stands in a module of its own: `helpsteer`, `chosen_rejected`, `mapping`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

from apps.core.errors import FieldError, InvalidInput
from apps.imports.cells import (
    STRUCTURES,
    Meaning,
    meant,
    meant_by_sides,
    number,
    rating,
    structure,
    turns,
    with_meaning,
)
from apps.imports.chosen_rejected import reward_bench, trl_preference
from apps.imports.conversations import Row
from apps.imports.helpsteer import (
    HELPSTEER2_COLUMNS,
    HELPSTEER3_COLUMNS,
    RATINGS,
    helpsteer2_preference,
    helpsteer3_preference,
    rated_pair,
)
from apps.imports.ignored import watched
from apps.imports.mapping import called_by, columns_of, mapped
from apps.imports.rows import (
    MESSAGE_FIELDS,
    NATIVE_FIELDS,
    OUR_FIELDS,
    OUR_LABEL_FIELDS,
    RESPONSE_FIELDS,
    BadRow,
    ImportedPair,
    parse_row,
    storable,
)

Unit = tuple[int, list[ImportedPair] | BadRow]
PEEK_ROWS = 100


@dataclass(frozen=True)
class Shape:
    """How the rows of a dataset look: the columns that tell it, and what makes import rows of one."""

    name: str
    columns: frozenset[str]
    convert: Callable[[Row], list[Row]]
    called: Mapping[str, str]
    """What the fields of the import row are called in the source: messages name what people have before them."""
    reads: frozenset[str]
    """The columns of which something is made, or which say again what others say."""
    inside: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Columns that may be lists of objects → the keys that are read of those."""
    one_of: frozenset[str] = frozenset()
    cells: Mapping[str, Meaning] = field(default_factory=dict)
    """What the columns of a CSV file mean that are no text."""

    def fits(self, row: Row) -> bool:
        """Say whether the row has what tells this shape."""
        return self.columns <= row.keys() and (not self.one_of or not self.one_of.isdisjoint(row))


def pairs_of(
    rows: Iterable[tuple[int, object]],
    *,
    shape: str | None = None,
    mapping: Mapping[str, Any] | None = None,
    ignored: Counter[str] | None = None,
) -> Iterator[Unit]:
    """Yield (line, its comparisons or BadRow), by the named shape, a mapping, or what the columns tell.

    Counts the fields of the rows that nothing is made of in `ignored`.
    Raises InvalidInput that names the columns when the first hundred rows look like nothing that is known.
    """
    source = iter(rows)
    ignored = Counter() if ignored is None else ignored
    if mapping:
        columns = _shape_of_mapping(mapping)
        yield from _each(watched(source, columns.reads, columns.inside, ignored), columns)
        return
    known = SHAPES[ALIASES.get(shape, shape)] if shape else None
    waiting: list[tuple[int, object]] = []
    seen: list[Row] = []
    while known is None and len(seen) < PEEK_ROWS and (item := next(source, None)) is not None:
        waiting.append(item)
        if isinstance(item[1], dict):
            seen.append(item[1])
            known = shape_of(item[1])
    if known is None and seen:
        raise unknown_columns(seen)
    known = known or SHAPES["native"]
    all_rows = with_meaning(chain(waiting, source), meant_by_sides if "chosen" in known.columns else meant, known.cells)
    all_rows = watched(all_rows, known.reads, known.inside, ignored)
    yield from (_two_rows if known.name in TWO_ROWS else _each)(all_rows, known)


def shape_of(row: Row) -> Shape | None:
    """Return the first shape that a row fits."""
    return next((shape for shape in SHAPES.values() if shape.fits(row)), None) or (
        SHAPES["native"] if row and row.keys() <= set(NATIVE_FIELDS) else None
    )


def unknown_columns(rows: list[Row]) -> InvalidInput:
    """Return the error for rows that look like nothing that is known."""
    columns = sorted({name for row in rows for name in row})
    shown = ", ".join(name[:60] for name in columns[:30]) + (", …" if len(columns) > 30 else "")
    sentence = f"The columns fit no shape that is known. Seen: {shown or 'none'}. Known shapes: {', '.join(SHAPES)}."
    return InvalidInput(f"{sentence} Name one as the format, or map the columns.", [FieldError("/format", sentence)])


def _shape_of_mapping(mapping: Mapping[str, Any]) -> Shape:
    conversations = {str(mapping[name]) for name in ("messages", "response_1", "response_2") if name in mapping}
    kept = mapping.get("metadata") or []
    return Shape(
        "mapped",
        frozenset(),
        partial(_mapped, mapping=mapping),
        called_by(mapping),
        columns_of(mapping),
        dict.fromkeys(conversations.difference([kept] if isinstance(kept, str) else kept), MESSAGE_FIELDS),
    )


def _mapped(row: Row, mapping: Mapping[str, Any]) -> list[Row]:
    return [mapped(row, mapping)]


def _native(row: Row) -> list[Row]:
    return [row]


def as_json_lines(row: Row) -> Row:
    """Return a row of our own Parquet files, in which what may have any shape is text, as it is in JSON lines."""
    if not isinstance(row.get("metadata"), str):
        return row
    labels = row.get("annotations") or []
    read = {**row, "metadata": _read(row["metadata"], "/metadata")}
    if isinstance(labels, list):
        read["annotations"] = [_read_label(label, f"/annotations/{place}") for place, label in enumerate(labels)]
    checked = storable(read)
    if isinstance(checked, BadRow):
        raise checked
    return read


def _read_label(label: Any, pointer: str) -> Any:
    if not isinstance(label, dict):
        return label
    ratings, preference = label.get("ratings"), label.get("preference")
    if isinstance(ratings, list):
        ratings = [_read(side, f"{pointer}/ratings") for side in ratings]
    if isinstance(preference, str) and preference != "neither":
        preference = _read(preference, f"{pointer}/preference")
    return {**label, "ratings": ratings, "preference": preference}


def _read(value: Any, pointer: str) -> Any:
    """Return what a text says in JSON; other values are what they are."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise BadRow(pointer, "Expected JSON in this text.") from error


def _two_rows(rows: Iterable[tuple[int, object]], shape: Shape) -> Iterator[Unit]:
    """Join HelpSteer2's rating rows: two in a row with one prompt are a pair."""
    held: tuple[int, Row] | None = None
    for line, row in rows:
        if not isinstance(row, dict):
            if held is not None:
                yield held[0], BadRow("", "The second row of its pair cannot be read.")
                held = None
            yield line, row if isinstance(row, BadRow) else BadRow("", "A row must be a JSON object.")
        elif held is None:
            held = (line, row)
        elif held[1].get("prompt") != row.get("prompt"):
            yield held[0], BadRow("/prompt", "The next row has another prompt, so this response has no partner.")
            held = (line, row)
        else:
            yield held[0], _checked(row, replace(shape, convert=partial(rated_pair, held[1])))
            held = None
    if held is not None:
        yield held[0], BadRow("/prompt", "The last row has no partner.")


_SIDES = {"/responses/0/text": "/chosen", "/responses/1/text": "/rejected", "/responses/1": "/rejected"}
_SIDES |= {"/messages": "/prompt", "/annotations": "/margin"}
_CONVERSATIONS = dict.fromkeys(("prompt", "chosen", "rejected"), MESSAGE_FIELDS)
_CHOSEN_OR_REJECTED = frozenset({"prompt", "chosen", "rejected", "chosen_model", "rejected_model", "split", "domain"})
_VOTE_FIELDS = frozenset({"strength", "justification", "statement", "elaboration"})
SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            "native",
            frozenset({"responses"}),
            _native,
            {},
            OUR_FIELDS,
            {"messages": MESSAGE_FIELDS, "responses": RESPONSE_FIELDS, "annotations": OUR_LABEL_FIELDS},
            cells={**STRUCTURES, "gold": number},
        ),
        Shape(
            "helpsteer2-preference",
            frozenset({"prompt", "response_1", "response_2", "preference_strength"}),
            helpsteer2_preference,
            {
                "/messages": "/prompt",
                "/responses/0/text": "/response_1",
                "/responses/1/text": "/response_2",
                "/responses/1": "/response_2",
                "/annotations": "/all_preferences_unprocessed",
            },
            frozenset({"external_id", "split", *HELPSTEER2_COLUMNS}),
            {"all_preferences_unprocessed": _VOTE_FIELDS, "three_most_similar_preferences": _VOTE_FIELDS},
            cells={
                "preference_strength": number,
                "three_most_similar_preferences": structure,
                "all_preferences_unprocessed": structure,
            },
        ),
        Shape(
            "helpsteer3-preference",
            frozenset({"context", "response1", "response2"}),
            helpsteer3_preference,
            {
                "/messages": "/context",
                "/responses/0/text": "/response1",
                "/responses/1/text": "/response2",
                "/responses/1": "/response2",
                "/annotations": "/individual_preference",
            },
            frozenset({"external_id", "split", *HELPSTEER3_COLUMNS}),
            {
                "context": MESSAGE_FIELDS,
                "individual_preference": frozenset({"score", "reasoning", "feedback1", "feedback2"}),
            },
            cells={"context": turns, "overall_preference": number, "individual_preference": structure},
        ),
        Shape(
            "helpsteer2-ratings",
            frozenset({"prompt", "response", "helpfulness"}),
            _native,
            {"/messages": "/prompt", "/responses/0/text": "/response", "/responses/1": "/response"},
            frozenset({"external_id", "split", "prompt", "response", *RATINGS}),
            cells=dict.fromkeys(RATINGS, rating),
        ),
        Shape(
            "rewardbench",
            frozenset({"prompt", "chosen", "rejected", "id"}),
            reward_bench,
            _SIDES,
            _CHOSEN_OR_REJECTED | {"id", "subset"},
            _CONVERSATIONS,
            one_of=frozenset({"subset", "domain", "chosen_model"}),
        ),
        Shape(
            "trl-preference",
            frozenset({"chosen", "rejected"}),
            trl_preference,
            _SIDES,
            _CHOSEN_OR_REJECTED | {"external_id", "source", "margin"},
            _CONVERSATIONS,
            cells={"margin": number},
        ),
    )
}
TWO_ROWS = {"helpsteer2-ratings"}
ALIASES = {
    "annotations": "native",
    "helpsteer2-disagreements": "helpsteer2-ratings",
    "trl-preference-conversational": "trl-preference",
}
"""Names of export formats whose rows look like another shape's."""
SHAPE_NAMES = (*SHAPES, *ALIASES)


def source_pointer(pointer: str, shape: Shape) -> str:
    """Return what a field of the import row is called in its source."""
    for ours, column in shape.called.items():
        if pointer == ours or pointer.startswith(f"{ours}/"):
            return column if ours.startswith("/responses") else column + pointer.removeprefix(ours)
    return pointer


def _each(rows: Iterable[tuple[int, object]], shape: Shape) -> Iterator[Unit]:
    for line, row in rows:
        if isinstance(row, dict):
            yield line, _checked(row, shape)
        else:
            yield line, row if isinstance(row, BadRow) else BadRow("", "A row must be a JSON object.")


def _checked(row: Row, shape: Shape) -> list[ImportedPair] | BadRow:
    """Return the comparisons of a row, or why there are none, in the words of its source."""
    try:
        if shape.name == "native":
            return parse_row(as_json_lines(row))
        try:
            converted = shape.convert(row)
        except KeyError as missing:
            return BadRow(f"/{missing.args[0]}", "The row lacks this column.")
        return [pair for native in converted for pair in parse_row(native)]
    except BadRow as bad:
        return BadRow(source_pointer(bad.field, shape), bad.reason)
