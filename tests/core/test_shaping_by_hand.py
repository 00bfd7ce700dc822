"""Preference as reward, against values calculated by hand."""

import pytest

from worker.core.shaping import preference_as_reward


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
