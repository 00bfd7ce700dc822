"""What annotations say about themselves: agreement by stage, bias of positions and lengths; numpy only.

A *side* is what a vote comes down to: response 1, response 2, a tie, or neither valid. A vote is *decisive* if it names
one of the two responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from worker.core.agreement import Agreement, Estimate, agreement, categorised, tally
from worker.core.shares import Share, share_by_unit, share_of, sign_test

PREFERENCES: tuple[float | None, ...] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, None)
OVERALL = "helpfulness"
"""The rating that stands for a whole response in HelpSteer2, and so can contradict the preference."""
LENGTH_RATIOS = (1.25, 2.0, 4.0)
"""Where one bucket of lengths ends: the longer response so many times as long as the other."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_FIRST, _TIE, _SECOND, _NEITHER = range(4)


@dataclass(frozen=True)
class Annotations:
    """Current annotations without repeats, in columns of length n; canonical order, NaN where nothing was measured.

    `preference` is NaN for neither valid. `kept` and `agreed` are the consensus rules' words on the annotation and on
    its comparison; `control`, `gold` and `expected` (what rules with high agreement prefer: −1 or 1) are of its
    comparison. `ratings_1` and `ratings_2` are (n, a).
    """

    comparison: Ints
    annotator: Ints
    guideline: Ints
    preference: Floats
    swapped: Bools
    imported: Bools
    kept: Bools
    agreed: Bools
    control: Bools
    gold: Floats
    expected: Floats
    length_1: Ints
    length_2: Ints
    active_seconds: Floats
    characters: Ints
    pasted: Floats
    text_hash: Ints
    ratings_1: Floats
    ratings_2: Floats

    def __len__(self) -> int:
        return len(self.comparison)

    @property
    def decisive(self) -> Bools:
        """Say which votes name one of the two responses."""
        return ~np.isnan(self.preference) & (self.preference != 0)

    @property
    def shown(self) -> Bools:
        """Say which decisive votes were given on a page of ours, where an order was drawn."""
        return self.decisive & ~self.imported

    @property
    def first_side(self) -> Bools:
        """Say which decisive votes name the response that was shown first."""
        return (self.preference < 0) != self.swapped

    @property
    def of_two_lengths(self) -> Bools:
        """Say which decisive votes are about responses of different length."""
        return self.decisive & (self.length_1 != self.length_2)

    @property
    def longer_side(self) -> Bools:
        """Say which decisive votes name the longer response."""
        return (self.preference > 0) == (self.length_2 > self.length_1)

    @property
    def sides(self) -> Ints:
        """Return what each vote comes down to."""
        return sides_of(self.preference)

    @property
    def same_ratings(self) -> Floats:
        """Return 1 where every rating of both responses is the same number, 0 where not, NaN for too few ratings."""
        both = np.concatenate([self.ratings_1, self.ratings_2], axis=1)
        given = ~np.isnan(both)
        low = np.where(given, both, np.inf).min(axis=1, initial=np.inf)
        high = np.where(given, both, -np.inf).max(axis=1, initial=-np.inf)
        return np.where(given.sum(axis=1) >= 4, (low == high).astype(np.float64), np.nan)


@dataclass(frozen=True)
class Repeats:
    """What people answered the second time and the first time, (n,) each."""

    annotator: Ints
    preference: Floats
    earlier: Floats


# --- Agreement ---


@dataclass(frozen=True)
class Stage:
    """Agreement among some of the annotations, with how their preferences lie."""

    name: str
    mean_preference: float | None
    deviation: float | None
    agreement: Agreement


def agreement_stages(annotations: Annotations) -> list[Stage]:
    """Return agreement raw, among the most similar votes, and in comparisons on which people agree.

    The stages of HelpSteer2-Preference (arXiv 2410.01257). Much of the rise from one to the next is made by the rules,
    which choose votes that are alike; so raw always stands beside the others. Control items are left out: everybody has
    them, and their answer is known.
    """
    asked = ~annotations.control
    stages = {
        "raw": asked,
        "most_similar": asked & annotations.kept,
        "after_consensus": asked & annotations.kept & annotations.agreed,
    }
    return [_stage(name, annotations, chosen) for name, chosen in stages.items()]


def _stage(name: str, annotations: Annotations, chosen: Bools) -> Stage:
    preference = annotations.preference[chosen]
    numbers = preference[~np.isnan(preference)]
    votes = tally(annotations.comparison[chosen], categorised(preference, PREFERENCES), PREFERENCES)
    deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
    return Stage(name, mean_of(numbers), deviation, agreement(votes))


@dataclass(frozen=True)
class RatingAgreement:
    """How far people agree on one attribute of single responses: Cohen's kappa, quadratic weights, over all pairs."""

    attribute: str
    responses: int
    raw: Estimate
    after_consensus: Estimate


def rating_agreement(annotations: Annotations, attributes: Sequence[str]) -> list[RatingAgreement]:
    """Return agreement for each attribute that at least two people rated on one response."""
    found = []
    asked = ~annotations.control
    for place, name in enumerate(attributes):
        raw = _rating_kappa(annotations, place, asked)
        if raw.units:
            final = _rating_kappa(annotations, place, asked & annotations.kept & annotations.agreed)
            found.append(RatingAgreement(name, raw.units, raw.kappa_quadratic, final.kappa_quadratic))
    return found


def _rating_kappa(annotations: Annotations, place: int, chosen: Bools) -> Agreement:
    comparison = annotations.comparison[chosen]
    ratings = np.concatenate([annotations.ratings_1[chosen, place], annotations.ratings_2[chosen, place]])
    responses = np.concatenate([2 * comparison, 2 * comparison + 1])
    given = ~np.isnan(ratings)
    values, categories = np.unique(ratings[given], return_inverse=True)
    return agreement(tally(responses[given], categories, [float(value) for value in values]))


# --- Bias ---


@dataclass(frozen=True)
class PositionBias:
    """How often the response shown first is chosen; each order is a fair coin, so a half is expected."""

    first_side: Share
    probability: float | None
    shown_as_stored: Share
    without_order: int


def position_bias(annotations: Annotations) -> PositionBias:
    """Return the bias among decisive votes; those of imported annotations have no order that was shown."""
    shown = annotations.shown
    first = int(annotations.first_side[shown].sum())
    of = int(shown.sum())
    return PositionBias(
        first_side=share_of(first, of),
        probability=sign_test(first, of),
        shown_as_stored=share_of(int((~annotations.swapped[shown]).sum()), of),
        without_order=int((annotations.decisive & annotations.imported).sum()),
    )


@dataclass(frozen=True)
class LengthBucket:
    """Votes on pairs whose longer response is so many times as long as the other: from `at_least`, under `below`."""

    at_least: float
    below: float | None
    longer_side: Share


@dataclass(frozen=True)
class LengthBias:
    """How often the longer response is chosen. Longer may be better, so a half is not what is expected."""

    longer_side: Share
    equal_length: int
    by_ratio: list[LengthBucket]


def length_bias(annotations: Annotations) -> LengthBias:
    """Return the bias among decisive votes on responses of different length, counted in characters."""
    used = annotations.of_two_lengths
    longer, comparison = annotations.longer_side[used], annotations.comparison[used]
    lengths = np.stack([annotations.length_1[used], annotations.length_2[used]]).astype(np.float64)
    shorter = lengths.min(axis=0)
    ratio = np.divide(lengths.max(axis=0), shorter, out=np.full(len(shorter), np.inf), where=shorter > 0)
    edges = [1.0, *LENGTH_RATIOS, np.inf]
    buckets = []
    for low, high in pairwise(edges):
        inside = (ratio >= low) & (ratio < high) if np.isfinite(high) else ratio >= low
        below = float(high) if np.isfinite(high) else None
        buckets.append(LengthBucket(float(low), below, share_by_unit(longer[inside], comparison[inside])))
    return LengthBias(
        longer_side=share_by_unit(longer, comparison),
        equal_length=int((annotations.decisive & (annotations.length_1 == annotations.length_2)).sum()),
        by_ratio=buckets,
    )


@dataclass(frozen=True)
class StrengthGap:
    """Votes of one strength, and how many points the preferred response was rated above the other, on average."""

    strength: int
    votes: int
    mean_gap: float | None


@dataclass(frozen=True)
class Consistency:
    """Whether ratings and preference of one answer point the same way."""

    attribute: str
    same_way: Share
    equal_ratings: int
    correlation: float | None
    by_strength: list[StrengthGap]


def consistency(annotations: Annotations, attributes: Sequence[str]) -> Consistency | None:
    """Return how preferences go with the difference in helpfulness; None where that is not rated.

    HelpSteer2-Preference reports a correlation of 0.9024 between the two, after its consensus rules.
    """
    if OVERALL not in attributes:
        return None
    place = list(attributes).index(OVERALL)
    gap = annotations.ratings_2[:, place] - annotations.ratings_1[:, place]
    rated = ~np.isnan(gap) & ~np.isnan(annotations.preference)
    decisive = rated & annotations.decisive
    telling = decisive & (gap != 0)
    same = np.sign(gap[telling]) == np.sign(annotations.preference[telling])
    strengths = np.abs(annotations.preference)
    towards = gap * np.sign(annotations.preference)
    return Consistency(
        attribute=OVERALL,
        same_way=share_by_unit(same, annotations.comparison[telling]),
        equal_ratings=int((decisive & (gap == 0)).sum()),
        correlation=_correlation(annotations.preference[rated], gap[rated]),
        by_strength=[
            StrengthGap(each, int(chosen.sum()), mean_of(towards[chosen]))
            for each in (1, 2, 3)
            for chosen in [decisive & (strengths == each)]
        ],
    )


@dataclass(frozen=True)
class GuidelineFigures:
    """Answers that were given under one version of the guideline."""

    version: int
    annotations: int
    agrees_with_others: Share
    first_side: Share
    longer_side: Share
    neither: Share
    mean_strength: float | None
    median_seconds: float | None


def by_guideline(annotations: Annotations) -> list[GuidelineFigures]:
    """Return the figures of each version (by its id), in order: whether labels drift as the guideline changes."""
    judged, agrees = with_others(annotations)
    found = []
    for version in np.unique(annotations.guideline):
        mine = annotations.guideline == version
        shown, lengths = mine & annotations.shown, mine & annotations.of_two_lengths
        neither = np.isnan(annotations.preference[mine])
        found.append(
            GuidelineFigures(
                version=int(version),
                annotations=int(mine.sum()),
                agrees_with_others=share_by_unit(agrees[mine & judged], annotations.comparison[mine & judged]),
                first_side=share_of(int(annotations.first_side[shown].sum()), int(shown.sum())),
                longer_side=share_by_unit(annotations.longer_side[lengths], annotations.comparison[lengths]),
                neither=share_by_unit(neither, annotations.comparison[mine]),
                mean_strength=mean_of(np.abs(annotations.preference[mine & annotations.decisive])),
                median_seconds=median_of(annotations.active_seconds[mine]),
            )
        )
    return found


# --- Others ---


def with_others(annotations: Annotations) -> tuple[Bools, Bools]:
    """Say which votes can be held against those of others, and which of these agree with them; (n,) each.

    The others of a comparison, without the person, must be at least two, of whom more than half name the same side (or
    neither). The consensus itself would not do: a person is part of it, and it leaves out where somebody stands apart.
    """
    _, unit = np.unique(annotations.comparison, return_inverse=True)
    side = annotations.sides
    counted = np.bincount(unit * 4 + side, minlength=4 * (int(unit.max(initial=-1)) + 1)).reshape(-1, 4)
    others = counted[unit]
    others[np.arange(len(unit)), side] -= 1
    most = others.argmax(axis=1)
    majority = 2 * others.max(axis=1, initial=0) > others.sum(axis=1)
    judged = majority & (others.sum(axis=1) >= 2) & (most != _TIE) & ~annotations.control
    return judged, judged & (side == most)


# --- Small things ---


def sides_of(preference: Floats) -> Ints:
    """Return what each vote comes down to."""
    return np.where(np.isnan(preference), _NEITHER, np.sign(np.nan_to_num(preference)) + 1).astype(np.int64)


def median_of(values: Floats) -> float | None:
    """Return the median of the values that are not NaN; None without any."""
    given = values[~np.isnan(values)]
    return float(np.median(given)) if len(given) else None


def mean_of(values: Floats) -> float | None:
    """Return the mean; None without values."""
    return float(values.mean()) if len(values) else None


def _correlation(first: Floats, second: Floats) -> float | None:
    """Return Pearson's r; None for fewer than three, or where one of the two does not vary."""
    if len(first) < 3 or not first.std() or not second.std():
        return None
    return float(np.corrcoef(first, second)[0, 1])
