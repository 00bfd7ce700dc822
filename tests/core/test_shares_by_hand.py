"""Shares, intervals and tests against values worked out by hand."""

import doctest
from math import sqrt

import numpy as np
import pytest

from worker.core import shares
from worker.core.shares import different_shares, holm, share_by_unit, share_of, sign_test


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(shares).failed == 0


def test_wilsons_interval_by_hand():
    # z² = 3.8415: (0.5 + 0.19207) / 1.38415 ± 1.95996 / 1.38415 · sqrt(0.025 + 0.0096036), for 5 of 10
    half = 1.959964 / 1.384146 * sqrt(0.025 + 3.841459 / 400)
    assert share_of(5, 10).interval == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)


def test_nothing_and_everything_are_inside_their_intervals():
    assert share_of(0, 0) == shares.Share(0, 0, None, None)
    low, high = share_of(0, 4).interval
    assert (low, high) == (0.0, pytest.approx(3.841459 / (4 + 3.841459), abs=1e-6))
    assert share_of(4, 4).interval == pytest.approx((1 - high, 1.0))


def test_the_sign_test_by_hand():
    assert sign_test(0, 0) is None
    assert sign_test(5, 5) == pytest.approx(2 / 32)
    # 2 or fewer of 10: 1 + 10 + 45 of 1024, twice
    assert sign_test(2, 10) == sign_test(8, 10) == pytest.approx(112 / 1024)
    assert sign_test(5, 10) == 1.0
    assert sign_test(500_000, 1_000_000) == 1.0
    assert sign_test(501_000, 1_000_000) == pytest.approx(0.0456, abs=2e-4)  # z = 2
    assert sign_test(0, 100_000) == 0.0


def test_different_shares_by_hand():
    # 30 and 50 of 100: pooled 0.4, z = 0.2 / sqrt(0.24 · 0.02) = 2.887
    assert different_shares(30, 100, 50, 100) == pytest.approx(0.00389, abs=1e-5)
    assert different_shares(3, 3, 5, 5) == 1.0
    assert different_shares(1, 2, 0, 0) is None


def test_holms_steps():
    assert holm([], 0.05) == []
    assert holm([0.02, 0.02, 0.02], 0.05) == [False] * 3  # 0.02 > 0.05 / 3 ends it at the first
    assert holm([0.04, 0.01, 0.02], 0.05) == [True, True, True]


def test_votes_on_one_unit_count_less_than_votes_on_many():
    hits = np.repeat([1, 0], 50)
    apart = share_by_unit(hits, np.arange(100))
    # the variance of a ratio has units - 1 below: as wide as 99 independent votes
    half = 1.959964 / (1 + 3.841459 / 99) * sqrt(0.25 / 99 + 3.841459 / (4 * 99**2))
    assert apart.interval == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    # twenty units of five votes that are all alike: as good as twenty votes
    together = share_by_unit(hits, np.repeat(np.arange(20), 5))
    assert together.interval == pytest.approx(share_of(10, 20).interval, abs=6e-3)


def test_where_nothing_varies_units_are_what_counts():
    assert share_by_unit([1] * 50, np.repeat(np.arange(10), 5)).interval == share_of(10, 10).interval
    assert share_by_unit([1, 0, 1], [7, 7, 7]).interval is None
    assert share_by_unit([], []).share is None
