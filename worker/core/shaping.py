"""Bounded, centred forms of raw rewards: derived when they are read, never stored."""

from collections.abc import Sequence
from math import exp


def preference_as_reward(value: float, references: Sequence[float]) -> float:
    """Return the mean of σ(value − reference): under Bradley–Terry, how likely it beats a reference (PAR, section C.1).

    It is the mean of sigmoids, not the sigmoid of the mean. Raise ValueError without references.
    """
    if not references:
        raise ValueError("A reward is shaped against at least one reference.")
    return sum(_sigmoid(value - reference) for reference in references) / len(references)


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + exp(-x))
    grown = exp(x)
    return grown / (1 + grown)
