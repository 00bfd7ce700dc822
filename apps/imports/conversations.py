"""Conversations as other datasets write them: one text, a list of messages, or texts with turn markers."""

import re
from typing import Any

from apps.core.json_values import whole
from apps.imports.rows import BadRow

Row = dict[str, Any]
_TURN = re.compile(r"(?:^|\n)<extra_id_1>(System|User|Assistant)\n")


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


def conversation(prompt: Any, pointer: str) -> list[Row]:
    """Return the messages of a prompt that is a list of them, or one text; raise BadRow for anything else."""
    if isinstance(prompt, list):
        return turns_of(prompt)
    return [{"role": "user", "content": text_of(prompt, pointer)}]


def turns_of(messages: list[Any]) -> list[Row]:
    """Return messages without what else they carry; rows are checked later."""
    return [
        {"role": turn.get("role"), "content": turn.get("content")} if isinstance(turn, dict) else turn
        for turn in messages
    ]


def are_messages(value: list[Any]) -> bool:
    """Say whether a list is one of messages."""
    return bool(value) and all(isinstance(turn, dict) and "role" in turn for turn in value)


def last_turn(value: Any) -> Any:
    """Return the text of a response that comes as a list of messages."""
    return value[-1].get("content") if isinstance(value, list) and are_messages(value) else value


def text_of(value: Any, pointer: str) -> str:
    """Return a value that is text, and of a prompt not an empty one; raise BadRow for any other."""
    if not isinstance(value, str) or (not value.strip() and pointer.endswith("prompt")):
        raise BadRow(pointer, "Expected text.")
    return value


def name_of(value: Any) -> str:
    """Return what somebody or something is called, of whom a file has a name or a number."""
    number = whole(value)
    return str(value if number is None else number)


def kept(row: Row, *names: str) -> Row:
    """Return the columns that have a value, as metadata."""
    return {name: row[name] for name in names if row.get(name) is not None}
