"""Labeled pairs, which of them depend on each other, and how sure a figure over them is.

Pairs of one prompt look at the same text, and pairs that share a response say much the same about it. With many
prompts, prompts are the independent units. With few (one question, a thousand answers), pairs that share a response
count as dependent: the variance of a sum over links of a graph (Fafchamps and Gubert 2007; Aronow, Samii and Assenova
2015).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.shares import Share, Z, share_with_variance
from worker.core.splits import split_of

Floats = NDArray[np.float64]
Votes = NDArray[np.int8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
PARTS = {"a_discovery": 0.5, "b_selection": 0.25, "c_test": 0.25}
DISCOVERY, SELECTION, TEST = sorted(PARTS)
ACROSS = "across"
"""The part of a pair whose responses fell into different parts: it is in none."""
ENOUGH_PROMPTS = 40


@dataclass(frozen=True)
class Labels:
    """What people preferred: side (m,) is −1 for response 1 and 1 for response 2.

    `prompt`, `first` and `second` number the texts of a pair (m,), `part` names its part (m,).
    """

    side: Votes
    prompt: Ints
    first: Ints
    second: Ints
    part: NDArray[np.str_]
    by_prompt: bool

    def __len__(self) -> int:
        return len(self.side)

    def where(self, chosen: NDArray[Any]) -> "Labels":
        """Return these pairs only, by truth values or places."""
        columns = {name: getattr(self, name)[chosen] for name in ("side", "prompt", "first", "second", "part")}
        return replace(self, **columns)

    def units(self) -> int:
        """Return how many prompts, or responses, there are."""
        ends = self.prompt if self.by_prompt else np.concatenate([self.first, self.second])
        return len(np.unique(ends))

    def sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of values (m, c) within each unit (u, c); a pair of two responses counts in both."""
        ends, rows = self.prompt, values
        if not self.by_prompt:
            ends, rows = np.concatenate([self.first, self.second]), np.concatenate([values, values])
        if len(ends) == 0:
            return rows[:0]
        order = np.argsort(ends, kind="stable")
        starts = np.flatnonzero(np.diff(ends[order], prepend=ends[order[0]] - 1))
        return np.add.reduceat(rows[order], starts, axis=0)

    def variances(self, values: NDArray[Any]) -> Floats:
        """Return the variance of the sum of values (m, c) whose mean is 0, given what depends on what (c,)."""
        own = np.asarray((values.astype(np.float64) ** 2).sum(axis=0))
        squares = np.asarray((self.sums(values).astype(np.float64) ** 2).sum(axis=0))
        if self.by_prompt:
            number = self.units()
            return squares * number / max(number - 1, 1)
        return np.maximum(squares - own, own)


def deal(
    prompts: Sequence[str], first: Sequence[str], second: Sequence[str], *, seed: int, by_prompt: bool
) -> NDArray[np.str_]:
    """Return the part of each pair by the hashes of its texts (m,): the same text is always in the same part."""
    known: dict[str, str] = {}

    def part_of(key: str) -> str:
        if key not in known:
            known[key] = split_of(key, PARTS, seed)
        return known[key]

    if by_prompt:
        return np.array([part_of(key) for key in prompts], dtype=np.str_)
    ends = [(part_of(one), part_of(other)) for one, other in zip(first, second, strict=True)]
    return np.array([one if one == other else ACROSS for one, other in ends], dtype=np.str_)


def labels_of(
    side: Sequence[int],
    prompts: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    *,
    seed: int,
    by_prompt: bool | None = None,
) -> Labels:
    """Return the labels of pairs by the hashes of their texts; dealt by prompt if there are many prompts."""
    if by_prompt is None:
        by_prompt = len(set(prompts)) >= ENOUGH_PROMPTS
    numbers: dict[str, int] = {}

    def numbered(keys: Sequence[str]) -> Ints:
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)

    return Labels(
        side=np.array(side, dtype=np.int8),
        prompt=numbered(prompts),
        first=numbered(first),
        second=numbered(second),
        part=deal(prompts, first, second, seed=seed, by_prompt=by_prompt),
        by_prompt=by_prompt,
    )


def share(hits: NDArray[Any], labels: Labels) -> Share:
    """Return a share of hits (m,), each 0, ½ or 1, with Wilson's interval for its variance."""
    of = len(labels)
    if of == 0:
        return Share(0, 0, None, None)
    values = np.asarray(hits, dtype=np.float64)
    mean = float(values.mean())
    variance = float(labels.variances(values - mean)) / of**2
    found = share_with_variance(round(2 * values.sum()), 2 * of, variance, labels.units())
    return replace(found, count=int(values.sum()), of=of)


def agreement_of(votes: Votes, labels: Labels) -> Share:
    """Return how often a vote (m,) is people's, among the pairs on which there is one."""
    voted = votes != 0
    return share(votes[voted] == labels.side[voted], labels.where(voted))


def right(score: Floats | Votes, labels: Labels) -> Floats:
    """Return whether the sign of a score (m,) is people's: 1 or 0, and ½ for a score of 0, a coin thrown."""
    return np.where(np.asarray(score) == 0, 0.5, (np.sign(score) == labels.side).astype(np.float64))


def accuracy_of(score: Floats | Votes, labels: Labels) -> Share:
    """Return how often the sign of a score (m,) is people's; 0 counts as half a hit, and nothing but zeros as nothing.

    A score that never prefers a response is not right half of the time: it was not asked.
    """
    if not np.any(score):
        return Share(0, 0, None, None)
    return share(right(score, labels), labels)


def difference_of(score: Floats | Votes, other: Floats | Votes, labels: Labels) -> tuple[float, float, float] | None:
    """Return how much more often one score is right than another on the same pairs, with its 95 % interval."""
    if len(labels) == 0:
        return None
    mean, error = mean_and_error(right(score, labels) - right(other, labels), labels)
    return mean, mean - Z * error, mean + Z * error


def mean_and_error(values: Floats, labels: Labels) -> tuple[float, float]:
    """Return a mean (m,) and its standard error, given which pairs depend on each other."""
    mean = float(values.mean())
    return mean, float(np.sqrt(labels.variances(values - mean))) / len(values)
