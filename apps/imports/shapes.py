"""Recognise the rows of other datasets by their columns and turn them into import rows.

Columns and conventions: HelpSteer2's and HelpSteer3's data cards (arXiv 2406.08673, 2410.01257, 2505.11475), TRL's
dataset formats, RewardBench's (arXiv 2403.13787, 2506.01937). Released labels have positions, not names:
what stands first in one row and in the next need not be the same person.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import is_whole
from apps.imports.rows import NATIVE_FIELDS, BadRow, ImportedPair, parse_row, storable

Row = dict[str, Any]
Unit = tuple[int, list[ImportedPair] | BadRow]
NEITHER_CODE = -100
PEEK_ROWS = 100
MAX_COMPLETIONS = 64
RATINGS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TURN = re.compile(r"(?:^|\n)<extra_id_1>(System|User|Assistant)\n")
_HH_TURN = re.compile(r"\n*(Human|Assistant): ?")


@dataclass(frozen=True)
class Shape:
    """How the rows of a dataset look: the columns that tell it, and what makes import rows of one."""

    name: str
    columns: frozenset[str]
    convert: Callable[[Row], list[Row]]
    called: Mapping[str, str]
    """What the fields of the import row are called in the source: messages name what people have before them."""
    one_of: frozenset[str] = frozenset()

    def fits(self, row: Row) -> bool:
        """Say whether the row has what tells this shape."""
        return self.columns <= row.keys() and (not self.one_of or not self.one_of.isdisjoint(row))


def pairs_of(
    rows: Iterable[tuple[int, object]], *, shape: str | None = None, mapping: Mapping[str, Any] | None = None
) -> Iterator[Unit]:
    """Yield (line, its comparisons or BadRow), by the named shape, a mapping, or what the columns tell.

    Raises InvalidInput that names the columns when the first hundred rows look like nothing that is known.
    """
    source = iter(rows)
    if mapping:
        yield from _each(source, _mapping_shape(mapping))
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
    yield from (_two_rows if known.name in TWO_ROWS else _each)(chain(waiting, source), known)


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


# --- Mapping: columns of any file to fields ---

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
    """Return the import row that a mapping makes of a row; raise BadRow that names the column."""
    taken = {name: _column(row, str(column)) for name, column in mapping.items() if name != "metadata"}
    built: Row = {"responses": [_with_model(taken, "1"), _with_model(taken, "2")]}
    if "messages" in taken:
        built["messages"] = taken["messages"]
    else:
        built["prompt"] = _text(taken["prompt"], _pointer(mapping["prompt"]))
    for number in (1, 2):
        column = mapping[f"response_{number}"]
        built["responses"][number - 1]["text"] = _text(_last_turn(taken[f"response_{number}"]), _pointer(column))
    if (external_id := taken.get("external_id")) is not None:
        built["external_id"] = str(external_id)
    if (reference := taken.get("reference")) is not None:
        built["reference"] = reference if isinstance(reference, str) else str(reference)
    if (gold := taken.get("gold")) is not None:
        built["gold"] = _preference(gold, _pointer(mapping["gold"]))
    if (preference := taken.get("preference")) is not None:
        label: Row = {"annotator": str(taken.get("annotator") or "dataset")}
        label["preference"] = _preference(preference, _pointer(mapping["preference"]))
        if taken.get("justification") is not None:
            label["justification"] = _text(taken["justification"], _pointer(mapping["justification"]))
        built["annotations"] = [label]
    columns = mapping.get("metadata") or []
    kept = {name: _column(row, name) for name in ([columns] if isinstance(columns, str) else columns)}
    built["metadata"] = {name: value for name, value in kept.items() if value is not None}
    return built


def _mapping_shape(mapping: Mapping[str, Any]) -> Shape:
    """Return a mapping as a shape whose messages name the mapped columns."""
    fields = {"/messages": "messages" if "messages" in mapping else "prompt"}
    fields |= {"/responses/0/text": "response_1", "/responses/1/text": "response_2", "/responses/1": "response_2"}
    fields |= {"/responses/0/model": "model_1", "/responses/1/model": "model_2", "/external_id": "external_id"}
    called = {field: _pointer(mapping[name]) for field, name in fields.items() if name in mapping}
    return Shape("mapped", frozenset(), lambda row: [mapped(row, mapping)], called)


def _with_model(taken: Row, number: str) -> Row:
    model = taken.get(f"model_{number}")
    return {"model": None if model is None else str(model)}


def _pointer(column: str) -> str:
    """Return how a message names a column."""
    return f"/{column.removeprefix('/')}"


def _column(row: Row, column: str) -> Any:
    """Return a column's value, or what a JSON pointer leads to; None where there is nothing."""
    if column in row or not column.startswith("/"):
        return row.get(column)
    value: Any = row
    for part in column[1:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isascii() and key.isdecimal() and len(key) < 6 and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _preference(value: Any, pointer: str) -> int | str:
    if is_whole(value) and -3 <= value <= 3:
        return int(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        if word in {"neither", "both_bad", "bothbad"}:
            return "neither"
        if re.fullmatch(r"[+-]?[0-3](\.0)?", word):
            return int(word.removesuffix(".0"))
    raise BadRow(pointer, 'Expected -3 to 3, "neither", or one of A, B, tie.')


# --- Shapes ---


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


def _helpsteer2_preference(row: Row) -> list[Row]:
    votes = row.get("all_preferences_unprocessed") or row.get("three_most_similar_preferences")
    return [
        {
            "external_id": row.get("external_id"),
            "messages": marked_turns(row.get("prompt"), "/prompt"),
            "responses": [{"text": row.get("response_1")}, {"text": row.get("response_2")}],
            "metadata": _kept(row, "split", "preference_strength"),
            "annotations": _labels(
                votes, "/all_preferences_unprocessed", "strength", _justification, row.get("preference_strength")
            ),
        }
    ]


def _justification(vote: Row) -> Any:
    if "justification" in vote:
        return vote["justification"]
    return " ".join(str(part) for part in (vote.get("statement"), vote.get("elaboration")) if part)


def _helpsteer3_preference(row: Row) -> list[Row]:
    votes = row.get("individual_preference")
    return [
        {
            "external_id": row.get("external_id"),
            "messages": _conversation(row.get("context"), "/context"),
            "responses": [{"text": row.get("response1")}, {"text": row.get("response2")}],
            "metadata": _kept(row, "domain", "language", "split", "overall_preference"),
            "annotations": _labels(
                votes,
                "/individual_preference",
                "score",
                lambda vote: vote.get("reasoning") or "",
                row.get("overall_preference"),
            ),
        }
    ]


def _labels(votes: Any, pointer: str, score: str, justification: Callable[[Row], Any], overall: Any) -> list[Row]:
    """Return the labels of a released row: one per vote, named by its position; the overall value where votes lack."""
    if votes is not None and not isinstance(votes, list):
        raise BadRow(pointer, "Expected a list.")
    if not votes:
        votes = [] if overall is None else [{score: overall}]
    labels = []
    for index, vote in enumerate(votes):
        if not isinstance(vote, dict):
            raise BadRow(f"{pointer}/{index}", "Expected an object.")
        strength: Any = vote.get(score)
        if not is_whole(strength) or not (-3 <= strength <= 3 or strength == NEITHER_CODE):
            raise BadRow(f"{pointer}/{index}/{score}", f"Expected -3 to 3, or {NEITHER_CODE} for neither valid.")
        text = justification(vote)
        if text is not None and not isinstance(text, str):
            raise BadRow(f"{pointer}/{index}", "Expected the justification to be text.")
        labels.append(
            {
                "annotator": f"position {index + 1}",
                "preference": "neither" if strength == NEITHER_CODE else strength,
                "justification": text or "",
            }
        )
    return labels


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
            yield held[0], _checked(row, replace(shape, convert=partial(_rated_pair, held[1])))
            held = None
    if held is not None:
        yield held[0], BadRow("/prompt", "The last row has no partner.")


def _rated_pair(first: Row, second: Row) -> list[Row]:
    sides = [_ratings(first), _ratings(second)]
    labels = []
    for index, (left, right) in enumerate(zip(*sides, strict=False)):
        # Rating rows name no preference: the difference in helpfulness is HelpSteer2-Preference's own baseline.
        difference = right["helpfulness"] - left["helpfulness"]
        preference = max(-3, min(3, difference))
        labels.append({"annotator": f"position {index + 1}", "preference": preference, "ratings": [left, right]})
    return [
        {
            "external_id": first.get("external_id"),
            "messages": marked_turns(first.get("prompt"), "/prompt"),
            "responses": [{"text": first.get("response")}, {"text": second.get("response")}],
            "metadata": {**_kept(first, "split"), "preference_from": "helpfulness"},
            "annotations": labels,
        }
    ]


def _ratings(row: Row) -> list[dict[str, int]]:
    """Return one response's ratings, by annotator: lists come from the disagreements file."""
    columns = {name: row[name] for name in RATINGS if row.get(name) is not None}
    if "helpfulness" not in columns:
        raise BadRow("/helpfulness", "Expected a whole number from 0 to 4, or a list of them.")
    lists = {name: value if isinstance(value, list) else [value] for name, value in columns.items()}
    if len({len(values) for values in lists.values()}) > 1:
        raise BadRow("/helpfulness", "The attributes have lists of different lengths.")
    for name, values in lists.items():
        if not all(is_whole(value) and 0 <= value <= 4 for value in values):
            raise BadRow(f"/{name}", "Expected a whole number from 0 to 4, or a list of them.")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _trl_preference(row: Row) -> list[Row]:
    """Return a TRL row, text or conversational, with its prompt or with one that both sides begin with."""
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if isinstance(chosen, list) and isinstance(rejected, list) and _are_messages(chosen) and _are_messages(rejected):
        messages, texts = _conversational(prompt, chosen, rejected)
    elif isinstance(chosen, str) and isinstance(rejected, str):
        messages, texts = _plain_text(prompt, chosen, rejected)
    else:
        raise BadRow("/chosen", "Expected `chosen` and `rejected` to be both texts, or both lists of messages.")
    margin = row.get("margin")
    strength = round(margin) if isinstance(margin, int | float) and not isinstance(margin, bool) else 1
    return [
        {
            "external_id": row.get("external_id"),
            "messages": messages,
            "responses": [
                {"text": text, "model": row.get(f"{side}_model")}
                for text, side in zip(texts, ("chosen", "rejected"), strict=True)
            ],
            "metadata": _kept(row, "split", "domain", "source", "margin"),
            "annotations": [{"annotator": "dataset", "preference": -max(1, min(3, strength))}],
        }
    ]


def _conversational(prompt: Any, chosen: list[Row], rejected: list[Row]) -> tuple[list[Row], list[Any]]:
    if prompt is not None:
        before = _conversation(prompt, "/prompt")
    else:
        same = 0
        while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
            same += 1
        before, chosen, rejected = chosen[:same], chosen[same:], rejected[same:]
        if not before:
            raise BadRow("/chosen", "`chosen` and `rejected` begin differently, and there is no `prompt`.")
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if len(turns) != 1 or turns[0].get("role") != "assistant":
            raise BadRow(f"/{name}", "Expected one assistant turn after the prompt.")
    return _turns(before), [chosen[0].get("content"), rejected[0].get("content")]


def _plain_text(prompt: Any, chosen: str, rejected: str) -> tuple[list[Row], list[str]]:
    if prompt is not None:
        return _conversation(prompt, "/prompt"), [chosen, rejected]
    if _HH_TURN.match(chosen) and _HH_TURN.match(rejected):
        return _human_assistant(chosen, rejected)
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    border = max(chosen.rfind(" ", 0, same), chosen.rfind("\n", 0, same))
    if border <= 0:
        raise BadRow("/chosen", "`chosen` and `rejected` begin differently, and there is no `prompt`.")
    return [{"role": "user", "content": chosen[:border]}], [chosen[border:].lstrip(), rejected[border:].lstrip()]


def _human_assistant(chosen: str, rejected: str) -> tuple[list[Row], list[str]]:
    """Split Anthropic's HH-RLHF texts: turns after "Human:" and "Assistant:", of which the last is the response."""
    sides = []
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        _, *parts = _HH_TURN.split(text)
        turns = [
            {"role": "user" if speaker == "Human" else "assistant", "content": said.strip("\n")}
            for speaker, said in zip(parts[::2], parts[1::2], strict=True)
        ]
        if turns[-1]["role"] != "assistant":
            raise BadRow(f"/{name}", "Expected the text to end with an assistant turn.")
        sides.append(turns)
    if sides[0][:-1] != sides[1][:-1]:
        raise BadRow("/chosen", "The two conversations differ before their last turn.")
    return sides[0][:-1], [sides[0][-1]["content"], sides[1][-1]["content"]]


def _reward_bench(row: Row) -> list[Row]:
    """Return a RewardBench row, or every chosen with every rejected response of a RewardBench 2 or RM-Bench row."""
    sides: dict[str, list[Any]] = {}
    for side in ("chosen", "rejected"):
        value = row[side]
        texts = value if isinstance(value, list) and not _are_messages(value) else [value]
        sides[side] = [_text(_last_turn(text), f"/{side}") for text in texts]
    if not 2 <= len(sides["chosen"]) + len(sides["rejected"]) <= MAX_COMPLETIONS or not all(sides.values()):
        raise BadRow("/chosen", f"Expected 2 to {MAX_COMPLETIONS} responses, some chosen and some rejected.")
    metadata = _kept(row, "subset", "domain", "split")
    stem = "-".join(str(row[name]) for name in ("subset", "id") if row.get(name) is not None)
    several = len(sides["chosen"]) + len(sides["rejected"]) > 2
    return [
        {
            "external_id": (f"{stem}#{first}-{second}" if several else stem) if row.get("id") is not None else None,
            "messages": _conversation(row.get("prompt"), "/prompt"),
            "responses": [
                {"text": chosen, "model": _model(row, "chosen_model")},
                {"text": rejected, "model": _model(row, "rejected_model")},
            ],
            "metadata": metadata,
            "annotations": [{"annotator": "dataset", "preference": -1}],
        }
        for first, chosen in enumerate(sides["chosen"])
        for second, rejected in enumerate(sides["rejected"])
    ]


def _model(row: Row, name: str) -> str | None:
    model = row.get(name)
    return model if isinstance(model, str) else None


_SIDES = {"/responses/0/text": "/chosen", "/responses/1/text": "/rejected", "/responses/1": "/rejected"}
_SIDES |= {"/messages": "/prompt", "/annotations": "/margin"}
SHAPES = {
    shape.name: shape
    for shape in (
        Shape("native", frozenset({"responses"}), _native, {}),
        Shape(
            "helpsteer2-preference",
            frozenset({"prompt", "response_1", "response_2", "preference_strength"}),
            _helpsteer2_preference,
            {
                "/messages": "/prompt",
                "/responses/0/text": "/response_1",
                "/responses/1/text": "/response_2",
                "/responses/1": "/response_2",
                "/annotations": "/all_preferences_unprocessed",
            },
        ),
        Shape(
            "helpsteer3-preference",
            frozenset({"context", "response1", "response2"}),
            _helpsteer3_preference,
            {
                "/messages": "/context",
                "/responses/0/text": "/response1",
                "/responses/1/text": "/response2",
                "/responses/1": "/response2",
                "/annotations": "/individual_preference",
            },
        ),
        Shape(
            "helpsteer2-ratings",
            frozenset({"prompt", "response", "helpfulness"}),
            _native,
            {"/messages": "/prompt", "/responses/0/text": "/response", "/responses/1": "/response"},
        ),
        Shape(
            "rewardbench",
            frozenset({"prompt", "chosen", "rejected", "id"}),
            _reward_bench,
            _SIDES,
            one_of=frozenset({"subset", "domain", "chosen_model"}),
        ),
        Shape("trl-preference", frozenset({"chosen", "rejected"}), _trl_preference, _SIDES),
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
    for field, column in shape.called.items():
        if pointer == field or pointer.startswith(f"{field}/"):
            return column if field.startswith("/responses") else column + pointer.removeprefix(field)
    return pointer


def marked_turns(text: Any, pointer: str) -> list[Row]:
    """Return the messages of a text with HelpSteer2's turn markers: the first user turn bare, then marked ones."""
    if not isinstance(text, str) or not text.strip():
        raise BadRow(pointer, "Expected text.")
    first, *rest = _TURN.split(text)
    messages = [{"role": "user", "content": first}] if first or not rest else []
    messages += [
        {"role": role.lower(), "content": content} for role, content in zip(rest[::2], rest[1::2], strict=True)
    ]
    return messages


def _conversation(prompt: Any, pointer: str) -> list[Row]:
    if isinstance(prompt, list):
        return _turns(prompt)
    return [{"role": "user", "content": _text(prompt, pointer)}]


def _turns(messages: list[Any]) -> list[Row]:
    """Return messages without what else they carry; rows are checked later."""
    return [
        {"role": turn.get("role"), "content": turn.get("content")} if isinstance(turn, dict) else turn
        for turn in messages
    ]


def _are_messages(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(turn, dict) and "role" in turn for turn in value)


def _last_turn(value: Any) -> Any:
    """Return the text of a response that comes as a list of messages."""
    return value[-1].get("content") if isinstance(value, list) and _are_messages(value) else value


def _text(value: Any, pointer: str) -> str:
    if not isinstance(value, str) or (not value.strip() and pointer.endswith("prompt")):
        raise BadRow(pointer, "Expected text.")
    return value


def _kept(row: Row, *names: str) -> Row:
    return {name: row[name] for name in names if row.get(name) is not None}


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
