"""Shares of a count with their intervals, and whether a share is more than chance; numpy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erfc, exp, lgamma, log, sqrt

import numpy as np
from numpy.typing import ArrayLike

Z = 1.959963984540054
"""The normal quantile of a 95 % interval."""


@dataclass(frozen=True)
class Share:
    """So many of so many; share and interval are None where there is nothing to count."""

    count: int
    of: int
    share: float | None
    interval: tuple[float, float] | None


def share_of(count: int, of: int) -> Share:
    """Return a share of independent trials with Wilson's interval (1927), which stays inside 0 to 1 for few of them.

    >>> [round(end, 3) for end in share_of(8, 10).interval or ()]
    [0.49, 0.943]
    """
    if of == 0:
        return Share(0, 0, None, None)
    return Share(count, of, count / of, _wilson(count / of, of))


def share_by_unit(hits: ArrayLike, units: ArrayLike) -> Share:
    """Return a share of votes (n,) whose interval takes votes on one unit as alike.

    Votes on one comparison look at the same two texts, so a hundred votes on one say less than one vote on each of a
    hundred. The variance is that of a ratio of sums over units (Cochran 1977, 6.4), put into Wilson's interval as the
    number of independent votes that would have it. No interval for a single unit.
    """
    hit, unit_of = np.asarray(hits, dtype=np.float64), np.asarray(units)
    if not len(hit):
        return share_of(0, 0)
    _, unit = np.unique(unit_of, return_inverse=True)
    sizes = np.bincount(unit)
    return _share_of_units(np.bincount(unit, weights=hit), sizes, np.ones_like(sizes))


def share_by_tally(units: Mapping[tuple[int, int], int]) -> Share:
    """Return the share that `share_by_unit` gives, from how many units have the same (hits, votes)."""
    if not units:
        return share_of(0, 0)
    counted = np.array([(*unit, times) for unit, times in sorted(units.items())], dtype=np.int64)
    return _share_of_units(*counted.T)


def _share_of_units(hits: ArrayLike, votes: ArrayLike, times: ArrayLike) -> Share:
    """Return the share for units of so many hits among so many votes, (h,), each found `times` times."""
    hit, size, weight = (np.asarray(each, dtype=np.float64) for each in (hits, votes, times))
    count, of, number = (int((each * weight).sum()) for each in (hit, size, np.ones_like(hit)))
    share = count / of
    if number < 2:
        return Share(count, of, share, None)
    variance = float(((hit - share * size) ** 2 * weight).sum()) * number / (number - 1) / of**2
    return share_with_variance(count, of, variance, number)


def share_with_variance(count: int, of: int, variance: float, number: int) -> Share:
    """Return a share whose variance is known, with Wilson's interval for as many independent votes as would have it.

    Where nothing varies, these are as many as there are units, `number`, to be careful.
    """
    plain = share_of(count, of)
    if plain.share is None:
        return plain
    alone = plain.share * (1 - plain.share) / of
    effective = min(float(of), of * alone / variance) if variance > 0.0 and alone > 0.0 else float(number)
    return Share(count, of, plain.share, _wilson(plain.share, effective))


def sign_test(count: int, of: int) -> float | None:
    """Return how probable a count at least as far from a half is where both sides are equally likely (exact binomial).

    >>> round(sign_test(8, 8) or 0, 9), sign_test(5, 10)
    (0.0078125, 1.0)
    """
    if of == 0:
        return None
    least = min(count, of - count)
    # Terms fall from the least count downwards; what is below the precision of a float adds nothing.
    term = exp(lgamma(of + 1) - lgamma(least + 1) - lgamma(of - least + 1) - of * log(2))
    total, left = 0.0, least
    while left >= 0 and term > total * 1e-17:
        total += term
        term *= left / (of - left + 1)
        left -= 1
    return min(1.0, 2 * total)


def different_shares(count: int, of: int, other_count: int, other_of: int) -> float | None:
    """Return how probable two shares so far apart are if both are the same (pooled z-test, two-sided)."""
    if of == 0 or other_of == 0:
        return None
    pooled = (count + other_count) / (of + other_of)
    variance = pooled * (1 - pooled) * (1 / of + 1 / other_of)
    if variance == 0.0:
        return 1.0
    return erfc(abs(count / of - other_count / other_of) / sqrt(2 * variance))


def holm(probabilities: Sequence[float], level: float) -> list[bool]:
    """Say which of many tests stay below `level` all together (Holm 1979): one false alarm in 1/level such reports.

    >>> holm([0.01, 0.04, 0.03], 0.05)
    [True, False, False]
    """
    refused = [False] * len(probabilities)
    for rank, index in enumerate(sorted(range(len(probabilities)), key=lambda at: probabilities[at])):
        if probabilities[index] > level / (len(probabilities) - rank):
            break
        refused[index] = True
    return refused


def _wilson(share: float, of: float) -> tuple[float, float]:
    middle = (share + Z * Z / (2 * of)) / (1 + Z * Z / of)
    half = Z / (1 + Z * Z / of) * sqrt(share * (1 - share) / of + Z * Z / (4 * of * of))
    return (0.0 if share == 0.0 else max(0.0, middle - half)), (1.0 if share == 1.0 else min(1.0, middle + half))
