"""Whether a reward model likes length more than the labels do: clustered logistic regressions; numpy only."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker.core.shares import Z

PRIOR_PRECISION = 0.01
"""Of each coefficient, a normal prior of deviation 10: next to nothing, unless the data separate without it."""
LEAST_PAIRS = 20
_STEPS, _TOLERANCE = 50, 1e-9

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def length_bias(
    difference: ArrayLike, preference: ArrayLike, length_1: ArrayLike, length_2: ArrayLike, prompt: ArrayLike
) -> dict[str, Any] | None:
    """Return two coefficients of d = log(length 2 / length 1), with intervals; None below LEAST_PAIRS or 2 prompts.

    `choice`: log-odds that the model chooses response 2 = a * label + b * d, the label -1 or 1. The label is held
    fixed, so b is 0 for a model whose mistakes do not lean to either length; exp(b log 2) multiplies the odds of a
    response twice as long. `label`: log-odds that people choose response 2 = a * (reward 2 - reward 1) / deviation +
    b * d: what length still says once the reward is known; negative where the model overrates length. Which response
    is number 2 means nothing, so neither has an intercept. Rewards that tie are left out of `choice`.
    """
    margin = np.asarray(difference, dtype=np.float64)
    label = np.sign(np.asarray(preference, dtype=np.float64))
    # A response may be empty; one character more changes no other logarithm by much.
    longer = np.log1p(np.asarray(length_2, dtype=np.float64)) - np.log1p(np.asarray(length_1, dtype=np.float64))
    prompts = np.asarray(prompt, dtype=np.int64)
    chosen = margin != 0
    choice = _coefficient(np.column_stack([label, longer])[chosen], margin[chosen] > 0, prompts[chosen])
    if choice is None:
        return None
    deviation = float(margin.std()) or 1.0
    return {
        "n": len(margin),
        "choice": choice,
        "label": _coefficient(np.column_stack([margin / deviation, longer]), label > 0, prompts),
    }


def logistic(x: Floats, y: NDArray[np.bool_], cluster: Ints) -> tuple[Floats, Floats]:
    """Return coefficients and standard errors (k,) of log-odds y = x @ coefficients, x (n, k), without an intercept.

    Newton's method on the likelihood with a faint normal prior. The errors are the sandwich for clusters (Liang and
    Zeger 1986) with the factor c / (c - 1): pairs of one prompt are not independent.
    """
    beta: Any = np.zeros(x.shape[1])
    prior = PRIOR_PRECISION * np.eye(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -500, 500)))
        bend = (x * (p * (1 - p))[:, np.newaxis]).T @ x + prior
        step = np.linalg.solve(bend, x.T @ (y - p) - prior @ beta)
        beta = np.asarray(beta + np.clip(step, -5.0, 5.0), dtype=np.float64)
        if np.abs(step).max() < _TOLERANCE:
            break
    p = 1 / (1 + np.exp(-np.clip(x @ beta, -500, 500)))
    bend = np.linalg.inv((x * (p * (1 - p))[:, np.newaxis]).T @ x + prior)
    _, number = np.unique(cluster, return_inverse=True)
    clusters = int(number.max()) + 1
    score = np.zeros((clusters, x.shape[1]))
    np.add.at(score, number, x * (y - p)[:, np.newaxis])
    variance = bend @ (score.T @ score) @ bend * clusters / max(1, clusters - 1)
    return beta, np.sqrt(np.diag(variance))


def _coefficient(x: Floats, y: NDArray[np.bool_], cluster: Ints) -> dict[str, Any] | None:
    """Return the last coefficient with its 95 % interval."""
    if len(y) < LEAST_PAIRS or len(np.unique(cluster)) < 2:
        return None
    beta, error = logistic(x, y, cluster)
    return {
        "coefficient": float(beta[-1]),
        "interval": [float(beta[-1] - Z * error[-1]), float(beta[-1] + Z * error[-1])],
    }
