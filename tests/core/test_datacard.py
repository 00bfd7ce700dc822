"""Figures of labels by hand and against published ones; the card says them."""

import csv
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from worker.core import label_figures
from worker.core.label_figures import Agreement, Labeled, LabelFigures, Vote

VOTES = Path("../shared/data/agreement_helpsteer2_votes.csv")
WHEN = datetime(2026, 11, 27, tzinfo=UTC)


def vote(preference, *, kept=True, swapped=False, imported=False):
    return Vote(preference, kept, swapped, imported)


def labeled(*votes, status="agreed", preference=1, second_is_longer=None):
    return Labeled(votes, status, preference, second_is_longer)


def agreement(patterns):
    counted = Agreement()
    counted.add(patterns)
    return counted.to_dict()


@pytest.mark.skipif(not VOTES.exists(), reason="needs ../shared/data/agreement_helpsteer2_votes.csv")
def test_alpha_is_the_published_one():
    """Of 58 votes on 18 pairs of HelpSteer2; the data's README has the figures."""
    units = defaultdict(list)
    with VOTES.open() as lines:
        for row in csv.DictReader(lines):
            units[row["external_id"]].append(int(row["strength"]))
    assert agreement(map(tuple, units.values()))["alpha_ordinal"] == 0.722759


def test_alpha_of_four_units_by_hand_leaves_out_who_found_neither_valid():
    """Units 11, 11, 22, 12: observed disagreement 2/8, expected (5*3 + 3*5)/(8*7); alpha = 1 − 0.25 / (30/56)."""
    units = [(1, 1), (1, None, 1), (2, 2), (2, 1), (3, None)]
    assert agreement(units)["alpha_ordinal"] == pytest.approx(1 - 0.25 / (30 / 56), abs=5e-7)


@pytest.mark.parametrize("units", [[], [(1,)] * 9, [(2, 2)] * 5, [(None, None)]])
def test_alpha_of_nothing_that_varies_is_none(units):
    assert agreement(units)["alpha_ordinal"] is None


def test_a_share_has_wilsons_interval():
    """8 of 10: centre (0.8 + z²/20) / (1 + z²/10), half-width z / (1 + z²/10) * sqrt(0.016 + z²/400), z = 1.96."""
    share = agreement([(1, 1)] * 8 + [(1, 2)] * 2)["same_preference"]
    assert share == {"count": 8, "n": 10, "share": 0.8, "interval": [0.490162, 0.943318]}
    assert agreement([(1,)])["same_preference"] == {"count": 0, "n": 0, "share": None, "interval": None}


def test_pairs_of_votes_are_counted_once_each():
    """Votes 2, 2, -1 have one equal pair of three; neither and neither agree, neither and 1 do not."""
    figures = agreement([(2, 2, -1), (None, None), (None, 1), (3,)])
    assert figures["comparisons"] == 3
    assert (figures["same_preference"]["count"], figures["same_preference"]["n"]) == (2, 5)
    assert (figures["same_side"]["count"], figures["same_side"]["n"]) == (2, 5)


def test_before_counts_all_labels_and_after_the_kept_ones_of_settled_comparisons():
    figures = LabelFigures()
    figures.add(
        [
            labeled(vote(2), vote(2), vote(-3, kept=False)),
            labeled(vote(3), vote(-3), status="excluded", preference=None),
        ]
    )
    figures = figures.to_dict()["agreement"]
    assert (figures["raw"]["same_side"]["count"], figures["raw"]["same_side"]["n"]) == (1, 4)
    assert (figures["kept"]["same_side"]["count"], figures["kept"]["same_side"]["n"]) == (1, 1)


def test_position_counts_what_was_shown_first_and_length_the_longer_response():
    figures = LabelFigures()
    figures.add(
        [
            labeled(
                vote(-1),  # response 1, shown first, the shorter one
                vote(2, swapped=True),  # response 2, shown first, the longer one
                vote(1),  # response 2, shown second, the longer one
                vote(-2, imported=True),  # shown nobody knows how, the shorter one
                vote(None),
                vote(0, imported=True),
                second_is_longer=True,
            ),
            labeled(vote(3), second_is_longer=None),  # shown second; both have one length
        ],
        annotators=["a"] * 7,
        moments=[WHEN] * 7,
    )
    counted = figures.to_dict()
    assert (counted["position_bias"]["count"], counted["position_bias"]["n"]) == (2, 4)
    assert (counted["length_bias"]["count"], counted["length_bias"]["n"]) == (2, 4)
    assert (counted["labels"], counted["imported_labels"], counted["annotators"]) == (7, 2, 1)


def test_figures_do_not_depend_on_how_many_rows_come_at_a_time_nor_on_when_they_are_added_up(monkeypatch):
    rows = [labeled(vote(n % 3 - 1 or 1, kept=n % 4 > 0), second_is_longer=bool(n % 2)) for n in range(30)]
    together, one_by_one = LabelFigures(), LabelFigures()
    together.add(rows, [str(n % 5) for n in range(30)], [WHEN + timedelta(n) for n in range(30)])
    monkeypatch.setattr(label_figures, "MOST_ALIKE", 3)
    for n, row in enumerate(rows):
        one_by_one.add([row], [str(n % 5)], [WHEN + timedelta(n)])
    assert together.to_dict() == one_by_one.to_dict()
    assert together.to_dict() == one_by_one.to_dict()  # reading them changes nothing
