"""What several annotators' preferences add up to.

HelpSteer2-Preference (arXiv 2410.01257): take the three most similar of three to five preferences, drop the pair when
they spread by more than 2, else average and round. The paper does not say how "most similar" breaks ties, nor in which
order "neither valid" is removed; ours: smallest range, then smallest sum of pairwise differences, then earliest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from math import floor

RULE_VERSION = "three-most-similar/1"
KEEP = 3
_NEITHER = -100  # HelpSteer2's own code: so far from -3…3 that it only ever groups with itself


class Status(StrEnum):
    """Where a comparison stands."""

    PENDING = "pending"
    ESCALATED = "escalated"
    AGREED = "agreed"
    NEITHER = "neither"
    EXCLUDED = "excluded"


@dataclass(frozen=True)
class Consensus:
    """`preference` is set for AGREED only; `kept` are positions in the votes; `spread` is max − min of those."""

    status: Status
    preference: int | None = None
    kept: tuple[int, ...] = ()
    spread: int | None = None
    excluded_reason: str = ""


def consensus(
    votes: Sequence[int | None], *, annotators: int = 3, max_annotators: int = 5, spread_limit: int = 2
) -> Consensus:
    """Combine votes in their order of submission; −3…3, or None for "neither valid", which is never averaged.

    PENDING below `annotators` votes; ESCALATED when the kept ones spread too much and more people may be asked.
    """
    if len(votes) < annotators:
        return Consensus(Status.PENDING)
    numbers = [_NEITHER if vote is None else vote for vote in votes]
    kept = most_similar(numbers, KEEP)
    values = [numbers[position] for position in kept]
    spread = max(values) - min(values)
    if spread > spread_limit:
        mixed = _NEITHER in values
        shown_spread = None if mixed else spread
        if len(votes) < max_annotators:
            return Consensus(Status.ESCALATED, kept=kept, spread=shown_spread)
        reason = (
            "Annotators disagree on whether either response is valid."
            if mixed
            else f"Even the {len(kept)} most similar preferences spread by {spread}, more than {spread_limit}."
        )
        return Consensus(Status.EXCLUDED, kept=kept, spread=shown_spread, excluded_reason=reason)
    if values[0] == _NEITHER:
        return Consensus(Status.NEITHER, kept=kept, spread=0, excluded_reason="Neither response is valid.")
    return Consensus(Status.AGREED, preference=round_half_away(sum(values), len(values)), kept=kept, spread=spread)


def most_similar(values: Sequence[int], keep: int) -> tuple[int, ...]:
    """Return the positions of the `keep` most similar values (all, if there are fewer), in order.

    `combinations` yields earlier positions first and `min` keeps the first of equals, which breaks the last ties.
    """

    def disagreement(positions: tuple[int, ...]) -> tuple[int, int]:
        chosen = sorted(values[position] for position in positions)
        return chosen[-1] - chosen[0], sum(high - low for low, high in combinations(chosen, 2))

    return min(combinations(range(len(values)), min(keep, len(values))), key=disagreement)


def round_half_away(total: int, count: int) -> int:
    """Round total / count to the nearest integer, halves away from zero (Python's own rounding goes to even).

    Three integers never end in .5; two votes can, and a half-step of preference is a preference.
    """
    rounded = floor((2 * abs(total) + count) / (2 * count))
    return rounded if total >= 0 else -rounded
