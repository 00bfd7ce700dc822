"""How far several people agree: pair agreement, Cohen's and Fleiss' kappa, Krippendorff's alpha; numpy only.

Every figure is a function of counts: how many votes of each category a unit (a comparison) has, and how many units have
the same counts. A million votes on the preference scale come down to a few hundred distinct rows, so that the figures
and a thousand bootstrap samples of units cost milliseconds.

A category without a number ("neither valid") is one more category where values are only told apart, and left out where
they are measured: it is never a number.

Shapes: (h, c) for h distinct rows of counts over c categories; (..., c, c) for pairs of votes, one table or many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker.core.metrics import CONFIDENCE

RESAMPLES = 1000
MOST_DRAWS = 4_000_000
"""So many numbers are drawn at most for intervals: with very many distinct rows there are fewer resamples, or none."""
LEAST_RESAMPLES = 200
MOST_UNDEFINED = 0.05
"""A figure that more of the resamples leave undefined gets no interval."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weights = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap interval; None where the data do not define it."""

    value: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Votes:
    """Units by their counts: `times[i]` units have `rows[i]` votes per category; `values` are the categories' numbers.

    A value of None marks a category that has no number.
    """

    rows: Ints
    times: Ints
    values: tuple[float | None, ...]

    @property
    def units(self) -> int:
        """Return the number of units with at least one vote."""
        return int(self.times.sum())

    @property
    def votes(self) -> int:
        """Return the number of votes."""
        return int((self.rows.sum(axis=1) * self.times).sum())

    def paired(self) -> "Votes":
        """Leave out units with a single vote: nobody can agree there."""
        return self._where(self.rows.sum(axis=1) >= 2)

    def measured(self) -> "Votes":
        """Leave out the categories without a number."""
        numbered = [index for index, value in enumerate(self.values) if value is not None]
        rows = self.rows[:, numbered]
        left = Votes(rows, self.times, tuple(self.values[index] for index in numbered))
        return left._where(rows.sum(axis=1) > 0)

    def by_side(self) -> "Votes":
        """Put values with the same sign into one category; those without a number stay as they are."""
        order = [-1.0, 0.0, 1.0, None]
        signs = [None if value is None else float(np.sign(value)) for value in self.values]
        kept = [sign for sign in order if sign in signs]
        if not kept:
            return self
        rows = np.stack(
            [self.rows[:, [at for at, sign in enumerate(signs) if sign == each]].sum(axis=1) for each in kept], axis=1
        )
        return Votes(rows, self.times, tuple(kept))

    def _where(self, chosen: NDArray[np.bool_]) -> "Votes":
        return Votes(self.rows[chosen], self.times[chosen], self.values)


def tally(units: ArrayLike, categories: ArrayLike, values: Sequence[float | None]) -> Votes:
    """Count votes: `units` (n,) says of which unit each is, `categories` (n,) which of `values` it names."""
    unit_of, category_of = np.asarray(units), np.asarray(categories, dtype=np.int64)
    if not len(unit_of):
        return Votes(np.zeros((0, len(values)), np.int64), np.zeros(0, np.int64), tuple(values))
    if category_of.min() < 0 or category_of.max() >= len(values):
        raise ValueError("A category is named by its place among the values.")
    _, unit = np.unique(unit_of, return_inverse=True)
    width = len(values)
    counted = np.bincount(unit * width + category_of, minlength=(int(unit.max()) + 1) * width)
    rows, times = _distinct(counted.reshape(-1, width))
    return Votes(rows, times, tuple(values))


def categorised(numbers: ArrayLike, values: Sequence[float | None]) -> Ints:
    """Return the place of each number (n,) among `values`; NaN stands for the value None."""
    given = np.asarray(numbers, dtype=np.float64)
    wanted = np.array([np.nan if value is None else value for value in values])
    same = given[:, None] == wanted[None, :]
    same |= np.isnan(given)[:, None] & np.isnan(wanted)[None, :]
    if not same.any(axis=1).all():
        raise ValueError("A number is not among the values.")
    return same.argmax(axis=1)


# --- Figures ---


def pair_agreement(votes: Votes) -> float | None:
    """Return the share of pairs of votes on one unit that are the same, all pairs counting alike."""
    return _same_pairs(votes, votes.times[None, :]).value


def cohen_kappa(first: ArrayLike, second: ArrayLike, weights: Weights = "none") -> float | None:
    """Return Cohen's kappa of two people on the same units, (n,) each (Cohen 1960, 1968).

    Weighted by the places of the labels that occur, one apart, as scikit-learn does: `cohen_kappa_score`.
    """
    one, other = np.asarray(first), np.asarray(second)
    labels, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    table = np.zeros((len(labels), len(labels)))
    np.add.at(table, (places[: len(one)], places[len(one) :]), 1.0)
    return _number(_kappa(table, _distances(len(labels), weights)))


def pooled_kappa(votes: Votes, weights: Weights = "none") -> float | None:
    """Return Cohen's kappa over all pairs of votes on the same unit, whoever cast them.

    So HelpSteer2 measures a thousand people of whom few share units (arXiv 2406.08673, table 1; quadratic weights). Who
    of a pair is first means nothing, so each pair counts in both orders. Weights go by the places of the values that
    occur, as in `cohen_kappa`.
    """
    used = votes.measured() if weights != "none" else votes
    return _number(_kappa(_pairs(used), _occurring_distances(used, weights)))


def fleiss_kappa(votes: Votes) -> float | None:
    """Return Fleiss' kappa (1971); of units with different numbers of votes, each unit counts alike."""
    used = votes.paired()
    return _number(_fleiss(*_fleiss_sums(used, used.times[None, :]))[0]) if used.units else None


def krippendorff_alpha(votes: Votes, level: Level = "nominal") -> float | None:
    """Return alpha (Krippendorff 2011, "Computing Krippendorff's alpha-reliability") for any number of votes a unit."""
    used = votes if level == "nominal" else votes.measured()
    return _number(_alpha(_coincidences(used), _numbers(used), level))


@dataclass(frozen=True)
class Agreement:
    """What a set of votes says about agreement; figures of categories, of sides, and of numbers."""

    units: int
    votes: int
    unmeasured: int
    exact: Estimate
    same_side: Estimate
    kappa: Estimate
    kappa_linear: Estimate
    kappa_quadratic: Estimate
    fleiss: Estimate
    alpha_nominal: Estimate
    alpha_ordinal: Estimate
    alpha_interval: Estimate


@dataclass(frozen=True)
class SamePairs:
    """Pairs of votes on one unit, and how many of them are the same and on the same side."""

    pairs: int
    same: int
    same_side: int
    exact: Estimate
    sided: Estimate


def same_pairs(votes: Votes, *, seed: int = 0, resamples: int = RESAMPLES) -> SamePairs:
    """Return the two shares of equal pairs alone, with the intervals that `agreement` gives them."""
    paired = votes.paired()
    sided, times = paired.by_side(), _resampled(paired, seed, resamples)
    return SamePairs(
        pairs=_pairs_among(paired.rows.sum(axis=1), paired),
        same=_pairs_among(paired.rows.T, paired),
        same_side=_pairs_among(sided.rows.T, sided),
        exact=_same_pairs(paired, times),
        sided=_same_pairs(sided, times),
    )


def agreement(votes: Votes, *, seed: int = 0, resamples: int = RESAMPLES) -> Agreement:
    """Return every figure with its interval, from bootstrap samples of whole units (the same draws for all figures).

    Units with a single vote are left out; `unmeasured` counts the votes without a number among the others.
    """
    paired = votes.paired()
    times = _resampled(paired, seed, resamples)
    sided, measured = paired.by_side(), paired.measured()
    has_number = [value is not None for value in paired.values]
    numbered = paired.rows[:, has_number]
    measurable = numbered.sum(axis=1) > 0
    measured_times = times[:, measurable]
    pairs, numbered_pairs = _tables(paired, times), _tables(measured, measured_times)
    coincidences = _tables(paired, times, shared=True)
    numbers, numbered_coincidences = _numbers(measured), _tables(measured, measured_times, shared=True)
    fleiss = _fleiss(*_fleiss_sums(paired, times)) if paired.units else np.array([np.nan])
    return Agreement(
        units=paired.units,
        votes=paired.votes,
        unmeasured=paired.votes - measured.votes,
        exact=_same_pairs(paired, times),
        same_side=_same_pairs(sided, times),
        kappa=_estimate(_kappa(pairs, _distances(pairs.shape[-1], "none"))),
        kappa_linear=_estimate(_kappa(numbered_pairs, _occurring_distances(measured, "linear"))),
        kappa_quadratic=_estimate(_kappa(numbered_pairs, _occurring_distances(measured, "quadratic"))),
        fleiss=_estimate(fleiss),
        alpha_nominal=_estimate(_alpha(coincidences, _numbers(paired), "nominal")),
        alpha_ordinal=_estimate(_alpha(numbered_coincidences, numbers, "ordinal")),
        alpha_interval=_estimate(_alpha(numbered_coincidences, numbers, "interval")),
    )


# --- Counting ---


def _distinct(rows: Ints) -> tuple[Ints, Ints]:
    """Return the distinct rows and how often each occurs; a row that fits one integer is compared as one."""
    base, width = int(rows.max()) + 1, rows.shape[1]
    if base**width >= 2**63:
        found, times = np.unique(rows, axis=0, return_counts=True)
        return found, times.astype(np.int64)
    keys = rows @ np.array([base**place for place in range(width)], dtype=np.int64)
    _, where, times = np.unique(keys, return_index=True, return_counts=True)
    return rows[where], times.astype(np.int64)


def _tables(votes: Votes, times: NDArray[Any], shared: bool = False) -> Floats:
    """Return the ordered pairs of different votes on one unit, (b, c, c) for each of b samples `times` (b, h).

    `shared` divides those of a unit with m votes by m - 1: Krippendorff's coincidences.
    """
    width = votes.rows.shape[1]
    rows = votes.rows.astype(np.float64)
    tables = rows[:, :, None] * rows[:, None, :]
    tables[:, range(width), range(width)] -= rows
    if shared:
        tables /= np.maximum(rows.sum(axis=1) - 1, 1)[:, None, None]
    return (times.astype(np.float64) @ tables.reshape(len(rows), width * width)).reshape(len(times), width, width)


def _pairs(votes: Votes) -> Floats:
    return _tables(votes, votes.times[None, :])[0]


def _coincidences(votes: Votes) -> Floats:
    return _tables(votes, votes.times[None, :], shared=True)[0]


def _numbers(votes: Votes) -> Floats:
    return np.array([np.nan if value is None else value for value in votes.values], dtype=np.float64)


def _distances(width: int, weights: Weights) -> Floats:
    apart = np.abs(np.subtract.outer(np.arange(width), np.arange(width))).astype(np.float64)
    if weights == "none":
        return (apart > 0).astype(np.float64)
    return apart if weights == "linear" else apart**2


def _occurring_distances(votes: Votes, weights: Weights) -> Floats:
    """Return distances between categories by their places among those that occur; the others are never used."""
    occurs = (votes.rows.sum(axis=0) > 0).astype(np.int64)
    places = np.cumsum(occurs) - occurs
    return _distances(len(occurs) + 1, weights)[np.ix_(places, places)]


# --- Formulas, over one table (c, c) or many (b, c, c) ---


def _same_pairs(votes: Votes, times: NDArray[Any]) -> Estimate:
    """Return the share of equal pairs with its interval; sums per row alone, without the table of all categories."""
    rows = votes.rows.astype(np.float64)
    size, weights = rows.sum(axis=1), times.astype(np.float64)
    same = (rows * (rows - 1)).sum(axis=1)
    return _estimate(_divide(weights @ same, weights @ (size * (size - 1))))


def _pairs_among(sizes: Ints, votes: Votes) -> int:
    """Return how many pairs there are among so many votes, (h,) or (c, h), over all units."""
    return int((sizes * (sizes - 1) // 2 * votes.times).sum())


def _kappa(table: Floats, distances: Floats) -> Floats:
    """Return 1 - observed / expected disagreement."""
    total = table.sum(axis=(-2, -1))
    rows, columns = table.sum(axis=-1), table.sum(axis=-2)
    expected = (rows[..., :, None] * columns[..., None, :] * distances).sum(axis=(-2, -1))
    return 1.0 - _divide((table * distances).sum(axis=(-2, -1)) * total, expected)


def _alpha(coincidences: Floats, values: Floats, level: Level) -> Floats:
    """Return 1 - observed / expected disagreement; pairs are drawn without putting back, hence n - 1."""
    votes = coincidences.sum(axis=-1)
    total = votes.sum(axis=-1)
    if level == "ordinal":
        # All votes from one category to the other, the two themselves by half.
        middle = np.cumsum(votes, axis=-1) - votes / 2
        distances = (middle[..., :, None] - middle[..., None, :]) ** 2
    elif level == "interval":
        distances = np.subtract.outer(values, values) ** 2
    else:
        distances = 1.0 - np.eye(len(values))
    expected = (votes[..., :, None] * votes[..., None, :] * distances).sum(axis=(-2, -1))
    return 1.0 - _divide((coincidences * distances).sum(axis=(-2, -1)) * (total - 1), expected)


def _fleiss_sums(votes: Votes, times: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the mean agreement within units (b,) and the votes per category (b, c)."""
    rows, weights = votes.rows.astype(np.float64), times.astype(np.float64)
    size = rows.sum(axis=1)
    within = (rows * (rows - 1)).sum(axis=1) / (size * (size - 1))
    return (weights @ within) / weights.sum(axis=1), weights @ rows


def _fleiss(within: Floats, categories: Floats) -> Floats:
    shares = categories / categories.sum(axis=1, keepdims=True)
    chance = (shares**2).sum(axis=1)
    return _divide(within - chance, 1.0 - chance)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Return the quotient, NaN where there is nothing to divide by."""
    bottom = np.asarray(denominator, dtype=np.float64)
    empty = np.abs(bottom) < 1e-12
    return np.where(empty, np.nan, np.asarray(numerator) / np.where(empty, 1.0, bottom))


# --- Intervals ---


def _resampled(votes: Votes, seed: int, resamples: int) -> Ints:
    """Return how often each row occurs, (1 + b, h): as counted, then in draws of as many units with putting back."""
    distinct = len(votes.times)
    draws = min(resamples, MOST_DRAWS // max(1, distinct))
    if votes.units < 2 or draws < min(resamples, LEAST_RESAMPLES):
        return votes.times[None, :]
    drawn = np.random.default_rng(seed).multinomial(votes.units, votes.times / votes.units, size=draws)
    return np.concatenate([votes.times[None, :], drawn])


def _estimate(figures: Floats) -> Estimate:
    """Return the first figure, with the central interval of the others."""
    value, drawn = _number(figures[0]), figures[1:]
    defined = drawn[~np.isnan(drawn)]
    if value is None or len(defined) == 0 or len(defined) < (1 - MOST_UNDEFINED) * len(drawn):
        return Estimate(value)
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, (float(low), float(high)))


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
