"""What is measured of rules, by hand: support, agreement, domains, periods, examples, what speaks against one."""

import numpy as np
import pytest

from worker.core.rules.figures import Pairs, expected_sides, rule_figures, set_figures
from worker.core.rules.units import labels_of


def pairs(sides, domains=None, strengths=None):
    count = len(sides)
    names = [str(number) for number in range(count)]
    return Pairs(
        labels=labels_of(sides, names, [f"a{n}" for n in names], [f"b{n}" for n in names], seed=0, by_prompt=True),
        comparison=np.arange(count) + 100,
        strength=np.array(strengths or [1] * count),
        domain=domains or [""] * count,
        when=np.arange(count, dtype=np.float64),
    )


def test_a_rule_by_hand():
    known = pairs([1, 1, -1, -1, 1, -1], ["sea", "sea", "moon", "moon", "", "sea"], [1, 3, 2, 1, 1, 3])
    votes = np.array([1, 1, 1, -1, 0, -1], dtype=np.int8)
    held_out = np.array([True, True, True, False, True, False])
    found = rule_figures(votes, known, held_out, np.ones(6, dtype=bool), [["yes", "yes", "no"], ["yes"]])
    assert (found["held_out"]["count"], found["held_out"]["of"]) == (2, 3)
    assert (found["all"]["count"], found["all"]["of"], found["coverage"]) == (4, 5, pytest.approx(5 / 6))
    assert {row["domain"]: (row["count"], row["of"]) for row in found["domains"]} == {"sea": (3, 3), "moon": (1, 2)}
    assert found["examples"] == [105, 101, 103, 100]  # the strongest first, the newest of equals
    assert found["counterexamples"] == [102]
    assert found["determinism"] == {"questions": 1, "share": pytest.approx(2 / 3)}
    assert found["retire"] == ["chance", "determinism"]
    assert (found["periods"], found["drift"]) == ([], None)  # five votes are no history


def test_a_rule_that_people_stop_following_drifts():
    sides = [1] * 120
    votes = np.array([1] * 60 + [-1] * 60, dtype=np.int8)
    found = rule_figures(votes, pairs(sides), np.ones(120, dtype=bool), np.ones(120, dtype=bool), [])
    assert [(period["from"], period["count"]) for period in found["periods"]] == [(0, 30), (30, 30), (60, 0), (90, 0)]
    assert found["drift"] < 1e-20
    rare = np.zeros(120, dtype=np.int8)
    rare[:2] = 1
    assert (
        "coverage" in rule_figures(rare, pairs(sides), np.ones(120, dtype=bool), np.ones(120, dtype=bool), [])["retire"]
    )


def test_a_set_by_hand():
    known = pairs([1, 1, -1, -1])
    votes = np.array([[1, -1], [1, 0], [1, -1], [0, 0]], dtype=np.int8)
    weights, margins = np.array([1.0, 3.0]), np.array([0.5, np.nan, -0.1, 2.0])
    everywhere = np.ones(4, dtype=bool)
    found = set_figures(
        votes, weights, np.array([0.5, 0.5, 0.0, -0.5]), known, everywhere, everywhere, margins, everywhere
    )
    # Weighted votes −2, 1, −2 and 0: wrong, right, right, a coin. Scores: right, right, a coin, right.
    assert found["held_out"]["share"] == pytest.approx(5 / 8)
    assert found["score_held_out"]["share"] == pytest.approx(7 / 8)
    # Margins on the first, third and fourth pair: right, right, wrong.
    assert found["with_model"]["model"]["share"] == pytest.approx(2 / 3)
    assert found["with_model"]["rules"]["share"] == pytest.approx(1 / 2)
    # Both over their root mean square: −2/1.633 + 0.5/1.192 < 0, −2/1.633 − 0.1/1.192 < 0, 0 + 2/1.192 > 0.
    assert found["with_model"]["both"]["share"] == pytest.approx(1 / 3)
    assert found["overlap"][0][1] == pytest.approx(-2 / np.sqrt(6), abs=1e-3)


def test_only_rules_with_high_agreement_expect_a_side():
    votes = np.array([[1, -1], [0, -1]], dtype=np.int8)
    figures = [{"held_out": {"interval": [0.7, 0.8]}}, {"held_out": {"interval": [0.6, 0.9]}}]
    weights, known = np.array([1.0, 9.0]), np.ones((2, 2), dtype=bool)
    assert expected_sides(votes, known, weights, figures).tolist() == [1, 0]
    assert expected_sides(votes, known, weights, [{"held_out": {"interval": None}}] * 2).tolist() == [0, 0]
    known[0, 0] = False
    assert expected_sides(votes, known, weights, figures).tolist() == [0, 0]


def test_only_pairs_with_every_verdict_are_measured():
    sides = pairs([1, 1, -1, -1])
    votes = np.array([[1, 1], [1, 0], [1, 0], [-1, 0]], dtype=np.int8)
    known = np.array([[True, True], [True, False], [False, False], [True, False]])
    weights, nobody, everywhere = np.ones(2), np.full(4, np.nan), np.ones(4, dtype=bool)
    rule = rule_figures(votes[:, 0], sides, everywhere, known[:, 0], [])
    assert (rule["verified"], rule["coverage"]) == ({"count": 3, "of": 4, "share": 0.75}, 1.0)
    assert (rule["all"]["count"], rule["all"]["of"]) == (3, 3)  # the vote without a verdict is none
    scores = np.array([0.5, 0.5, 0.5, 0.5])
    found = set_figures(votes, weights, scores, sides, everywhere, known.all(axis=1), nobody, everywhere)
    assert found["verified"] == {"count": 1, "of": 4, "share": 0.25}
    assert (found["held_out"]["of"], found["held_out"]["share"], found["score_held_out"]["of"]) == (1, 1.0, 1)
    none = set_figures(votes, weights, scores, sides, everywhere, ~everywhere, nobody, everywhere)
    assert none["held_out"] == {"count": 0, "of": 0, "share": None, "interval": None}
    assert (none["coverage"], none["verified"]["count"], none["with_model"]) == (None, 0, None)
    unasked = rule_figures(votes[:, 1], sides, everywhere, ~everywhere, [])
    assert (unasked["coverage"], unasked["retire"]) == (None, [])


def test_what_never_votes_is_not_right_half_of_the_time():
    sides = pairs([1, 1, -1])
    everywhere = np.ones(3, dtype=bool)
    silent = np.zeros((3, 1), dtype=np.int8)
    found = set_figures(silent, np.ones(1), np.zeros(3), sides, everywhere, everywhere, np.full(3, np.nan), everywhere)
    assert (found["held_out"]["share"], found["score_held_out"]["share"], found["coverage"]) == (None, None, 0.0)
