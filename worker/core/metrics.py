"""How good a reward model is on labeled pairs; numpy only, so that web code may import it.

Shapes: (n,) pairs. `reward_1` and `reward_2` are the rewards of both sides, `preference` is non-zero and
negative when side 1 is better, `prompt_keys` says which pairs share a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
COMPARISON_RESAMPLES = 4000
"""A comparison has one figure a draw, and promotion hangs on it: its probabilities are sure to 0.8 points."""
CONFIDENCE = 0.95
QUANTILES = 201
FEW_PROMPTS = 10
"""An interval from fewer is drawn from so few prompts that it says little, mostly too narrow."""
_CELLS = 1 << 21
"""Counts in memory at once while prompts are drawn, 16 MB of them."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def pair_hits(reward_1: ArrayLike, reward_2: ArrayLike, preference: ArrayLike) -> Floats:
    """Return 1 per pair whose better side has the higher reward, 1/2 for equal rewards, else 0; (n,)."""
    side = _signs(preference)
    difference = np.asarray(reward_2, dtype=np.float64) - np.asarray(reward_1, dtype=np.float64)
    return np.where(difference == 0, 0.5, (difference * side > 0).astype(np.float64))


def pair_accuracy(reward_1: ArrayLike, reward_2: ArrayLike, preference: ArrayLike) -> float | None:
    """Return the share of pairs ordered as labeled (micro average, ties count 1/2); None without pairs."""
    return _mean(pair_hits(reward_1, reward_2, preference))


def log_loss(reward_1: ArrayLike, reward_2: ArrayLike, preference: ArrayLike) -> float | None:
    """Return the mean of -log sigmoid(reward of the better - of the worse side); None without pairs."""
    difference = np.asarray(reward_2, dtype=np.float64) - np.asarray(reward_1, dtype=np.float64)
    return _mean(np.logaddexp(0.0, -difference * _signs(preference)))


def prompt_numbers(prompt_keys: Sequence[str]) -> Ints:
    """Return the number of each pair's prompt, from 0, in the order of their first pair; (n,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in prompt_keys], dtype=np.int64)


def bootstrap_by_prompt(
    values: ArrayLike, prompt_keys: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> Floats:
    """Return the mean of `values` (n,) in each of `resamples` draws of prompts with replacement.

    Pairs of one prompt are not independent, so whole prompts are drawn, each with all its pairs.
    """
    return bootstrap(sums_by_prompt(np.asarray(values), prompt_numbers(prompt_keys)), seed, resamples)[:, 0]


@dataclass(frozen=True)
class PromptSums:
    """What the pairs of each prompt add up to in each of k groups, and how many there are; both (prompts, k)."""

    totals: Floats
    counts: Floats

    def __or__(self, other: "PromptSums") -> "PromptSums":
        """Return the groups of both, about the same prompts."""
        return PromptSums(np.hstack([self.totals, other.totals]), np.hstack([self.counts, other.counts]))


def sums_by_prompt(
    values: ArrayLike, prompt: Ints, group: Ints | None = None, groups: int = 1, prompts: int | None = None
) -> PromptSums:
    """Add up `values` (n,) by the number of the prompt and of the group; a group below 0 is none."""
    number = (int(prompt.max()) + 1 if len(prompt) else 0) if prompts is None else prompts
    at = prompt if group is None else prompt * groups + group
    chosen = slice(None) if group is None else group >= 0
    weights = np.asarray(values, dtype=np.float64)[chosen]
    size = number * groups
    totals = np.bincount(at[chosen], weights, size).astype(np.float64)
    counts = np.bincount(at[chosen], minlength=size).astype(np.float64)
    return PromptSums(totals.reshape(number, groups), counts.reshape(number, groups))


def bootstrap(sums: PromptSums, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """Return the mean of each group in each draw of prompts, (resamples, k); NaN where a draw has none of the group.

    All groups share their draws, so that differences between them are differences on the same prompts.
    """
    prompts, k = sums.totals.shape
    both = np.hstack([sums.totals, sums.counts])
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, k))
    step = max(1, min(resamples, _CELLS // max(1, prompts)))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times = np.empty((size, prompts))
        for draw in range(size):  # one at a time, so that the counts stay in the processor's cache
            times[draw] = np.bincount(rng.integers(prompts, size=prompts), minlength=prompts)
        drawn = times @ both
        with np.errstate(invalid="ignore"):
            means[start : start + size] = drawn[:, :k] / drawn[:, k:]
    return means


def interval(means: Floats, confidence: float = CONFIDENCE) -> list[float]:
    """Return the central interval of bootstrap means as [low, high]."""
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return [float(low), float(high)]


def group_figures(sums: PromptSums, means: Floats) -> list[dict[str, Any]]:
    """Return n, prompts, mean and interval of each group of `bootstrap`; an interval needs two prompts."""
    n, prompts = sums.counts.sum(axis=0), (sums.counts > 0).sum(axis=0)
    totals = sums.totals.sum(axis=0)
    return [
        {
            "n": int(n[group]),
            "prompts": int(prompts[group]),
            "accuracy": float(totals[group] / n[group]) if n[group] else None,
            "interval": interval(means[~np.isnan(means[:, group]), group]) if prompts[group] > 1 else None,
        }
        for group in range(len(n))
    ]


def evaluate_pairs(
    reward_1: ArrayLike,
    reward_2: ArrayLike,
    preference: ArrayLike,
    prompt_keys: Sequence[str],
    length_1: ArrayLike,
    length_2: ArrayLike,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Return the figures every model is listed with, as JSON types; None without pairs.

    `length_baseline` is the accuracy of "the longer response wins" on the same pairs. A model that has
    learned only length scores 0 in `accuracy_shorter_won`, so the two subset accuracies always stand beside
    the total. `worker.core.scorecard` has everything else.
    """
    hits = pair_hits(reward_1, reward_2, preference)
    if not len(hits):
        return None
    length_hits = pair_hits(length_1, length_2, preference)
    means = bootstrap_by_prompt(hits, prompt_keys, seed)
    margins = np.abs(np.asarray(reward_2, dtype=np.float64) - np.asarray(reward_1, dtype=np.float64))
    return {
        "n": len(hits),
        "prompts": len(set(prompt_keys)),
        "accuracy": _mean(hits),
        "accuracy_interval": interval(means),
        "reward_ties": int((hits == 0.5).sum()),
        "log_loss": log_loss(reward_1, reward_2, preference),
        "mean_margin": _mean(margins),
        "length_baseline": _mean(length_hits),
        "accuracy_longer_won": _mean(hits[length_hits == 1]),
        "n_longer_won": int((length_hits == 1).sum()),
        "accuracy_shorter_won": _mean(hits[length_hits == 0]),
        "n_shorter_won": int((length_hits == 0).sum()),
    }


def compare_models(
    current: tuple[ArrayLike, ArrayLike],
    candidate: tuple[ArrayLike, ArrayLike],
    preference: ArrayLike,
    prompt_keys: Sequence[str],
    seed: int = 0,
    resamples: int = COMPARISON_RESAMPLES,
) -> dict[str, Any] | None:
    """Compare two models, each (reward_1, reward_2) on the same pairs; None without pairs.

    `difference` is candidate minus current accuracy. `probability_better` is the share of bootstrap draws in
    which the candidate is ahead, a draw with equal accuracy counting 1/2. `difference_quantiles` are those of the
    draws in equal steps from the least to the greatest: what `probability_of_gain` reads.
    """
    current_hits = pair_hits(*current, preference)
    candidate_hits = pair_hits(*candidate, preference)
    if not len(current_hits):
        return None
    means = bootstrap_by_prompt(candidate_hits - current_hits, prompt_keys, seed, resamples)
    return {
        "n": len(current_hits),
        "prompts": len(set(prompt_keys)),
        "current_accuracy": _mean(current_hits),
        "candidate_accuracy": _mean(candidate_hits),
        "difference": _mean(candidate_hits - current_hits),
        "difference_interval": interval(means),
        "probability_better": float((means > 0).mean() + 0.5 * (means == 0).mean()),
        "difference_quantiles": np.quantile(means, np.linspace(0, 1, QUANTILES)).round(6).tolist(),
        "seed": seed,
        "resamples": resamples,
    }


def probability_of_gain(comparison: dict[str, Any], least: float) -> float:
    """Return how probable it is that the candidate is better by at least `least`, from `compare_models`.

    Read off the stored quantiles, so good to half a point; for 0 it is `probability_better`, ties counting 1/2.
    """
    if least <= 0.0:
        return float(comparison["probability_better"])
    return float((np.asarray(comparison["difference_quantiles"]) >= least - 1e-6).mean())


def _signs(preference: ArrayLike) -> Floats:
    signs = np.sign(np.asarray(preference, dtype=np.float64))
    if not signs.all():
        raise ValueError("A preference of 0 has no better side; leave such pairs out before measuring.")
    return signs


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
