"""Scores of read rules: the fraction that is satisfied, and AutoRule's reward of a response.

Formulas: AutoRule (arXiv 2506.15651) and its release (`experience_maker.py`): s = (1/K) Σ 1[rule satisfied],
r = (r_RM − mean)/std + weight · (s − offset), with weight 10 and offset 0.75.
"""

from collections.abc import Sequence
from dataclasses import dataclass

YES, NO, NOT_APPLICABLE = "yes", "no", "not_applicable"


@dataclass(frozen=True)
class RuleReward:
    """A reward with the raw parts it was made of."""

    model: float
    fraction: float
    rules: float
    total: float


def fraction_satisfied(
    verdicts: Sequence[str], *, not_applicable_counts: bool = True, weights: Sequence[float] | None = None
) -> float | None:
    """Return the share of a response's rules that it satisfies, or None where none of them says anything.

    A rule that does not apply counts as satisfied, as in the paper, or not at all. One that could not be read never
    counts. Raises ValueError without a single rule.
    """
    if not verdicts:
        raise ValueError("A score needs at least one rule.")
    each = weights or [1.0] * len(verdicts)
    counted = {YES: 1.0, NO: 0.0} | ({NOT_APPLICABLE: 1.0} if not_applicable_counts else {})
    kept = [(counted[verdict], weight) for verdict, weight in zip(verdicts, each, strict=True) if verdict in counted]
    total = sum(weight for _value, weight in kept)
    return sum(value * weight for value, weight in kept) / total if total > 0 else None


def rule_reward(
    model: float, fraction: float, *, mean: float = 0.0, std: float = 1.0, weight: float = 10.0, offset: float = 0.75
) -> RuleReward:
    """Return the standardised reward of a model plus the scaled rule score, with its parts."""
    if not std > 0:
        raise ValueError("The standard deviation is positive.")
    standardised, rules = (model - mean) / std, weight * (fraction - offset)
    return RuleReward(standardised, fraction, rules, standardised + rules)
