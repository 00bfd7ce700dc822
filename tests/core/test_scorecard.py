"""Groups, people, ceiling, calibration, length bias, flips and control pairs, against values worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest

from worker.core.calibration import calibration, figures, temperature_of
from worker.core.length_bias import length_bias, logistic
from worker.core.metrics import bootstrap, compare_models, group_figures, probability_of_gain, sums_by_prompt
from worker.core.noise_ceiling import noise_ceiling
from worker.core.scorecard import HeldOutPair, comparison, control_figures, flips, margin_histogram, scorecard


def pair(number: int, preference: int = 1, **fields: Any) -> HeldOutPair:
    given = {
        "id": f"pair-{number}",
        "prompt_key": f"prompt-{number}",
        "prompt": "?",
        "response_1": "a",
        "response_2": "b",
    }
    return HeldOutPair(**{**given, "preference": preference, **fields})


def rewards(*differences: float) -> tuple[np.ndarray, np.ndarray]:
    """Rewards whose second minus first are these."""
    return np.zeros(len(differences), dtype=np.float32), np.array(differences, dtype=np.float32)


# --- Groups share their draws ---


def test_groups_are_averaged_over_the_draws_that_have_them() -> None:
    # prompt 0 has pairs of groups 0 and 1, prompt 1 one pair of group 0; the fourth pair is in no group
    sums = sums_by_prompt([1, 0, 0, 1], np.array([0, 0, 1, 1]), np.array([0, 1, 0, -1]), 2)
    assert sums.totals.tolist() == [[1, 0], [0, 0]]
    assert sums.counts.tolist() == [[1, 1], [1, 0]]
    means = bootstrap(sums, resamples=400)
    assert set(means[:, 0]) == {0.0, 0.5, 1.0}
    assert np.isnan(means[means[:, 0] == 0, 1]).all()  # prompt 1 twice: nothing of group 1
    first, second = group_figures(sums, means)
    assert (first["n"], first["prompts"], first["accuracy"], first["interval"]) == (2, 2, 0.5, [0.0, 1.0])
    assert (second["n"], second["prompts"], second["interval"]) == (1, 1, None)


def test_a_scorecard_has_groups_by_domain_strength_and_length() -> None:
    pairs = [
        pair(0, 1, domain="tides", response_2="bbb"),
        pair(1, -3, domain="tides"),
        pair(2, 2, domain="moons", response_1="a" * 10, response_2="b" * 11),
    ]
    card = scorecard(pairs, rewards(1, 1, 0))
    assert card is not None
    found = {kind: {row["name"]: (row["n"], row["accuracy"]) for row in rows} for kind, rows in card["groups"].items()}
    assert found["domain"] == {"tides": (2, 0.5), "moons": (1, 0.5)}
    assert found["strength"] == {1: (1, 1.0), 2: (1, 0.5), 3: (1, 0.0)}
    assert found["length"] == {1.0: (2, 0.25), 2.0: (1, 1.0)}  # 1:1 and 10:11, and 1:3
    assert scorecard([pair(0, 0)], rewards(1)) is None


def test_rare_domains_are_shown_as_one() -> None:
    pairs = [pair(number, domain=f"domain {number}") for number in range(33)]
    card = scorecard(pairs, rewards(*[1.0] * 33))
    assert card is not None
    assert [row["n"] for row in card["groups"]["domain"]] == [1] * 30 + [3]
    assert card["groups"]["domain"][-1]["name"] == "…"


# --- People ---


def test_a_model_is_held_to_each_persons_own_votes_also_where_nobody_agreed() -> None:
    pairs = [
        pair(0, 2, votes=(("ann", 2), ("bob", -1))),
        pair(1, -1, votes=(("ann", -2), ("cem", 0))),
        pair(2, 0, votes=(("ann", 1), ("bob", -3))),  # no consensus: no part of the accuracy
    ]
    card = scorecard(pairs, rewards(1, -1, -1))
    assert card is not None
    assert (card["n"], card["accuracy"]) == (2, 1.0)
    assert (card["annotators"]["people"], card["annotators"]["all"]["n"]) == (2, 5)
    assert card["annotators"]["all"]["accuracy"] == pytest.approx(3 / 5)  # ann 2 of 3, bob 1 of 2


def test_people_with_fewer_than_ten_answers_are_told_together() -> None:
    pairs = [
        pair(number, votes=(("ann", 1), ("bob" if number < 9 else "cem", -1), ("dora", 0))) for number in range(10)
    ]
    card = scorecard(pairs, rewards(*[1] * 10))
    assert card is not None
    (ann,), others = card["annotators"]["each"], card["annotators"]["others"]
    assert (ann["annotator"], ann["n"], ann["accuracy"]) == ("ann", 10, 1.0)
    assert (others["people"], others["n"], others["accuracy"]) == (2, 10, 0.0)  # dora saw ties, which have no side
    named = scorecard([*pairs[:9], pair(9, votes=(("bob", -1), ("ann", 1)))], rewards(*[1] * 10))
    assert named is not None
    assert (len(named["annotators"]["each"]), named["annotators"]["others"]) == (2, None)


def test_the_ceiling_holds_people_to_the_others_by_hand() -> None:
    # pair 0: + + -; pair 1: + 0; pair 2: one label, which counts nowhere
    pairs, side = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, -1, 1, 0, 1])
    ceiling = noise_ceiling(pairs, side, pairs, model=np.array([1, 1, 1, -1, -1, 1]))
    assert ceiling is not None
    assert (ceiling["pairs"], ceiling["votes"]) == (2, 5)
    # against the others: + (others + and -, a tie) 1/2, + again 1/2, - (others +) 0; + and tie each 1/2 with the other
    assert ceiling["person"]["accuracy"] == pytest.approx(2 / 5)
    # the model says + + + - -: 1/2, 1/2, 1; 1/2 against the tie, 0 against the +
    assert ceiling["model"]["accuracy"] == pytest.approx(2.5 / 5)
    # pair 0: 2 of 6 ordered pairs agree; pair 1: both half
    assert ceiling["pairwise"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert ceiling["single_vote"] == 0.5
    ties = noise_ceiling(np.array([0, 0]), np.array([0, 0]), np.array([0, 0]), model=np.array([1, -1]))
    assert ties is not None
    assert (ties["person"]["accuracy"], ties["model"]["accuracy"], ties["pairwise"]) == (0.5, 0.5, 1.0)
    alone = np.array([0])
    assert noise_ceiling(alone, np.array([1]), alone, np.array([1])) is None


def test_the_ceiling_finds_the_error_that_made_the_votes() -> None:
    # two independent people who err with probability 0.2 agree with 0.8^2 + 0.2^2 = 0.68
    rng = np.random.default_rng(0)
    pairs = np.repeat(np.arange(20000), 2)
    side = np.where(rng.random(40000) < 0.2, -1, 1)
    ceiling = noise_ceiling(pairs, side, pairs, model=np.ones(40000, dtype=np.int64))
    assert ceiling is not None
    assert ceiling["pairwise"] == pytest.approx(0.68, abs=0.01)
    assert ceiling["person"]["accuracy"] == pytest.approx(0.68, abs=0.01)
    assert ceiling["single_vote"] == pytest.approx(0.8, abs=0.01)
    low, high = ceiling["person"]["interval"]
    # 20,000 prompts whose two votes agree or not together
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.68 * 0.32 / 20000), rel=0.1)


# --- Calibration ---


def test_figures_of_calibration_by_hand() -> None:
    # margins ln 3 and -ln 3 give the labeled side 3/4 and 1/4
    card = figures(np.array([math.log(3), -math.log(3)]))
    assert card["nll"] == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert card["brier"] == pytest.approx((0.25**2 + 0.75**2) / 2)
    # one bin each: confidence 3/4 both, accuracy 1 and 0
    assert card["ece"] == pytest.approx((0.25 + 0.75) / 2)
    assert figures(np.zeros(4))["nll"] == pytest.approx(math.log(2))
    assert figures(np.zeros(4))["ece"] == 0.0


def test_the_temperature_is_the_one_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    margin = np.abs(rng.normal(0, 4, 40000))
    right = rng.random(40000) < 1 / (1 + np.exp(-margin / 2.5))
    better = np.where(right, margin, -margin)
    assert temperature_of(better) == pytest.approx(2.5, rel=0.03)
    card = calibration(better, np.arange(40000))
    assert card is not None
    assert card["temperature"] == pytest.approx(2.5, rel=0.03)
    assert card["ece"] < 0.01 < card["raw"]["ece"]
    assert card["nll"] < card["raw"]["nll"]
    # d/dT by hand at two margins: ln 3 right thrice as often as wrong is T = 1
    assert temperature_of(np.array([math.log(3)] * 3 + [-math.log(3)])) == pytest.approx(1.0, rel=1e-6)


def test_a_temperature_that_nothing_bounds_stays_finite() -> None:
    assert temperature_of(np.ones(9)) == pytest.approx(1e-3, rel=0.5)
    assert temperature_of(-np.ones(9)) == pytest.approx(1e3, rel=0.01)
    assert temperature_of(np.zeros(9)) == 1.0
    assert calibration(np.ones(19), np.arange(19)) is None


def test_a_temperature_is_not_fitted_to_fewer_than_ten_prompts() -> None:
    better = np.where(np.arange(40) % 4 == 0, -1.0, 2.0)
    for prompts in (1, 2, 9):
        card = calibration(better, np.arange(40) % prompts)
        assert card is not None
        assert card["temperature"] is None
        assert (card["nll"], card["ece"]) == (card["raw"]["nll"], card["raw"]["ece"])
    fitted = calibration(better, np.arange(40) % 10)
    assert fitted is not None
    assert fitted["temperature"] == temperature_of(better)


def test_no_pair_is_judged_by_a_temperature_it_took_part_in() -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(0, 1, 40)
    card = calibration(margin, np.arange(40))
    assert card is not None
    assert card["nll"] > figures(margin / temperature_of(margin))["nll"]


# --- Length ---


def test_length_bias_is_the_coefficient_that_made_the_choices() -> None:
    rng = np.random.default_rng(0)
    n = 8000
    length_1, length_2 = rng.integers(20, 2000, n), rng.integers(20, 2000, n)
    label = rng.choice([-1, 1], n)
    longer = np.log1p(length_2) - np.log1p(length_1)
    chooses_2 = rng.random(n) < 1 / (1 + np.exp(-(1.2 * label + 0.7 * longer)))
    found = length_bias(np.where(chooses_2, 1.0, -1.0), label, length_1, length_2, np.arange(n))
    assert found is not None
    assert found["choice"]["coefficient"] == pytest.approx(0.7, abs=0.08)
    low, high = found["choice"]["interval"]
    assert low < 0.7 < high
    assert 0.05 < high - low < 0.2
    fair = length_bias(np.where(rng.random(n) < 0.7, label, -label), label, length_1, length_2, np.arange(n))
    assert fair is not None
    low, high = fair["choice"]["interval"]
    assert low < 0 < high
    assert length_bias([1.0] * 9, [1] * 9, [1] * 9, [2] * 9, range(9)) is None


def test_pairs_of_one_prompt_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 1))
    y = rng.random(200) < 1 / (1 + np.exp(-x[:, 0]))
    one, alone = logistic(x, y, np.arange(200))
    many, copied = logistic(np.tile(x, (5, 1)), np.tile(y, 5), np.tile(np.arange(200), 5))
    assert many[0] == pytest.approx(one[0], abs=0.01)
    assert copied[0] == pytest.approx(alone[0], rel=0.02)  # five copies of a pair know no more than the pair
    _, naive = logistic(np.tile(x, (5, 1)), np.tile(y, 5), np.arange(1000))
    assert naive[0] == pytest.approx(alone[0] / math.sqrt(5), rel=0.05)


def test_choices_that_length_decides_alone_have_a_finite_coefficient() -> None:
    length_1 = np.arange(1, 41)
    found = length_bias(np.ones(40), np.ones(40), length_1, length_1 * 2, np.arange(40))
    assert found is not None
    assert all(math.isfinite(each["coefficient"]) for each in (found["choice"], found["label"]))


# --- Against another version ---


def test_flips_come_biggest_first_and_say_what_became_of_them() -> None:
    pairs = [pair(number, preference) for number, preference in enumerate((1, -2, 3, 1))]
    changed = flips(pairs, rewards(-1, -1, 5, 1), rewards(1, 3, 5, 0))
    # pair 0: wrong -> right; pair 1 (side 1 is better): right -> wrong, by more; pair 3: right -> a tie
    assert [row["id"] for row in changed["flips"]] == ["pair-1", "pair-0", "pair-3"]
    assert (changed["fixed"], changed["broken"]) == (1, 2)
    assert changed["flips"][0]["before"] > 0 > changed["flips"][0]["after"]


def test_flips_do_not_depend_on_the_unit_of_a_reward() -> None:
    pairs = [pair(number) for number in range(3)]
    before, after = rewards(1, -2, 3), rewards(-2, 1, 3)
    scaled = tuple(side * np.float32(1000) for side in after)
    plain, large = flips(pairs, before, after), flips(pairs, before, scaled)
    assert [row["after"] for row in large["flips"]] == pytest.approx([row["after"] for row in plain["flips"]], rel=1e-5)


def test_a_comparison_tells_each_domain() -> None:
    pairs = [pair(number, domain="tides" if number < 4 else "moons") for number in range(8)] + [pair(9, 0)]
    compared = comparison(pairs, rewards(*[1] * 9), rewards(*[1] * 4, *[-1] * 4, 1))
    assert compared is not None
    assert (compared["n"], compared["difference"]) == (8, -0.5)
    assert [(row["name"], row["n"], row["difference"]) for row in compared["domains"]] == [
        ("moons", 4, -1),
        ("tides", 4, 0),
    ]
    assert comparison([pair(9, 0)], rewards(1), rewards(1)) is None


def test_the_probability_of_a_gain_is_the_share_of_draws_that_reach_it() -> None:
    # 5 of 10 prompts gain one: a draw gains k/10 with the binomial (10, 1/2), and reaches 0.6 with 0.377
    compared = compare_models(
        ([0] * 10, [-1] * 10), ([0] * 10, [1] * 5 + [-1] * 5), [1] * 10, [str(number) for number in range(10)]
    )
    assert compared is not None
    assert probability_of_gain(compared, 0.6) == pytest.approx(0.377, abs=0.03)
    assert probability_of_gain(compared, 0.0) == compared["probability_better"]
    assert probability_of_gain(compared, 1.0) < 0.02


def test_control_pairs_that_the_version_before_has_right_are_lost() -> None:
    pairs = [pair(number) for number in range(4)]
    found = control_figures(pairs, rewards(1, -1, 0, -1), before=rewards(1, 1, 1, -1))
    assert found is not None
    assert (found["n"], found["left_out"], found["accuracy"]) == (4, 0, 1.5 / 4)
    assert (found["wrong"], found["lost"]) == (["pair-1", "pair-2", "pair-3"], ["pair-1", "pair-2"])
    assert control_figures([], rewards(), None) is None
    learned = control_figures([], rewards(), rewards(), learned=7)
    assert learned == {"n": 0, "left_out": 7, "accuracy": None, "wrong": [], "lost": []}


def test_the_histogram_counts_every_pair_once() -> None:
    found = margin_histogram(np.array([0.0, 1.0, -1.0, 2.0, 16.0]))
    assert sum(found["agree"]) + sum(found["disagree"]) == 5
    assert (found["agree"][0], found["disagree"][0]) == (0.5, 0.5)
    assert found["agree"][-1] == 1.0
    assert margin_histogram(np.zeros(3))["agree"][0] == 1.5
