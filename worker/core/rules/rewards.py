"""AutoRule's reward of a response: what a model gives it, and what the rules it satisfies add or take.

Formula: AutoRule (arXiv 2506.15651), its release (`experience_maker.py`): r = (r_RM − mean)/std + weight · (s − offset)
with weight 10 and offset 0.75; s is the fraction of rules that are satisfied, each counted once. The score of a rule
set (`worker.core.rules.figures.score_of`) is the same fraction with the weights of the rules.
"""

from dataclasses import dataclass

WEIGHT, OFFSET = 10.0, 0.75
MAX_WEIGHT = 1000.0
"""The most a weight can be; an offset is a share."""


@dataclass(frozen=True)
class RuleReward:
    """A reward with the parts it was made of."""

    model: float
    fraction: float
    rules: float
    total: float


def fraction_of(yes: int, no: int, not_applicable: int, *, not_applicable_is_yes: bool) -> float:
    """Return the share of rules that a response satisfies, of so many verdicts; ½ where no rule applies.

    >>> fraction_of(1, 1, 2, not_applicable_is_yes=True), fraction_of(1, 1, 2, not_applicable_is_yes=False)
    (0.75, 0.5)
    """
    if not_applicable_is_yes:
        yes += not_applicable
    return yes / (yes + no) if yes + no else 0.5


def rule_reward(
    model: float, fraction: float, *, mean: float, std: float, weight: float = WEIGHT, offset: float = OFFSET
) -> RuleReward:
    """Return the standardised reward of a model plus the scaled fraction; raise ValueError unless `std` is positive."""
    if not std > 0:
        raise ValueError("The standard deviation is positive.")
    standardised, rules = (model - mean) / std, weight * (fraction - offset)
    return RuleReward(standardised, fraction, rules, standardised + rules)
