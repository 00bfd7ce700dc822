"""Figures of labels by hand and against published ones; the card says them."""

import csv
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from worker.core import label_figures
from worker.core.agreement import agreement as quality_agreement
from worker.core.agreement import tally
from worker.core.label_figures import Agreement, Labeled, LabelFigures, Vote
from worker.core.label_quality import PREFERENCES

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


def test_a_share_of_pairs_has_the_interval_of_comparisons_drawn_again():
    """8 of 10 comparisons agree. Of a binomial with n = 10 and p = 0.8, P(X <= 5) = 0.033 and P(X <= 4) = 0.006."""
    share = agreement([(1, 1)] * 8 + [(1, 2)] * 2)["same_preference"]
    assert share == {"count": 8, "n": 10, "share": 0.8, "interval": [0.5, 1.0]}
    assert agreement([(1,)])["same_preference"] == {"count": 0, "n": 0, "share": None, "interval": None}


def test_pairs_of_votes_on_one_comparison_are_not_independent():
    """Five votes agree, or three stand against two: 10 or 4 of 10 pairs. With X of 10 unanimous: (40 + 6 X) / 100."""
    share = agreement([(1,) * 5] * 5 + [(1, 1, 1, -1, -1)] * 5)["same_side"]
    assert (share["count"], share["n"]) == (70, 100)
    assert share["interval"] == [0.52, 0.88]  # X is from 2 to 8: P(X <= 1) = 0.011, P(X <= 2) = 0.055


def test_intervals_are_those_of_the_quality_report_and_the_same_in_any_order():
    patterns = [(1, 1, -2), (3, 3), (None, None, 2), (-1, -1, -1, 2), (2, 1, 2), (0, 1)] * 7
    votes = [(unit, vote) for unit, pattern in enumerate(patterns) for vote in pattern]
    units, given = zip(*votes, strict=True)
    categories = [PREFERENCES.index(None if vote is None else float(vote)) for vote in given]
    expected = quality_agreement(tally(units, categories, PREFERENCES))
    found = agreement(patterns)
    assert found == agreement(reversed(patterns))
    for name, estimate in (("same_preference", expected.exact), ("same_side", expected.same_side)):
        assert found[name]["share"] == pytest.approx(estimate.value, abs=1e-6)
        assert found[name]["interval"] == pytest.approx(estimate.interval, abs=1e-6)


def test_the_middle_of_an_even_number_of_people_lies_between_two_of_them():
    def middle(*counts):
        figures = LabelFigures()
        figures.add([], annotators=[str(person) for person, count in enumerate(counts) for _ in range(count)])
        return figures.to_dict()["labels_per_annotator"]["median"]

    assert (middle(1, 5), middle(1, 4), middle(1, 2, 9)) == (3, 2.5, 2)
    assert isinstance(middle(1, 5), int)


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
