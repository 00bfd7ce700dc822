"""Labeled pairs of responses, as they travel between files and the code that trains and evaluates."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.core.conversation import prompt_of

PREFERENCES = (-3, -2, -1, 0, 1, 2, 3)
ROWS_NAMED = 5

Ratings = tuple[Mapping[str, float], Mapping[str, float]]


class PairsError(ValueError):
    """A file of pairs cannot be used; the message names the rows and the rule."""


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt and which is better: -3...3, negative favours `response_1`, 0 is a tie.

    `prompt_key` says which rows share a prompt; intervals and splits go by it. `votes` are what each annotator said.
    """

    id: str
    prompt_key: str
    prompt: str
    response_1: str
    response_2: str
    preference: int
    ratings: Ratings | None = None
    votes: tuple[int, ...] = ()

    @property
    def share_1(self) -> float:
        """Return the share of voters who prefer response 1, a tie counting half; without votes, of the preference."""
        votes = self.votes or (self.preference,)
        return sum(1.0 if vote < 0 else 0.5 if vote == 0 else 0.0 for vote in votes) / len(votes)

    @property
    def texts(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return (prompt, response) of both sides."""
        return (self.prompt, self.response_1), (self.prompt, self.response_2)


def read_pairs(path: Path) -> list[Pair]:
    """Read a JSON-lines file of labeled pairs.

    Raises PairsError naming line and field of a broken row. "Neither valid" is no number, so a file that holds any is
    refused as a whole, with their number: whoever made it meant to leave them out.
    """
    pairs: list[Pair] = []
    neither: list[str] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise PairsError(f"{path.name}, line {number}: not JSON ({error}).") from error
            if isinstance(row, dict) and row.get("preference") == "neither":
                neither.append(str(row.get("id", number)))
                continue
            pairs.append(_pair(row, f"{path.name}, line {number}"))
    if neither:
        shown = ", ".join(neither[:ROWS_NAMED]) + (", …" if len(neither) > ROWS_NAMED else "")
        raise PairsError(
            f"{path.name}: {len(neither)} of {len(neither) + len(pairs)} rows have no valid response "
            f'(preference "neither": {shown}). Leave them out of the file.'
        )
    return pairs


def decided(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs that have a better response: a tie cannot be ordered rightly or wrongly."""
    return [pair for pair in pairs if pair.preference]


def prompts_in_both(train: Iterable[Pair], validation: Iterable[Pair]) -> list[str]:
    """Return the prompt keys that occur in both splits, sorted."""
    return sorted({pair.prompt_key for pair in train} & {pair.prompt_key for pair in validation})


def _pair(row: Any, where: str) -> Pair:
    if not isinstance(row, dict):
        raise PairsError(f"{where}: a row is a JSON object.")
    for field in ("id", "prompt_key", "response_1", "response_2"):
        if not isinstance(row.get(field), str):
            raise PairsError(f"{where}: {field} must be text, not {row.get(field)!r}.")
    preference = row.get("preference")
    if isinstance(preference, bool) or preference not in PREFERENCES:
        raise PairsError(f"{where}: preference must be a whole number from -3 to 3, not {preference!r}.")
    messages = row.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise PairsError(f"{where}: messages must be a list of objects with role and content.")
    try:
        prompt = prompt_of(messages)
    except ValueError as error:
        raise PairsError(f"{where}: {error}") from error
    return Pair(
        id=row["id"],
        prompt_key=row["prompt_key"],
        prompt=prompt,
        response_1=row["response_1"],
        response_2=row["response_2"],
        preference=int(preference),
        ratings=_ratings(row.get("ratings"), where),
        votes=_votes(row.get("votes"), where),
    )


def _ratings(value: Any, where: str) -> Ratings | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(side, dict) for side in value):
        raise PairsError(f"{where}: ratings must be null or two objects, one per response.")
    for side in value:
        for attribute, rating in side.items():
            if isinstance(rating, bool) or not isinstance(rating, int | float) or not math.isfinite(rating):
                raise PairsError(f"{where}: the rating {attribute} must be a number, not {rating!r}.")
    return value[0], value[1]


def _votes(value: Any, where: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or any(isinstance(vote, bool) or vote not in PREFERENCES for vote in value):
        raise PairsError(f"{where}: votes must be null or a list of whole numbers from -3 to 3.")
    return tuple(int(vote) for vote in value)
