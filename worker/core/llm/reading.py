"""Read JSON out of a model's answer: strictly, and with a sentence about what is wrong for the repair round."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from worker.core.llm.messages import Answer, Question

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n?```", re.DOTALL | re.IGNORECASE)
REPAIR = (
    "Your answer could not be used: {problem} Answer the question again, with nothing but the JSON that was asked for: "
    "no explanation, no code fence."
)


class Unreadable(Exception):
    """An answer is not what was asked for; the message says why, in a sentence that a model can act on."""


def read_json(answer: Answer) -> Any:
    """Return the JSON value that an answer consists of; raise Unreadable for anything beside it.

    A code fence around the whole is taken off. Names that stand twice in one object, NaN and infinities are refused.
    """
    text = answer.text.strip()
    if fenced := _FENCED.fullmatch(text):
        text = fenced[1].strip()
    if not text:
        raise Unreadable("It was cut off before the JSON began." if answer.truncated else "It was empty.")
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise Unreadable("It is nested too deeply.") from error
    except ValueError as error:
        cut = "It was cut off because it is too long. " if answer.truncated else ""
        raise Unreadable(f"{cut}It is not JSON: {str(error)[:200]}.") from error


def read_texts(answer: Answer, *, name: str, most: int, most_chars: int) -> list[str]:
    """Return the list of texts that an answer consists of: a JSON array, or an object that has it alone as `name`.

    Raises Unreadable when an item is no text, is blank or is longer than `most_chars`, or there are more than `most`.
    """
    value = read_json(answer)
    if isinstance(value, dict) and set(value) == {name}:
        value = value[name]
    if not isinstance(value, list):
        raise Unreadable("It is not a JSON array of strings.")
    if len(value) > most:
        raise Unreadable(f"It has {len(value)} items; {most} are the most.")
    for number, item in enumerate(value, start=1):
        if not isinstance(item, str) or not item.strip():
            raise Unreadable(f"Item {number} is not a string with text in it.")
        if len(item) > most_chars:
            raise Unreadable(f"Item {number} has {len(item)} characters; {most_chars} are the most.")
    return [" ".join(item.split()) for item in value]


def texts_schema(name: str) -> dict[str, Any]:
    """Return the JSON schema of an object with one array of texts: servers that enforce schemas want an object."""
    return {
        "type": "object",
        "properties": {name: {"type": "array", "items": {"type": "string"}}},
        "required": [name],
        "additionalProperties": False,
    }


def repair(question: Question, answer: Answer, problem: str) -> Question:
    """Return the one further round in which a model may put its answer right."""
    said = answer.text[:20_000] or "(nothing)"
    turns = (*question.messages, ("assistant", said), ("user", REPAIR.format(problem=problem)))
    return Question(turns, question.temperature, question.max_tokens, question.schema, question.repetition)


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
