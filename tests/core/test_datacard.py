"""Figures of labels by hand and against published ones; the card says them."""

import csv
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.core.datacard import (
    Agreement,
    Labeled,
    LabelFigures,
    Vote,
    interval,
    krippendorff_alpha,
    nominal,
    ordinal,
    wilson_interval,
)

VOTES = Path("../shared/data/agreement_helpsteer2_votes.csv")
WHEN = datetime(2026, 11, 27, tzinfo=UTC)


def vote(preference, *, annotator="a", kept=True, swapped=False, imported=False):
    return Vote(annotator, preference, kept, swapped, imported, 1, WHEN)


def labeled(*votes, status="agreed", preference=1, second_is_longer=None):
    return Labeled(votes, status, preference, second_is_longer)


@pytest.mark.skipif(not VOTES.exists(), reason="needs ../shared/data/agreement_helpsteer2_votes.csv")
@pytest.mark.parametrize(("metric", "alpha"), [(nominal, 0.350200), (ordinal, 0.722759), (interval, 0.705977)])
def test_alpha_is_the_published_one(metric, alpha):
    """Of 58 votes on 18 pairs of HelpSteer2; the data's README has the figures."""
    units = defaultdict(list)
    with VOTES.open() as lines:
        for row in csv.DictReader(lines):
            units[row["external_id"]].append(int(row["strength"]))
    patterns = Counter(tuple(values) for values in units.values())
    assert krippendorff_alpha(patterns, metric) == pytest.approx(alpha, abs=5e-7)


def test_alpha_of_four_units_by_hand():
    """Units 11, 11, 22, 12: observed disagreement 2/8, expected (5*3 + 3*5)/(8*7); alpha = 1 − 0.25 / (30/56)."""
    units = Counter([(1, 1), (1, 1), (2, 2), (1, 2)])
    assert krippendorff_alpha(units, nominal) == pytest.approx(1 - 0.25 / (30 / 56))


@pytest.mark.parametrize("units", [{}, {(1,): 9}, {(2, 2): 5}])
def test_alpha_of_nothing_that_varies_is_none(units):
    assert krippendorff_alpha(Counter(units), ordinal) is None


def test_wilson_interval_by_hand():
    """8 of 10 at z = 2: centre (0.8 + 0.2) / 1.4, half-width 2 / 1.4 * sqrt(0.016 + 0.01)."""
    low, high = wilson_interval(8, 10, z=2)
    assert (low, high) == pytest.approx((1 / 1.4 - 2 / 1.4 * 0.026**0.5, 1 / 1.4 + 2 / 1.4 * 0.026**0.5))


def test_pairs_of_votes_are_counted_once_each():
    """Votes 2, 2, -1 have one equal pair of three; neither and neither agree, neither and 1 do not."""
    agreement = Agreement()
    agreement.add([(2, 2, -1), (None, None), (None, 1), (3,)])
    figures = agreement.to_dict()
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
    agreement = figures.to_dict()["agreement"]
    assert (agreement["raw"]["same_side"]["count"], agreement["raw"]["same_side"]["n"]) == (1, 4)
    assert (agreement["kept"]["same_side"]["count"], agreement["kept"]["same_side"]["n"]) == (1, 1)


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
        ]
    )
    counted = figures.to_dict()
    assert (counted["position_bias"]["count"], counted["position_bias"]["n"]) == (2, 4)
    assert (counted["length_bias"]["count"], counted["length_bias"]["n"]) == (2, 4)
    assert (counted["labels"], counted["imported_labels"], counted["annotators"]) == (7, 2, 1)


def test_figures_do_not_depend_on_how_many_rows_come_at_a_time():
    rows = [labeled(vote(n % 3 - 1 or 1, annotator=str(n % 5)), second_is_longer=bool(n % 2)) for n in range(30)]
    together, one_by_one = LabelFigures(), LabelFigures()
    together.add(rows)
    for row in rows:
        one_by_one.add([row])
    assert together.to_dict() == one_by_one.to_dict()
