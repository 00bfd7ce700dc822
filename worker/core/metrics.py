"""How good a reward model is on labeled pairs; numpy only, so that web code may import it.

Shapes: (n,) pairs. `reward_1` and `reward_2` are the rewards of both sides, `preference` is non-zero and
negative when side 1 is better, `prompt_keys` says which pairs share a prompt.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95

Floats = NDArray[np.float64]


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


def bootstrap_by_prompt(
    values: ArrayLike, prompt_keys: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> Floats:
    """Return the mean of `values` (n,) in each of `resamples` draws of prompts with replacement.

    Pairs of one prompt are not independent, so whole prompts are drawn, each with all its pairs.
    """
    values = np.asarray(values, dtype=np.float64)
    _, prompt = np.unique(np.asarray(prompt_keys, dtype=str), return_inverse=True)
    sums = np.bincount(prompt, weights=values)
    counts = np.bincount(prompt).astype(np.float64)
    rng = np.random.default_rng(seed)
    # Drawing prompts with replacement is the same as drawing how often each one occurs: (resamples, prompts)
    # at most once in memory per 256 draws, however many pairs there are.
    means = np.empty(resamples)
    for start in range(0, resamples, 256):
        size = min(256, resamples - start)
        times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=size)
        means[start : start + size] = (times @ sums) / (times @ counts)
    return means


def interval(means: Floats, confidence: float = CONFIDENCE) -> list[float]:
    """Return the central interval of bootstrap means as [low, high]."""
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return [float(low), float(high)]


def evaluate_pairs(
    reward_1: ArrayLike,
    reward_2: ArrayLike,
    preference: ArrayLike,
    prompt_keys: Sequence[str],
    length_1: ArrayLike,
    length_2: ArrayLike,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Return the scorecard of a model as JSON types; None without pairs.

    `length_baseline` is the accuracy of "the longer response wins" on the same pairs. A model that has
    learned only length scores 0 in `accuracy_shorter_won`, so the two subset accuracies always stand beside
    the total.
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
) -> dict[str, Any] | None:
    """Compare two models, each (reward_1, reward_2) on the same pairs; None without pairs.

    `difference` is candidate minus current accuracy. `probability_better` is the share of bootstrap draws in
    which the candidate is ahead, a draw with equal accuracy counting 1/2.
    """
    current_hits = pair_hits(*current, preference)
    candidate_hits = pair_hits(*candidate, preference)
    if not len(current_hits):
        return None
    means = bootstrap_by_prompt(candidate_hits - current_hits, prompt_keys, seed)
    return {
        "n": len(current_hits),
        "prompts": len(set(prompt_keys)),
        "current_accuracy": _mean(current_hits),
        "candidate_accuracy": _mean(candidate_hits),
        "difference": _mean(candidate_hits - current_hits),
        "difference_interval": interval(means),
        "probability_better": float((means > 0).mean() + 0.5 * (means == 0).mean()),
    }


def _signs(preference: ArrayLike) -> Floats:
    signs = np.sign(np.asarray(preference, dtype=np.float64))
    if not signs.all():
        raise ValueError("A preference of 0 has no better side; leave such pairs out before measuring.")
    return signs


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
