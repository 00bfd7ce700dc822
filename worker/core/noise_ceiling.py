"""How well people agree with each other where several labeled the same pair, which is what a model can be held to.

Votes are columns of length v: `pair` and `annotator` are numbers, `side` is -1, 0 (a tie) or 1. Numpy only.
"""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.metrics import bootstrap, group_figures, sums_by_prompt

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def agreement_with(side: Ints, others: Ints) -> Floats:
    """Return 1 where a side is that of the others, 1/2 where either is a tie, else 0; (v,).

    A person's tie with others who are split is 1/2, too: a model has no ties, and is held to the same.
    """
    return np.where((side == 0) | (others == 0), 0.5, np.where(side == others, 1.0, 0.0))


def noise_ceiling(pair: Ints, side: Ints, prompt: Ints, model: Ints, seed: int = 0) -> dict[str, Any] | None:
    """Hold each person to the side that most of the *others* chose, and the model to the same; None without duplicates.

    `prompt` and `model` (v,) are the prompt of the vote's pair, and the side the model chose for it. Only pairs with
    two labels or more count, each vote once; others who are split evenly are a tie, which counts 1/2. That is the
    lower bound of the noise ceiling of Nili et al. (2014, PLoS Computational Biology 10(4)), with a majority for
    their mean: the person left out never votes on their own yardstick. `person` and `model` are shares with intervals
    by prompt, on the same votes. `pairwise` is how often two people agree; where both err independently and alike,
    one of them is right with probability (1 + sqrt(2 * pairwise - 1)) / 2, `single_vote`, which bounds accuracy
    against single votes.
    """
    pairs = int(pair.max()) + 1 if len(pair) else 0
    votes = np.bincount(pair, minlength=pairs)
    twice = votes[pair] >= 2
    if not twice.any():
        return None
    lean = np.bincount(pair, weights=side, minlength=pairs)
    others = np.sign(lean[pair] - side).astype(np.int64)[twice]
    prompts = prompt[twice]
    sums = sums_by_prompt(agreement_with(side[twice], others), prompts)
    sums |= sums_by_prompt(agreement_with(model[twice], others), prompts)
    person, machine = group_figures(sums, bootstrap(sums, seed))
    pairwise = _pairwise(pair[twice], side[twice], pairs)
    return {
        "pairs": int((votes >= 2).sum()),
        "votes": int(twice.sum()),
        "person": {"accuracy": person["accuracy"], "interval": person["interval"]},
        "model": {"accuracy": machine["accuracy"], "interval": machine["interval"]},
        "pairwise": pairwise,
        "single_vote": (1 + sqrt(2 * pairwise - 1)) / 2 if pairwise >= 0.5 else 0.5,
    }


def _pairwise(pair: Ints, side: Ints, pairs: int) -> float:
    """Return the mean over pairs of how often two of its people agree, one who saw a tie agreeing half."""
    n = np.bincount(pair, minlength=pairs).astype(np.float64)
    first, tie, second = (np.bincount(pair, weights=side == value, minlength=pairs) for value in (-1, 0, 1))
    same = first * (first - 1) + second * (second - 1) + tie * (tie - 1)
    half = 2 * tie * (first + second)
    several = n >= 2
    return float(((same + 0.5 * half)[several] / (n * (n - 1))[several]).mean())
