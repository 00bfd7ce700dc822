"""Find rules in labels alone: measured properties that people's choices follow, told from chance, few and different.

The prompts are dealt into three parts, so that no figure stands on what it was chosen by:

1. on *discovery*, every candidate is tested against a fair coin, and the false discovery rate of all of them together
   is held at `LEVEL` under any dependence (Benjamini and Yekutieli 2001: candidates over one text are anything but
   independent);
2. on *selection*, rules over different properties are added one at a time, the best first, while the held-out log-loss
   of their weighted vote improves;
3. on *test*, what came out is measured once.

A project with few prompts and many responses to each is dealt by response instead (`worker.core.rules.units`). Which
response stands first never matters: exchanging the two of a pair changes no figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import erfc, log, sqrt

import numpy as np
from numpy.typing import NDArray

from worker.core.rules.properties import COUNT, PROPERTIES, YES_NO
from worker.core.rules.statements import LESS, MORE, MeasuredRule
from worker.core.rules.units import (
    DISCOVERY,
    SELECTION,
    TEST,
    Labels,
    accuracy_of,
    agreement_of,
    difference_of,
)
from worker.core.shares import Share, sign_test

LEVEL = 0.05
LEAST_COVERAGE = 0.02
"""A rule that prefers a response on fewer of the pairs is of no use (and is retired elsewhere, too)."""
QUANTILES = (0.25, 0.5, 0.75, 0.9)
MOST_RULES = 12
MOST_ALIKE = 0.8
"""Two rules whose votes correlate more than this say the same thing."""
LOOKED_AT = 12
"""So many candidates, those that explain most of what is left, are tried at each step."""
RIDGE = 1.0
Floats = NDArray[np.float64]
Votes = NDArray[np.int8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """A rule of the set, by its place among the candidates; `flipped` prefers the other response."""

    place: int
    flipped: bool
    weight: float
    probability: float


@dataclass(frozen=True)
class Mined:
    """What the miner found; shares and agreement are measured on the test part."""

    rules: list[MeasuredRule]
    found: list[Found]
    votes: Votes
    """What each rule prefers in each pair (m, k)."""
    tested: int
    significant: int
    agreement: list[Share]
    discovered: list[Share]
    """Of each rule on the part that it was found on: too good, and kept beside the other."""
    accuracy: Share
    length_accuracy: Share
    gain: tuple[float, float, float] | None
    """How much more often than length the set is right, with its interval; None without rules or test pairs."""


def mine(first: Floats, second: Floats, names: Sequence[str], labels: Labels) -> Mined:
    """Find a small set of rules in the measured values (m, p) of response 1 and response 2 of labeled pairs."""
    discovery, test = labels.part == DISCOVERY, labels.part == TEST
    proposed = candidates(first, second, names, discovery)
    votes = vote_matrix(proposed, first, second, names)
    found, significant = select(votes, labels, [rule.name for rule in proposed])
    chosen = oriented(votes, found)
    length = _length_votes(first, second, names, labels)
    scored = chosen @ np.array([each.weight for each in found]) if found else np.zeros(len(votes))
    held_out, shown = labels.where(test), labels.where(discovery)
    return Mined(
        rules=[_facing(proposed[each.place], each.flipped) for each in found],
        found=found,
        votes=chosen,
        tested=len(proposed),
        significant=significant,
        agreement=[agreement_of(chosen[test, at], held_out) for at in range(len(found))],
        discovered=[agreement_of(chosen[discovery, at], shown) for at in range(len(found))],
        accuracy=accuracy_of(scored[test], held_out),
        length_accuracy=accuracy_of(length[test], held_out),
        gain=difference_of(scored[test], length[test], held_out) if found else None,
    )


def candidates(first: Floats, second: Floats, names: Sequence[str], discovery: Bools) -> list[MeasuredRule]:
    """Return every rule worth a test, all wanting more; thresholds come from the values alone, never from labels."""
    proposed = []
    for column, name in enumerate(names):
        values = np.concatenate([first[discovery, column], second[discovery, column]])
        values = values[~np.isnan(values)]
        if len(values) == 0 or values.min() == values.max():
            continue
        if PROPERTIES[name].unit == YES_NO:
            proposed.append(MeasuredRule(name, MORE, 1.0, relative=False))
            continue
        thresholds = {_readable(edge) for edge in np.quantile(values, QUANTILES)}
        if PROPERTIES[name].unit == COUNT and values.min() == 0.0:
            thresholds.add(1.0)
        proposed.append(MeasuredRule(name, MORE, _readable(float(np.median(values))), relative=True))
        proposed += [
            MeasuredRule(name, MORE, edge, relative=False)
            for edge in sorted(thresholds)
            if values.min() < edge <= values.max()
        ]
    return proposed


def vote_matrix(rules: Sequence[MeasuredRule], first: Floats, second: Floats, names: Sequence[str]) -> Votes:
    """Return what each rule prefers in each pair (m, c)."""
    column = {name: at for at, name in enumerate(names)}
    votes = np.empty((len(first), len(rules)), dtype=np.int8)
    for at, rule in enumerate(rules):
        votes[:, at] = rule.votes(first[:, column[rule.name]], second[:, column[rule.name]])
    return votes


def select(votes: Votes, labels: Labels, families: Sequence[str]) -> tuple[list[Found], int]:
    """Return the rules of the set, in the order in which they were added, and how many candidates chance did not make.

    Of one family, such as all thresholds of one property, at most one candidate gets in.
    """
    probabilities, direction = _tested(votes[labels.part == DISCOVERY], labels.where(labels.part == DISCOVERY))
    open_to = np.flatnonzero(below_false_discovery_rate(probabilities, LEVEL))
    if len(open_to) == 0:
        return [], 0
    faced = votes[:, open_to] * direction[open_to]
    chosen, weights = _add_one_by_one(faced, labels, [families[at] for at in open_to.tolist()])
    found = [
        Found(int(open_to[at]), bool(direction[open_to[at]] < 0), weight, float(probabilities[open_to[at]]))
        for at, weight in zip(chosen, weights, strict=True)
    ]
    return found, len(open_to)


def below_false_discovery_rate(probabilities: Floats, level: float) -> Bools:
    """Say which of many tests (c,) are discoveries (Benjamini and Yekutieli 2001, Theorem 1.3: any dependence).

    >>> below_false_discovery_rate(np.array([0.001, 0.9, 0.02, 0.04]), 0.05).tolist()
    [True, False, False, False]
    """
    count = len(probabilities)
    if count == 0:
        return np.zeros(0, dtype=np.bool_)
    order = np.argsort(probabilities, kind="stable")
    harmonic = float((1.0 / np.arange(1, count + 1)).sum())
    under = np.flatnonzero(probabilities[order] <= level * np.arange(1, count + 1) / (count * harmonic))
    discoveries = np.zeros(count, dtype=np.bool_)
    if len(under):
        discoveries[order[: under[-1] + 1]] = True
    return discoveries


def oriented(votes: Votes, found: Sequence[Found]) -> Votes:
    """Return the votes of the rules of the set (m, k)."""
    signs = np.array([-1 if each.flipped else 1 for each in found], dtype=np.int8)
    return votes[:, [each.place for each in found]] * signs


def _tested(votes: Votes, labels: Labels) -> tuple[Floats, Votes]:
    """Return how probable each candidate's result is by chance (c,), and whether it follows people (1) or not (−1).

    By prompt: pairs of one prompt share its text, so a prompt is one throw of the coin, the side of the majority of its
    pairs (exact sign test, Dixon and Mood 1946). By response: a normal test with the variance of linked pairs, and a
    correction for continuity.
    """
    agrees = votes.astype(np.int32) * labels.side[:, None]
    covered = (votes != 0).mean(axis=0) >= LEAST_COVERAGE if len(votes) else np.zeros(votes.shape[1], dtype=np.bool_)
    if labels.by_prompt:
        sums = labels.sums(agrees)
        won, lost = (sums > 0).sum(axis=0), (sums < 0).sum(axis=0)
        counted = zip(won.tolist(), lost.tolist(), strict=True)
        probabilities = np.array([_coin(count, count + other) for count, other in counted], dtype=np.float64)
        follows = won >= lost
    else:
        total, variance = agrees.sum(axis=0), labels.variances(agrees)
        apart = np.maximum(np.abs(total) - 1.0, 0.0) / np.sqrt(np.maximum(variance, 1.0))
        probabilities = np.array([erfc(each / sqrt(2)) for each in apart], dtype=np.float64)
        follows = total >= 0
    return np.where(covered, probabilities, 1.0), np.where(follows, 1, -1).astype(np.int8)


@lru_cache(maxsize=100_000)
def _coin(count: int, of: int) -> float:
    probability = sign_test(count, of)
    return 1.0 if probability is None else probability


def _add_one_by_one(votes: Votes, labels: Labels, families: Sequence[str]) -> tuple[list[int], list[float]]:
    """Return the columns that are added, in order, with the weights of their vote."""
    discovery, selection = labels.part == DISCOVERY, labels.part == SELECTION
    shown, held_out = votes[discovery].astype(np.float64), votes[selection].astype(np.float64)
    side, held_side = labels.side[discovery], labels.side[selection]
    chosen: list[int] = []
    if len(held_out) == 0:
        return [], []
    loss = log(2.0)
    while len(chosen) < MOST_RULES:
        left = _promising(shown, side, chosen, families)
        best: tuple[float, int] | None = None
        for column in left:
            weights = fit_weights(shown[:, [*chosen, column]], side)
            if weights.min() <= 0:
                continue
            tried = float(np.logaddexp(0.0, -held_side * (held_out[:, [*chosen, column]] @ weights)).mean())
            if best is None or tried < best[0]:
                best = tried, column
        if best is None or best[0] >= loss:
            break
        loss = best[0]
        chosen.append(best[1])
    both = discovery | selection
    weights = fit_weights(votes[both][:, chosen].astype(np.float64), labels.side[both]) if chosen else np.zeros(0)
    return chosen, [round(max(float(weight), 1e-4), 4) for weight in weights]


def _promising(votes: Floats, side: Votes, chosen: list[int], families: Sequence[str]) -> list[int]:
    """Return the columns that explain most of what the chosen ones leave, without those that say the same."""
    weights = fit_weights(votes[:, chosen], side) if chosen else np.zeros(0)
    left = side / (1.0 + np.exp(side * (votes[:, chosen] @ weights)))
    size = np.sqrt((votes**2).sum(axis=0)) + 1e-12
    strength = (left @ votes) / size
    for column in chosen:
        alike = np.abs(votes[:, column] @ votes) / (size * size[column])
        strength[(alike > MOST_ALIKE) | (np.array(families) == families[column])] = -np.inf
    order = np.argsort(-strength, kind="stable")[:LOOKED_AT]
    return [int(column) for column in order if strength[column] > 0]


def fit_weights(votes: Floats, side: Votes) -> Floats:
    """Return the weights (k,) of a vote whose sign is people's choice: logistic regression without an intercept.

    Without one, because exchanging the responses of a pair must exchange the answer. Newton's method on the mean
    log-loss plus RIDGE / 2 · |w|² over the number of pairs.
    """
    weights = np.zeros(votes.shape[1])
    for _ in range(25):
        chance = 1.0 / (1.0 + np.exp(np.clip(side * (votes @ weights), -500, 500)))
        gradient = votes.T @ (side * chance) - RIDGE * weights
        curvature = (votes * (chance * (1 - chance))[:, None]).T @ votes + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return weights


def _length_votes(first: Floats, second: Floats, names: Sequence[str], labels: Labels) -> Votes:
    """Return the length baseline: the longer response, or the shorter one where discovery says so."""
    column = list(names).index("characters")
    votes = MeasuredRule("characters", MORE, 0.0, relative=True).votes(first[:, column], second[:, column])
    discovery = labels.part == DISCOVERY
    follows = int((votes[discovery].astype(np.int64) * labels.side[discovery]).sum()) >= 0
    return votes if follows else -votes


def _facing(rule: MeasuredRule, flipped: bool) -> MeasuredRule:
    return replace(rule, wants=LESS if flipped else MORE)


def _readable(threshold: float) -> float:
    """Round a threshold to two significant digits, as a person would state it."""
    return float(f"{threshold:.2g}")
