"""The rule of promotion: a gain with a probability, no control pair lost, no domain worse."""

from typing import Any

import pytest

from worker.core.promotion import Check, Rule, check_rule


def compared(difference: float = 0.1, probability: float = 0.95, **changes: Any) -> dict[str, Any]:
    """A comparison whose draws are at `difference` but for a share of 1 - probability at -1."""
    quantiles = [-1.0] * round(201 * (1 - probability)) + [difference] * round(201 * probability)
    figures = {"candidate_accuracy": 0.7 + difference, "current_accuracy": 0.7, "n": 40, "prompts": 30, "domains": []}
    drawn = {"difference": difference, "probability_better": probability, "difference_quantiles": quantiles}
    return figures | drawn | changes


def outcome(rule: Rule, comparison: dict[str, Any], controls: dict[str, Any] | None = None) -> dict[str, bool]:
    return {check.name: check.passed for check in check_rule(rule, comparison, controls)}


@pytest.mark.parametrize(
    ("rule", "comparison", "passed"),
    [
        (Rule(), compared(), True),
        (Rule(min_probability=0.95), compared(), True),
        (Rule(min_probability=0.96), compared(), False),
        (Rule(min_gain=0.1, min_probability=0.9), compared(), True),
        (Rule(min_gain=0.11, min_probability=0.0), compared(), False),  # measured less than asked for
        (Rule(min_probability=0.0), compared(0.0), False),  # no gain is no gain
        (Rule(min_probability=0.0), compared(-0.1), False),
    ],
)
def test_a_gain_counts_with_its_probability(rule: Rule, comparison: dict[str, Any], passed: bool) -> None:
    assert outcome(rule, comparison) == {"gain": passed}


def test_fewer_than_five_held_out_prompts_promote_nothing() -> None:
    assert outcome(Rule(), compared(prompts=5)) == {"gain": True}
    assert outcome(Rule(min_probability=0.0), compared(prompts=4)) == {"gain": True, "prompts": False}
    (_, check) = check_rule(Rule(), compared(1.0, 1.0, n=1, prompts=1), None)
    assert check.sentence == "Too few held-out prompts (1; the rule needs 5)."


def test_a_recipe_that_was_chosen_on_these_prompts_is_not_promoted_by_them() -> None:
    chosen_on = {"search": "7", "trials": 9, "prompts": 12, "same_recipe": False}
    (_, check) = check_rule(Rule(), compared(), None, chosen_on)
    assert (check.name, check.passed) == ("search", False)
    assert check.sentence.startswith("Recipe search 7 compared 9 recipes, this one among them, on 12 of these held-out")
    (_, same) = check_rule(Rule(), compared(), None, {**chosen_on, "same_recipe": True})
    assert same.passed


def test_a_lost_control_pair_stops_a_version_unless_the_rule_lets_it() -> None:
    lost = {"n": 9, "lost": [f"control-{number}" for number in range(7)]}
    assert outcome(Rule(), compared(), lost) == {"gain": True, "controls": False}
    assert outcome(Rule(keep_controls=False), compared(), lost) == {"gain": True}
    assert outcome(Rule(), compared(), {"n": 9, "lost": []}) == {"gain": True, "controls": True}
    (_, none_left) = check_rule(Rule(), compared(), {"n": 0, "lost": []})
    assert (none_left.passed, none_left.sentence) == (True, "No control pair can tell: every one was trained on.")
    (_, check) = check_rule(Rule(), compared(), lost)
    assert check == Check(
        "controls",
        False,
        "7 of 9 control pairs are lost: control-0, control-1, control-2, control-3, control-4, ….",
    )


@pytest.mark.parametrize(
    ("n", "difference", "passed"), [(10, -0.06, False), (10, -0.05, True), (9, -0.5, True), (50, 0.1, True)]
)
def test_a_domain_that_is_worse_stops_it_if_it_is_large_enough(n: int, difference: float, passed: bool) -> None:
    comparison = compared(domains=[{"name": "tides", "n": n, "difference": difference}])
    assert outcome(Rule(max_domain_loss=0.05), comparison) == {"gain": True, "domains": passed}
    assert outcome(Rule(), comparison) == {"gain": True}


def test_a_sentence_has_the_figures() -> None:
    (check,) = check_rule(Rule(min_gain=0.05, min_probability=0.9), compared(), None)
    assert check.sentence == (
        "Held-out accuracy 0.800 against 0.700 on 40 pairs of 30 prompts; better by at least 0.05 with probability "
        "0.950, 0.9 is asked."
    )


@pytest.mark.parametrize("field", ["min_gain", "min_probability", "max_domain_loss"])
def test_a_rule_outside_0_to_1_is_refused(field: str) -> None:
    for value in (-0.1, 1.1):
        with pytest.raises(ValueError, match=field):
            Rule(**{field: value})
