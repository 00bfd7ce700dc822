"""Accuracy, baselines, intervals and comparisons of models, against values worked out by hand."""

import math

import numpy as np
import pytest

from worker.core.metrics import (
    bootstrap_by_prompt,
    compare_models,
    evaluate_pairs,
    interval,
    log_loss,
    pair_accuracy,
    pair_hits,
)

# right, wrong, tie, right
REWARD_1 = [1.0, 1.0, 2.0, 0.0]
REWARD_2 = [0.0, 0.0, 2.0, 5.0]
PREFERENCE = [-3, 1, 2, 1]


def test_accuracy_counts_a_tie_as_a_half() -> None:
    assert pair_hits(REWARD_1, REWARD_2, PREFERENCE).tolist() == [1.0, 0.0, 0.5, 1.0]
    assert pair_accuracy(REWARD_1, REWARD_2, PREFERENCE) == 2.5 / 4


def test_accuracy_is_a_micro_average_over_all_pairs() -> None:
    # nine pairs of which six are right: averaging batches of 8 and 1 would say (5/8 + 1) / 2
    right = [1, 1, 1, 1, 1, 0, 0, 0, 1]
    assert pair_accuracy([0.0] * 9, [2.0 * r - 1 for r in right], [1] * 9) == pytest.approx(6 / 9)


def test_log_loss_by_hand() -> None:
    # margins of the better side: ln 3, -ln 3, 0 -> -ln(3/4), -ln(1/4), -ln(1/2)
    expected = math.log(32 / 3) / 3
    assert log_loss([math.log(3), math.log(3), 1.0], [0, 0, 1], [-1, 2, 3]) == pytest.approx(expected)
    assert log_loss([0.0], [1e5], [-1]) == pytest.approx(1e5)


def test_a_preference_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="no better side"):
        pair_accuracy([1.0], [0.0], [0])


def test_the_scorecard_splits_by_which_side_was_longer() -> None:
    card = evaluate_pairs(
        reward_1=[1, 1, 0, 0, 3],
        reward_2=[0, 0, 1, 1, 3],
        preference=[-1, -1, -1, 1, 1],
        prompt_keys=["a", "a", "b", "b", "c"],
        length_1=[9, 2, 9, 2, 4],
        length_2=[3, 5, 3, 8, 4],
    )
    assert card is not None
    # hits 1, 1, 0, 1, 1/2; the longer side won in pairs 1, 3, 4, the shorter in pair 2, lengths are equal in pair 5
    assert (card["n"], card["prompts"], card["reward_ties"]) == (5, 3, 1)
    assert card["accuracy"] == pytest.approx(3.5 / 5)
    assert card["length_baseline"] == pytest.approx(3.5 / 5)
    assert (card["accuracy_longer_won"], card["n_longer_won"]) == (pytest.approx(2 / 3), 3)
    assert (card["accuracy_shorter_won"], card["n_shorter_won"]) == (1.0, 1)
    assert card["mean_margin"] == pytest.approx(4 / 5)


def test_without_pairs_there_is_no_scorecard() -> None:
    assert evaluate_pairs([], [], [], [], [], []) is None
    assert compare_models(([], []), ([], []), [], []) is None
    assert pair_accuracy([], [], []) is None


def test_one_prompt_has_an_interval_without_width() -> None:
    # all draws are that prompt, so the interval says nothing about other prompts and must not look precise by pairs
    means = bootstrap_by_prompt([1, 0, 1, 1], ["p"] * 4)
    assert interval(means) == [0.75, 0.75]


def test_the_interval_is_over_prompts_and_not_over_pairs() -> None:
    # two prompts of 100 pairs, one all right, one all wrong: draws are 0, 1/2 or 1 with odds 1:2:1
    values = [1.0] * 100 + [0.0] * 100
    means = bootstrap_by_prompt(values, ["a"] * 100 + ["b"] * 100, resamples=4000)
    assert interval(means) == [0.0, 1.0]
    assert set(np.unique(means)) == {0.0, 0.5, 1.0}
    assert (means == 0.5).mean() == pytest.approx(0.5, abs=0.03)


def test_the_interval_has_the_width_of_the_binomial() -> None:
    # 400 prompts with one pair each, 80 % right: standard error sqrt(.8 * .2 / 400) = 0.02
    low, high = interval(bootstrap_by_prompt([1.0] * 320 + [0.0] * 80, [str(n) for n in range(400)]))
    assert low == pytest.approx(0.8 - 1.96 * 0.02, abs=0.004)
    assert high == pytest.approx(0.8 + 1.96 * 0.02, abs=0.004)


def test_the_bootstrap_weighs_a_prompt_by_its_pairs() -> None:
    # drawn {a, a}: 1, {a, b}: 3/4, {b, b}: 0
    means = bootstrap_by_prompt([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert set(np.unique(means)) == {0.0, 0.75, 1.0}


def test_equal_models_are_better_with_probability_one_half() -> None:
    scores = (REWARD_1, REWARD_2)
    card = compare_models(scores, scores, PREFERENCE, ["a", "b", "c", "d"])
    assert card is not None
    assert card["difference"] == 0.0
    assert card["difference_interval"] == [0.0, 0.0]
    assert card["probability_better"] == 0.5


def test_a_comparison_is_paired() -> None:
    # the candidate is right where the current model is, and in two pairs of ten more: no draw is worse
    preference = [1] * 10
    zeros = [0.0] * 10
    current = [1.0] * 5 + [-1.0] * 5
    candidate = [1.0] * 7 + [-1.0] * 3
    keys = [str(n) for n in range(10)]
    card = compare_models((zeros, current), (zeros, candidate), preference, keys)
    assert card is not None
    assert (card["current_accuracy"], card["candidate_accuracy"]) == (0.5, 0.7)
    assert card["difference"] == pytest.approx(0.2)
    assert card["difference_interval"][0] == 0.0
    # a draw without either of the two prompts, (8/10)^10 = 0.107 of them, is a tie and counts 1/2
    assert card["probability_better"] == pytest.approx(1 - 0.107 / 2, abs=0.015)
    worse = compare_models((zeros, candidate), (zeros, current), preference, keys)
    assert worse is not None
    assert worse["probability_better"] == pytest.approx(1 - card["probability_better"])
