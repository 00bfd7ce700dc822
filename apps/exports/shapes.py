"""What every export format is made of: its description, and the parts that several of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apps.exports.encodings import Column
from worker.core.conversation import prompt_text

Row = dict[str, Any]
MESSAGES: Column = [{"role": "string", "content": "string"}]
TEXT_PAIR: dict[str, Column] = {"prompt": "string", "chosen": "string", "rejected": "string", "margin": "float"}


class LeftOut(Exception):
    """The row has no place in this format; the reason is counted in the manifest."""


@dataclass(frozen=True)
class Format:
    """One shape of rows: how it comes from a frozen row, its columns (`apps.exports.encodings`), and what it is for."""

    convert: Callable[[Row], list[Row]]
    columns: dict[str, Column]
    summary: str
    needs_labels: bool = False
    """Whether it reads each label, not only what they add up to."""
    reads: str = "rows"
    """What it is made from: the `rows` of a chunk, or its `verdicts`."""


def agreed(row: Row) -> int:
    """Return the consensus of a comparison that has one, or raise LeftOut with why it has none."""
    consensus = row["consensus"]
    if consensus["status"] != "agreed":
        if consensus["status"] == "excluded":
            closed = str(consensus["excluded_reason"]).startswith("Closed")
            raise LeftOut("closed by a manager or by flags" if closed else "spread too wide")
        raise LeftOut("neither valid" if consensus["status"] == "neither" else "not settled yet")
    return int(consensus["preference"])


def chosen_and_rejected(row: Row) -> tuple[int, str, str]:
    """Return strength, better and worse text of a comparison that is not a tie, or raise LeftOut."""
    strength = agreed(row)
    if strength == 0:
        raise LeftOut("consensus is 0")
    first, second = row["responses"]
    if strength < 0:
        return -strength, first["text"], second["text"]
    return strength, second["text"], first["text"]


def favours_first(row: Row) -> bool:
    """Say whether the consensus of a decided row favours response 1."""
    return bool(row["consensus"]["preference"] < 0)


def text_pair(row: Row, chosen: str, rejected: str, margin: float) -> Row:
    """Return a row of `TEXT_PAIR`."""
    return {"prompt": prompt_text(row["messages"]), "chosen": chosen, "rejected": rejected, "margin": margin}


def turn(text: str) -> list[dict[str, str]]:
    """Return a response as a conversation of one turn."""
    return [{"role": "assistant", "content": text}]


def metadata_text(row: Row, name: str, default: str) -> str:
    """Return a text of the metadata, or the default where it has none."""
    value = row["metadata"].get(name)
    return value if isinstance(value, str) and value else default
