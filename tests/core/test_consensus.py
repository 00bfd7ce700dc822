"""Consensus follows HelpSteer2-Preference: numbers worked out by hand."""

from itertools import product

import pytest

from worker.core.consensus import Status, consensus, most_similar, round_half_away

NEITHER = None


@pytest.mark.parametrize(
    ("votes", "preference"),
    [
        ([-3, -2, -2], -2),  # -7 / 3 = -2.33
        ([2, 3, 3], 3),  # 8 / 3 = 2.67
        ([-1, -1, 1], 0),  # -1 / 3: a weak disagreement rounds to 0
        ([3, 3, 1], 2),  # spread 2 is still allowed; 7 / 3 = 2.33
    ],
)
def test_three_votes_within_two_agree_on_the_rounded_mean(votes, preference):
    outcome = consensus(votes)
    assert (outcome.status, outcome.preference, outcome.kept) == (Status.AGREED, preference, (0, 1, 2))


def test_fewer_votes_than_wanted_are_pending():
    assert consensus([3, 3]).status is Status.PENDING
    assert consensus([3], annotators=1).preference == 3


def test_a_spread_above_the_limit_asks_for_more_annotators():
    outcome = consensus([-2, 1, 2])
    assert (outcome.status, outcome.preference, outcome.spread) == (Status.ESCALATED, None, 4)


def test_of_five_votes_the_three_most_similar_count():
    outcome = consensus([-2, 1, 2, 2, -3])
    assert (outcome.status, outcome.preference, outcome.kept, outcome.spread) == (Status.AGREED, 2, (1, 2, 3), 1)


def test_ties_between_triples_go_to_the_smaller_sum_and_then_to_the_earlier():
    assert most_similar([1, 3, 2, 1, 1], 3) == (0, 3, 4)
    assert most_similar([1, 2, 2, 1], 3) == (0, 1, 2)


def test_five_votes_without_a_similar_triple_are_excluded_with_the_reason():
    outcome = consensus([-3, -2, NEITHER, 1, 2], max_annotators=5)
    assert outcome.status is Status.EXCLUDED
    assert "spread by 4, more than 2" in outcome.excluded_reason


def test_neither_valid_is_never_averaged():
    assert consensus([NEITHER, NEITHER, NEITHER]).status is Status.NEITHER
    assert consensus([NEITHER, NEITHER, NEITHER]).preference is None
    mixed = consensus([NEITHER, 2, 2, NEITHER], max_annotators=4)
    assert mixed.status is Status.EXCLUDED
    assert mixed.excluded_reason == "Annotators disagree on whether either response is valid."
    assert consensus([NEITHER, 2, 2, 3]).preference == 2


def test_every_set_of_five_votes_keeps_its_promises():
    for votes in product([-3, -2, -1, 1, 2, 3, NEITHER], repeat=5):
        outcome = consensus(votes)
        kept = [votes[position] for position in outcome.kept]
        assert len(kept) == 3
        if outcome.status is Status.AGREED:
            assert NEITHER not in kept
            assert max(kept) - min(kept) <= 2
            assert abs(outcome.preference - sum(kept) / 3) <= 0.5
        elif outcome.status is Status.NEITHER:
            assert kept == [NEITHER] * 3
        else:
            assert outcome.status is Status.EXCLUDED
            assert outcome.excluded_reason


@pytest.mark.parametrize(
    ("total", "count", "rounded"), [(3, 2, 2), (-3, 2, -2), (1, 2, 1), (-1, 3, 0), (8, 3, 3), (0, 2, 0)]
)
def test_halves_round_away_from_zero(total, count, rounded):
    assert round_half_away(total, count) == rounded
