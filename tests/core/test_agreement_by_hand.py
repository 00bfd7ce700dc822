"""Agreement against values worked out by hand, published examples, and scikit-learn."""

import time

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from worker.core.agreement import (
    Votes,
    agreement,
    categorised,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    pair_agreement,
    pooled_kappa,
    tally,
)

SCALE = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, None)
# Krippendorff (2011), "Computing Krippendorff's alpha-reliability", example C: four observers, twelve units, gaps.
OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
# Fleiss' own example (1971) as it is usually reprinted: ten subjects, fourteen raters, five categories.
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def votes_of(*units, values=SCALE):
    """Return votes of units, each a list of preferences with None for neither."""
    names = [name for name, unit in enumerate(units) for _ in unit]
    numbers = [np.nan if vote is None else vote for unit in units for vote in unit]
    return tally(names, categorised(numbers, values), values)


def test_kappa_of_two_people_by_hand():
    # 20 both yes, 15 both no, 5 and 10 mixed: 35/50 observed; (25 × 30 + 25 × 20) / 2500 = 1/2 expected
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx((0.7 - 0.5) / 0.5)


def test_weighted_kappa_of_two_people_by_hand():
    # One of four pairs is one step apart: 1/4 observed. Expected with squares
    # 1/2·(1/2·1 + 1/4·4) + 1/4·1/2 + 1/4·(1/4·4 + 1/2) = 5/4, and without
    # 1/2·(1/2 + 1/4·2) + 1/4·1/2 + 1/4·(1/4·2 + 1/2) = 7/8.
    assert cohen_kappa([1, 1, 2, 3], [1, 2, 2, 3], "quadratic") == pytest.approx(1 - 0.25 / 1.25)
    assert cohen_kappa([1, 1, 2, 3], [1, 2, 2, 3], "linear") == pytest.approx(1 - 0.25 / 0.875)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_is_scikit_learns(seed, weights):
    rng = np.random.default_rng(seed)
    first = rng.choice([-3, -2, -1, 1, 2, 3], 200)  # no 0: neighbours on the scale, two apart in value
    second = np.where(rng.random(200) < 0.5, first, rng.choice([-3, -1, 1, 2], 200))
    expected = cohen_kappa_score(first, second, weights=None if weights == "none" else weights)
    assert cohen_kappa(first, second, weights) == pytest.approx(expected)


def test_pooled_kappa_by_hand():
    # pairs in both orders: (−,−) twice, (−,+) and (+,−) once: 1/2 observed; 9/16 + 1/16 expected
    assert pooled_kappa(votes_of([-1, -1], [-1, 1])) == pytest.approx((0.5 - 0.625) / 0.375)


def test_pooled_kappa_of_pairs_is_cohens_kappa_of_both_orders():
    rng = np.random.default_rng(7)
    first = rng.choice([-3, -2, -1, 1, 2, 3], 300)
    second = np.clip(first + rng.integers(-1, 2, 300), -3, 3)
    second[second == 0] = 1
    both = votes_of(*zip(first.tolist(), second.tolist(), strict=True))
    expected = cohen_kappa(np.append(first, second), np.append(second, first), "quadratic")
    assert pooled_kappa(both, "quadratic") == pytest.approx(expected)


def test_fleiss_own_example():
    rows = np.array(FLEISS)
    assert fleiss_kappa(Votes(rows, np.ones(10, np.int64), (1.0, 2.0, 3.0, 4.0, 5.0))) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_by_hand_with_units_of_different_size():
    # two of two, and two of three in one category: within 1 and (2 + 0)/6; shares 4/5 and 1/5, chance 17/25
    expected = ((1 + 1 / 3) / 2 - 17 / 25) / (1 - 17 / 25)
    assert fleiss_kappa(votes_of([1, 1], [1, 1, 2])) == pytest.approx(expected)


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_own_example(level, published):
    columns = zip(*(line.split() for line in OBSERVERS.strip().splitlines()), strict=True)
    units = [[int(value) for value in column if value != "."] for column in columns]
    assert krippendorff_alpha(votes_of(*units, values=(1.0, 2.0, 3.0, 4.0, 5.0)), level) == pytest.approx(
        published, abs=5e-4
    )


def test_pair_agreement_counts_pairs_and_not_units():
    # three pairs of the first unit agree, one of three of the second, none of the third
    assert pair_agreement(votes_of([1, 1, 1], [2, 2, -2], [3, -3])) == pytest.approx(4 / 7)


def test_neither_is_a_category_and_never_a_number():
    mixed = votes_of([None, None], [-3, None], [2, 2])
    assert pair_agreement(mixed) == pytest.approx(2 / 3)
    found = agreement(mixed)
    assert (found.units, found.votes, found.unmeasured) == (3, 6, 3)
    # nothing but the pair (2, 2) is measured: no disagreement to expect, and so no figure
    assert found.alpha_interval.value is None
    assert found.kappa_quadratic.value is None
    with_more = votes_of([None, None], [-3, None], [2, 2], [-1, 1])
    without = votes_of([2, 2], [-1, 1])
    for level in ("ordinal", "interval"):
        assert krippendorff_alpha(with_more, level) == pytest.approx(krippendorff_alpha(without, level))
    assert krippendorff_alpha(with_more) != pytest.approx(krippendorff_alpha(without))


def test_sides_put_strengths_together_and_keep_neither_apart():
    sided = votes_of([-3, -1, 2], [None, 1, 0]).by_side()
    assert sided.values == (-1.0, 0.0, 1.0, None)
    assert sorted(sided.rows.tolist()) == [[0, 1, 1, 1], [2, 0, 1, 0]]


def test_single_votes_say_nothing_about_agreement():
    alone = agreement(votes_of([1], [2], [None]))
    assert (alone.units, alone.votes) == (0, 0)
    figures = [alone.exact, alone.kappa, alone.kappa_quadratic, alone.fleiss, alone.alpha_nominal, alone.alpha_ordinal]
    assert {(figure.value, figure.interval) for figure in figures} == {(None, None)}
    pair = votes_of([1, 2])
    assert krippendorff_alpha(votes_of([1, 2], [3], [3])) == pytest.approx(krippendorff_alpha(pair))


def test_no_votes_and_no_variety_give_no_figure_and_no_warning():
    for votes in (tally([], [], SCALE), votes_of([2, 2], [2, 2, 2])):
        found = agreement(votes)
        assert found.alpha_nominal.value is None
        assert found.fleiss.value is None
    assert agreement(votes_of([2, 2], [2, 2, 2])).exact.value == 1.0


def test_one_unit_has_no_interval():
    found = agreement(votes_of([1, 1, 2]))
    assert found.exact.value == pytest.approx(1 / 3)
    assert found.exact.interval is None


def test_the_interval_is_over_units():
    # 100 units, half of which agree: the share in a draw is binomial, 95 % of them between 40 and 60 of 100
    found = agreement(votes_of(*([[1, 1]] * 50 + [[1, -1]] * 50)), resamples=4000)
    assert found.exact.value == 0.5
    assert found.exact.interval == pytest.approx((0.4, 0.6), abs=0.0101)
    # five votes each instead of two: ten times as many pairs, and no more units
    more = agreement(votes_of(*([[1] * 5] * 50 + [[1, 1, 1, -1, -1]] * 50)), resamples=4000)
    low, high = more.exact.interval
    assert high - low == pytest.approx(0.6 * 0.196, abs=0.01)  # a disagreeing unit has 4 of 10 pairs: 0.4 to 1


def test_resampling_counts_is_resampling_units():
    rng = np.random.default_rng(3)
    truth = rng.choice([-2, -1, 1, 2], 120)
    units = [[int(np.clip(side + rng.integers(-1, 2), -3, 3)) or 1 for _ in range(3)] for side in truth]
    found = agreement(votes_of(*units), resamples=2000)
    drawn = [
        krippendorff_alpha(votes_of(*[units[at] for at in rng.integers(0, 120, 120)]), "ordinal") for _ in range(400)
    ]
    assert found.alpha_ordinal.interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def test_the_same_votes_in_any_order_give_the_same_figures():
    rng = np.random.default_rng(5)
    units, categories = np.repeat(np.arange(400), 3), rng.integers(0, 8, 1200)
    order = rng.permutation(1200)
    assert agreement(tally(units, categories, SCALE)) == agreement(tally(units[order], categories[order], SCALE))


def test_units_with_many_votes_are_counted_one_by_one():
    rng = np.random.default_rng(6)
    units = [rng.choice([-3, -2, -1, 1, 2, 3], 500).tolist() for _ in range(30)]
    votes = votes_of(*units)
    assert (votes.units, votes.votes, len(votes.times)) == (30, 15_000, 30)
    assert abs(krippendorff_alpha(votes, "interval")) < 0.01


def test_a_category_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="place among the values"):
        tally([1], [8], SCALE)
    with pytest.raises(ValueError, match="not among the values"):
        categorised([4.0], SCALE)


def test_a_million_votes_take_moments():
    rng = np.random.default_rng(0)
    units, categories = np.arange(1_000_000) // 3, rng.integers(0, 8, 1_000_000)
    started = time.process_time()
    found = agreement(tally(units, categories, SCALE))
    assert found.votes == 999_999
    assert time.process_time() - started < 5
