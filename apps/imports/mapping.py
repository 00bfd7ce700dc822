"""Columns of any file, mapped to the fields of an import row."""

import re
from collections.abc import Mapping
from typing import Any

from apps.core.json_values import whole
from apps.imports.cells import STRUCTURES, Cells, structure
from apps.imports.conversations import Row, last_turn, name_of, text_of
from apps.imports.rows import BadRow

TARGETS = (
    "prompt",
    "messages",
    "response_1",
    "response_2",
    "model_1",
    "model_2",
    "external_id",
    "reference",
    "preference",
    "justification",
    "annotator",
    "gold",
    "metadata",
)
_WORDS = {"a": -1, "response_1": -1, "model_a": -1, "left": -1, "b": 1, "response_2": 1, "model_b": 1, "right": 1}
_WORDS |= {"tie": 0, "equal": 0}
_NEITHER = {"neither", "both_bad", "both bad", "bothbad", "tie (bothbad)", "tie (both bad)"}
"""The last ones are Chatbot Arena's."""


def why_no_mapping(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with a mapping, by field; nothing when it can be used."""
    wrong = {name: "There is no such field." for name in mapping if name not in TARGETS}
    for name, column in mapping.items():
        columns = column if name == "metadata" and isinstance(column, list) else [column]
        if not all(isinstance(entry, str) and 0 < len(entry) <= 200 for entry in columns):
            wrong[name] = "Expected the name of a column, or a JSON pointer such as /answers/0/text."
    if ("prompt" in mapping) == ("messages" in mapping):
        wrong["prompt"] = "Map one of prompt and messages."
    for name in ("response_1", "response_2"):
        if name not in mapping:
            wrong[name] = "Map a column to this field."
    return wrong


def mapped(row: Row, mapping: Mapping[str, Any]) -> Row:
    """Return the import row that a mapping makes of a row; raise BadRow that names the column.

    Cells of CSV stay text, but for `messages` and what a JSON pointer leads into.
    """
    taken = {name: _column(row, str(column)) for name, column in mapping.items() if name != "metadata"}
    built: Row = {"responses": [_with_model(taken, "1"), _with_model(taken, "2")]}
    if "messages" in taken:
        messages = taken["messages"]
        built["messages"] = structure(messages) if isinstance(row, Cells) and messages else messages
    else:
        built["prompt"] = text_of(taken["prompt"], pointer_to(mapping["prompt"]))
    for number in (1, 2):
        column = mapping[f"response_{number}"]
        built["responses"][number - 1]["text"] = text_of(last_turn(taken[f"response_{number}"]), pointer_to(column))
    if (external_id := taken.get("external_id")) is not None:
        built["external_id"] = name_of(external_id)
    if (reference := taken.get("reference")) is not None:
        built["reference"] = reference if isinstance(reference, str) else str(reference)
    if (gold := taken.get("gold")) is not None:
        built["gold"] = _preference(gold, pointer_to(mapping["gold"]))
    if (preference := taken.get("preference")) is not None:
        annotator = taken.get("annotator")
        label: Row = {"annotator": "dataset" if annotator in (None, "") else name_of(annotator)}
        label["preference"] = _preference(preference, pointer_to(mapping["preference"]))
        if taken.get("justification") is not None:
            label["justification"] = text_of(taken["justification"], pointer_to(mapping["justification"]))
        built["annotations"] = [label]
    columns = mapping.get("metadata") or []
    kept = {name: _column(row, name) for name in ([columns] if isinstance(columns, str) else columns)}
    if isinstance(row, Cells):  # of our own files, what is an object stays one
        kept |= {name: structure(row[name]) for name in STRUCTURES.keys() & kept.keys() if row.get(name)}
    built["metadata"] = {name: value for name, value in kept.items() if value is not None}
    return built


def columns_of(mapping: Mapping[str, Any]) -> frozenset[str]:
    """Return the columns that a mapping takes something from."""
    named = [column for each in mapping.values() for column in (each if isinstance(each, list) else [each])]
    parents = [_keys(column)[0] for column in named if column.startswith("/")]
    return frozenset([*named, *parents])


def called_by(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Return what the fields of the import row are called in the file: messages name its columns."""
    fields = {"/messages": "messages" if "messages" in mapping else "prompt"}
    fields |= {"/responses/0/text": "response_1", "/responses/1/text": "response_2", "/responses/1": "response_2"}
    fields |= {"/responses/0/model": "model_1", "/responses/1/model": "model_2", "/external_id": "external_id"}
    return {field: pointer_to(mapping[name]) for field, name in fields.items() if name in mapping}


def _with_model(taken: Row, number: str) -> Row:
    model = taken.get(f"model_{number}")
    return {"model": None if model is None else str(model)}


def pointer_to(column: str) -> str:
    """Return how a message names a column."""
    return f"/{column.removeprefix('/')}"


def _column(row: Row, column: str) -> Any:
    """Return a column's value, or what a JSON pointer leads to; None where there is nothing."""
    if column in row or not column.startswith("/"):
        return row.get(column)
    value: Any = row
    for place, key in enumerate(_keys(column)):
        if place == 1 and isinstance(row, Cells) and value:
            value = structure(value)
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isascii() and key.isdecimal() and len(key) < 6 and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _keys(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _preference(value: Any, pointer: str) -> int | str:
    if (number := whole(value)) is not None and -3 <= number <= 3:
        return number
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        if word in _NEITHER:
            return "neither"
        if re.fullmatch(r"[+-]?[0-3](\.0)?", word):
            return int(word.removesuffix(".0"))
    raise BadRow(pointer, 'Expected -3 to 3, "neither", or one of A, B, tie.')
