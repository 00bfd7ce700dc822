"""How well the margins of a reward model say how sure it may be; numpy only.

`better` (n,) is the reward of the labeled side minus that of the other: positive where the model agrees. A margin m
stands for the probability sigmoid(m / T) that the side with the higher reward is the better one (Bradley and Terry
1952); the temperature T > 0 is the only thing fitted (Guo et al. 2017, arXiv 1706.04599).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 10
LEAST_PAIRS = 20
"""With fewer, a half of them says nothing about the other half."""
LEAST_PROMPTS = 10
"""With fewer, a temperature that one half of them gives makes the figures of the other half worse, not better."""
_STEPS = 80

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def calibration(better: ArrayLike, prompt: ArrayLike, seed: int = 0) -> dict[str, Any] | None:
    """Return temperature, NLL, Brier, ECE and reliability bins as JSON types; None below LEAST_PAIRS.

    Prompts are cut into two halves, and each is measured with the temperature that the other half gave, so that no pair
    is judged by a temperature it took part in. `temperature` is that of all pairs. `raw` are the same figures at T = 1.
    Below LEAST_PROMPTS none is fitted: `temperature` is None, and all figures are those at T = 1.
    """
    margins, prompts = np.asarray(better, dtype=np.float64), np.asarray(prompt, dtype=np.int64)
    if len(margins) < LEAST_PAIRS:
        return None
    half = np.random.default_rng(seed).permutation(int(prompts.max()) + 1)[prompts] % 2 == 0
    fits = len(np.unique(prompts)) >= LEAST_PROMPTS and half.any() and not half.all()
    read = margins
    if fits:
        read = np.where(half, margins / temperature_of(margins[~half]), margins / temperature_of(margins[half]))
    return {
        "temperature": temperature_of(margins) if fits else None,
        **figures(read),
        "raw": {name: value for name, value in figures(margins).items() if name != "bins"},
    }


def temperature_of(better: Floats) -> float:
    """Return the T that minimises the mean of -log sigmoid(better / T).

    The mean is convex in 1/T, so its slope is bisected. Where the data put T at an end (every pair right, or more
    wrong than right) it stays within a factor of 1000 of the mean margin.
    """
    scale = float(np.abs(better).mean()) if len(better) else 0.0
    if scale == 0.0:
        return 1.0
    low, high = np.log(1e-3 / scale), np.log(1e3 / scale)  # of 1/T
    for _ in range(_STEPS):
        middle = (low + high) / 2
        slope = -(better * _sigmoid(-better * np.exp(middle))).mean()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def figures(better: Floats) -> dict[str, Any]:
    """Return NLL, Brier score, ECE and bins of margins that are read as log-odds.

    NLL: mean of -log p, p the probability given to the labeled side; 0.693 is chance. Brier (1950): mean of
    (1 - p)^2; 0.25 is chance. ECE: mean over bins of equal size of |confidence - accuracy|, weighted by size (Naeini et
    al. 2015, with the equal-mass bins of Nguyen and O'Connor 2015); confidence is that of the side chosen.
    """
    p = _sigmoid(better)
    confidence = np.maximum(p, 1 - p)
    hits = np.where(better == 0, 0.5, (better > 0).astype(np.float64))
    order = np.argsort(confidence, kind="stable")
    bins = [
        {"n": len(part), "confidence": float(confidence[part].mean()), "accuracy": float(hits[part].mean())}
        for part in np.array_split(order, min(BINS, len(order)))
    ]
    return {
        "nll": float(np.logaddexp(0.0, -better).mean()),
        "brier": float(((1 - p) ** 2).mean()),
        "ece": sum(each["n"] * abs(each["confidence"] - each["accuracy"]) for each in bins) / len(better),
        "bins": bins,
    }


def _sigmoid(values: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -values))
