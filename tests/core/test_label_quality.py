"""Bias and people: by hand on a few votes, and on people whose habits are known."""

from dataclasses import replace

import numpy as np
import pytest

from tests.quality.simulation import simulate
from worker.core.annotator_figures import annotator_figures
from worker.core.label_quality import (
    Annotations,
    Repeats,
    agreement_stages,
    by_guideline,
    consistency,
    length_bias,
    position_bias,
    rating_agreement,
    with_others,
)

NOTHING_AGAIN = Repeats(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
NEITHER = np.nan


def annotations(preference, **columns) -> Annotations:
    """Return votes on one comparison each, by one person, unless columns say otherwise."""
    n = len(preference)
    defaults = {
        "comparison": np.arange(n),
        "annotator": np.zeros(n, np.int64),
        "guideline": np.ones(n, np.int64),
        "preference": np.array(preference, dtype=np.float64),
        "swapped": np.zeros(n, np.bool_),
        "imported": np.zeros(n, np.bool_),
        "kept": np.zeros(n, np.bool_),
        "agreed": np.zeros(n, np.bool_),
        "control": np.zeros(n, np.bool_),
        "gold": np.full(n, np.nan),
        "expected": np.full(n, np.nan),
        "length_1": np.full(n, 100),
        "length_2": np.full(n, 100),
        "active_seconds": np.full(n, np.nan),
        "characters": np.zeros(n, np.int64),
        "pasted": np.full(n, np.nan),
        "text_hash": np.zeros(n, np.int64),
        "ratings_1": np.full((n, 2), np.nan),
        "ratings_2": np.full((n, 2), np.nan),
    }
    given = {name: np.array(values, dtype=defaults[name].dtype) for name, values in columns.items()}
    return Annotations(**{**defaults, **given})


def figures(votes, again=NOTHING_AGAIN, skips=None):
    return {row.annotator: row for row in annotator_figures(votes, again, skips or {})}


def counts(share):
    return share.count, share.of


# --- By hand ---


def test_who_sees_response_2_first_and_prefers_it_prefers_what_is_first():
    votes = annotations([-1, 2, 3, -3, NEITHER, 1], swapped=[0, 1, 0, 1, 1, 0], imported=[0, 0, 0, 0, 0, 1])
    found = position_bias(votes)
    assert counts(found.first_side) == (2, 4)
    assert counts(found.shown_as_stored) == (2, 4)
    assert (found.probability, found.without_order) == (1.0, 1)


def test_length_counts_where_lengths_differ():
    votes = annotations(
        [-1, 2, 1, -2, 3, NEITHER, 0],
        length_1=[200, 100, 500, 100, 0, 900, 900],
        length_2=[100, 110, 100, 100, 7, 1, 1],
    )
    found = length_bias(votes)
    assert counts(found.longer_side) == (3, 4)  # not the third
    assert found.equal_length == 1
    assert [(bucket.at_least, bucket.below, *counts(bucket.longer_side)) for bucket in found.by_ratio] == [
        (1.0, 1.25, 1, 1),
        (1.25, 2.0, 0, 0),
        (2.0, 4.0, 1, 1),
        (4.0, None, 1, 2),  # an empty response is infinitely shorter
    ]


def test_others_must_be_two_and_on_one_side():
    comparison = [1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5]
    preference = [-1, -3, 2, 1, 1, NEITHER, NEITHER, -1, 1, 1, -1, -1, 0, 0, 1]
    judged, agrees = with_others(annotations(preference, comparison=comparison))
    # 1: each of the first two sees the others split; the third stands alone against two
    assert judged[:3].tolist() == [False, False, True]
    assert not agrees[2]
    assert not judged[3:5].any()  # one other is not enough
    assert (judged[5:8].tolist(), agrees[5:8].tolist()) == ([False, False, True], [False, False, False])
    assert judged[8:12].all()  # of three others two are against each of them
    assert not agrees[8:12].any()
    assert not judged[12:].any()  # a tie is no side


def test_nobody_is_held_against_control_items_as_others_answered_them():
    judged, _agrees = with_others(annotations([1, 1, 1], comparison=[1, 1, 1], control=[1, 1, 1]))
    assert not judged.any()


def test_control_items_are_held_against_what_is_known():
    votes = annotations(
        [-3, 2, NEITHER, 1, 1, 1], gold=[-1, -2, 1, 1, 0, np.nan], imported=[0, 0, 0, 1, 0, 0], annotator=[4] * 6
    )
    assert counts(figures(votes)[4].control_items) == (1, 3)  # neither is wrong there; gold 0 has no side


def test_a_persons_figures_by_hand():
    votes = annotations(
        [-1, 2, NEITHER, 1],
        annotator=[7, 7, 7, 8],
        swapped=[0, 0, 1, 1],
        active_seconds=[10, 20, 90, np.nan],
        characters=[100, 100, 40, 0],
        pasted=[0, 51, np.nan, 0],
        text_hash=[5, 5, 6, 5],
        ratings_1=[[3, 3], [1, 2], [2, np.nan], [0, 0]],
        ratings_2=[[3, 3], [1, 2], [2, 2], [0, 0]],
    )
    again = Repeats(np.array([7, 7, 9]), np.array([-3.0, 1.0, NEITHER]), np.array([-1.0, -1.0, NEITHER]))
    found = figures(votes, again, {7: (2, 1), 10: (1, 0)})
    seven = found[7]
    assert list(found) == [7, 8, 9, 10]
    assert (seven.annotations, seven.median_seconds, seven.mean_seconds) == (3, 20.0, 40.0)
    assert counts(seven.first_side) == (1, 2)
    assert counts(seven.neither) == (1, 3)
    assert counts(seven.agrees_with_self) == (1, 2)
    assert counts(found[9].agrees_with_self) == (1, 1)
    assert counts(seven.same_ratings) == (1, 2)  # the third has too few ratings
    assert counts(seven.pasted) == (1, 2)
    assert counts(seven.short_justifications) == (1, 3)  # the median is 100
    assert counts(seven.repeated_justifications) == (1, 3)
    assert counts(seven.skipped) == (2, 7)  # three answers, two repeats, two skips
    assert counts(seven.flagged) == (1, 7)
    assert seven.preferences == [0, 0, 1, 0, 0, 1, 0, 1]
    assert (found[8].median_seconds, counts(found[8].repeated_justifications)) == (None, (0, 0))
    assert (found[10].annotations, counts(found[10].skipped)) == (0, (1, 1))


def test_ratings_and_preference_point_the_same_way_by_hand():
    votes = annotations(
        [-1, 2, 3, 1, NEITHER],
        ratings_1=[[4, 0], [1, 0], [3, 0], [2, 0], [4, 0]],
        ratings_2=[[2, 0], [4, 0], [1, 0], [2, 0], [0, 0]],
    )
    found = consistency(votes, ["helpfulness", "verbosity"])
    assert counts(found.same_way) == (2, 3)  # the third contradicts itself
    assert found.equal_ratings == 1
    assert [(row.votes, row.mean_gap) for row in found.by_strength] == [(2, 1.0), (1, 3.0), (1, -2.0)]
    gaps, preferences = [-2, 3, -2, 0], [-1, 2, 3, 1]
    assert found.correlation == pytest.approx(np.corrcoef(gaps, preferences)[0, 1])
    assert consistency(votes, ["verbosity"]) is None


def test_stages_by_hand():
    votes = annotations(
        [-3, -3, -2, 3, 2, 2, -1, 1, NEITHER],
        comparison=[1, 1, 1, 1, 2, 2, 3, 3, 4],
        kept=[1, 1, 1, 0, 1, 1, 1, 1, 0],
        agreed=[1, 1, 1, 1, 1, 1, 0, 0, 0],
    )
    raw, similar, after = agreement_stages(votes)
    assert [(stage.name, stage.agreement.units, stage.agreement.votes) for stage in (raw, similar, after)] == [
        ("raw", 3, 8),
        ("most_similar", 3, 7),
        ("after_consensus", 2, 5),
    ]
    # pairs on one side: 3 of 6, 1 of 1, 0 of 1; then 3, 1, 0; then 3 and 1
    shares = [stage.agreement.same_side.value for stage in (raw, similar, after)]
    assert shares == pytest.approx([4 / 8, 4 / 5, 1.0])
    assert raw.mean_preference == pytest.approx(-1 / 8)


def test_control_items_are_in_no_stage():
    votes = annotations([1, 1, 1, -1], comparison=[1, 1, 2, 2], control=[1, 1, 0, 0])
    assert agreement_stages(votes)[0].agreement.votes == 2


def test_agreement_on_ratings_is_about_single_responses():
    votes = annotations(
        [1, 1, 1, 1],
        comparison=[1, 1, 2, 2],
        ratings_1=[[4, 1], [4, np.nan], [0, 1], [0, 1]],
        ratings_2=[[2, 1], [2, 1], [1, 1], [2, 1]],
    )
    helpfulness, verbosity = rating_agreement(votes, ["helpfulness", "verbosity"])
    assert (helpfulness.responses, verbosity.responses) == (4, 3)
    # labels 0, 1, 2, 4 lie at places 0 to 3; ordered pairs 4,4 · 2,2 · 0,0 · 1,2: two of eight are one apart;
    # marginals 2, 1, 3, 2 of 8 have squared distances 2 · (2·1 + 2·3·4 + 2·2·9 + 3 + 2·4 + 3·2) / 64 expected
    assert helpfulness.raw.value == pytest.approx(1 - (2 / 8) / (2 * (2 + 24 + 36 + 3 + 8 + 6) / 64))
    assert verbosity.raw.value is None  # everybody says the same: chance would, too


def test_guidelines_are_told_apart():
    votes = annotations([1, -1, 2, 2], guideline=[5, 5, 8, 8], swapped=[1, 0, 1, 0], active_seconds=[1, 3, 5, np.nan])
    first, second = by_guideline(votes)
    assert (first.version, counts(first.first_side), first.mean_strength, first.median_seconds) == (5, (2, 2), 1.0, 2.0)
    assert (second.version, counts(second.first_side), second.mean_strength) == (8, (1, 2), 2.0)


def test_nothing_at_all_is_no_error():
    empty = annotations([])
    assert figures(empty) == {}
    assert by_guideline(empty) == []
    assert rating_agreement(empty, ["helpfulness"]) == []
    assert position_bias(empty).first_side.share is None
    assert length_bias(empty).longer_side.share is None
    assert consistency(empty, ["helpfulness"]).same_way.share is None
    assert [stage.agreement.votes for stage in agreement_stages(empty)] == [0, 0, 0]


# --- People whose habits are known ---


def votes_of(made) -> Annotations:
    lengths = np.where(made.second_is_longer, 300, 100)[made.pair]
    return annotations(
        made.preference,
        comparison=made.pair,
        annotator=made.person,
        swapped=made.swapped,
        length_1=np.full(len(made.pair), 200),
        length_2=lengths,
        gold=np.where(made.pair % 5 == 0, made.truth[made.pair], np.nan),
    )


@pytest.mark.parametrize("seed", range(5))
def test_planted_people_are_found_and_nobody_else(seed):
    made = simulate(seed=seed, habits=["honest"] * 9 + ["first", "longer", "random"], pairs=400)
    found = figures(votes_of(made))
    assert "first_side" in found[9].remarks
    assert "longer_side" in found[10].remarks
    assert {"disagrees_with_others", "misses_control_items"} & set(found[11].remarks)
    assert not {"first_side", "longer_side"} & set(found[11].remarks)
    assert [found[person].remarks for person in range(9)] == [[]] * 9


def test_people_who_all_work_alike_are_left_alone():
    alarms = 0
    for seed in range(100):
        made = simulate(seed=1000 + seed, habits=["honest"] * 12, pairs=150, skill=0.7)
        alarms += any(row.remarks for row in figures(votes_of(made)).values())
    assert alarms <= 5  # one of a hundred reports is expected to make a remark


def test_few_answers_make_no_remark():
    votes = annotations([-1] * 19, annotator=[1] * 19)
    assert figures(votes)[1].remarks == []
    assert figures(annotations([-1] * 20, annotator=[1] * 20))[1].remarks == ["first_side"]


def test_a_sure_but_small_difference_is_no_remark():
    votes = annotations([-1] * 5500 + [1] * 4500, annotator=[1] * 10_000)
    assert position_bias(votes).probability < 1e-20
    assert figures(votes)[1].remarks == []
    assert figures(replace(votes, swapped=np.ones(10_000, np.bool_), preference=-np.abs(votes.preference)))[
        1
    ].remarks == ["second_side"]
