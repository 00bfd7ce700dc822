"""Preference as reward, against values calculated by hand."""

import pytest

from worker.core.shaping import SHAPERS, Needs, Statistics, find_shaper, preference_as_reward


def test_the_mean_of_sigmoids_is_not_the_sigmoid_of_the_mean():
    assert preference_as_reward(2, [1, 0, 3]) == pytest.approx((0.7310586 + 0.8807971 + 0.2689414) / 3)
    assert preference_as_reward(2, [1, 0, 3]) == pytest.approx(0.626932, abs=1e-6)


@pytest.mark.parametrize(("value", "shaped"), [(0, 0.5), (1, 0.7310586), (-1, 0.2689414), (1e6, 1.0), (-1e6, 0.0)])
def test_it_is_bounded_and_centred(value, shaped):
    assert preference_as_reward(value, [0.0]) == pytest.approx(shaped, abs=1e-7)


def test_two_against_each_other_add_up_to_one():
    assert preference_as_reward(0.3, [1.7]) + preference_as_reward(1.7, [0.3]) == pytest.approx(1)


def test_without_references_there_is_nothing_to_compare_with():
    with pytest.raises(ValueError, match="reference"):
        preference_as_reward(1.0, [])


FOUR = Statistics(n=4, mean=2.5, std=1.25**0.5, minimum=1.0, maximum=4.0)
SIX = Statistics(n=6, mean=22 / 6, std=(35 / 9) ** 0.5, minimum=1.0, maximum=7.0)


@pytest.mark.parametrize(
    ("name", "statistics", "values", "shaped"),
    [  # of [1, 2, 3, 4], and then of [1, 2, 3, 4, 5, 7]: the numbers of PAR's sheet
        ("standardise", FOUR, [1, 2, 3, 4], [-1.341641, -0.447214, 0.447214, 1.341641]),
        ("clip", FOUR, [1, 2, 3, 4], [1.381966, 2, 3, 3.618034]),
        ("min_max", FOUR, [1, 2, 3, 4], [0, 1 / 3, 2 / 3, 1]),
        ("standardise", SIX, [5, 7], [0.676123, 1.690309]),
        ("clip", SIX, [5, 7], [5, 5.638693]),
        ("min_max", SIX, [5, 7, 10], [2 / 3, 1, 1.5]),
        ("none", None, [5, -7], [5, -7]),
        ("tanh", None, [0, 1, -40], [0, 0.7615942, -1]),
    ],
)
def test_shapes_with_statistics(name, statistics, values, shaped):
    shaper = SHAPERS[name]
    assert [shaper.shape(value, statistics, ()) for value in values] == pytest.approx(shaped, abs=1e-6)


def test_the_log_sigmoid_is_centred_on_the_85th_percentile_and_does_not_underflow():
    references = Statistics(n=3, mean=4 / 3, std=(14 / 9) ** 0.5, minimum=0.0, maximum=3.0)  # of 1, 0, 3
    assert references.upper == pytest.approx(4 / 3 + 1.03643 * 1.2472191, abs=1e-5)
    shape = SHAPERS["log_sigmoid_centred"].shape
    assert shape(2, references, ()) == pytest.approx(-1.054348, abs=1e-6)
    assert shape(-2000, references, ()) == pytest.approx(-2000 - references.upper)
    assert shape(2000, references, ()) == pytest.approx(0)


def test_par_does_not_move_when_everything_moves_by_the_same():
    shape = SHAPERS["par"].shape
    assert shape(2, None, [1, 0, 3]) == pytest.approx(shape(7, None, [6, 5, 8]))


def test_a_shape_without_what_it_needs_is_an_error():
    flat = Statistics(n=3, mean=1.0, std=0.0, minimum=1.0, maximum=1.0)
    for name in ("standardise", "min_max"):
        with pytest.raises(ValueError, match="no scale"):
            SHAPERS[name].shape(1, flat, ())
    for shaper in SHAPERS.values():
        if shaper.needs is not Needs.NOTHING:
            with pytest.raises(ValueError, match=r"statistics|reference"):
                shaper.shape(1, None, ())
    for wrong in ({"n": 1}, {"mean": float("nan")}):
        with pytest.raises(ValueError, match="Statistics"):
            Statistics.from_dict({**FOUR.to_dict(), **wrong})


@pytest.mark.parametrize("name", ["min-max", "MinMax", "min_max", " min max "])
def test_names_are_found_however_they_are_spelt(name):
    assert find_shaper(name) is SHAPERS["min_max"]
    with pytest.raises(ValueError, match="known are none, standardise"):
        find_shaper(name + "?")
