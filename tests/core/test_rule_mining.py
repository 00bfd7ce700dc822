"""The miner: planted rules are found, chance is not, and every figure by hand."""

import numpy as np
import pytest

from worker.core.rules.figures import overlap, score_of
from worker.core.rules.mining import below_false_discovery_rate, candidates, fit_weights, mine, select, vote_matrix
from worker.core.rules.statements import MeasuredRule, sentence_hash
from worker.core.rules.units import ACROSS, DISCOVERY, TEST, accuracy_of, agreement_of, difference_of, labels_of
from worker.core.shares import share_of

NAMES = ["characters", "headings", "flattery", "numbers", "hedges"]


def world(pairs=600, seed=0, prompts=None):
    """Return values of both responses (m, 5) and hashes of the texts; nobody's preference is in them."""
    draw = np.random.default_rng(seed)
    size = (2, pairs)
    columns = [
        draw.integers(100, 2000, size), draw.poisson(0.7, size), draw.random(size) < 0.3, draw.poisson(3, size),
        draw.random(size),
    ]  # fmt: skip
    first, second = np.stack(columns, axis=2).astype(float)
    prompt = [str(at % (prompts or pairs)) for at in range(pairs)]
    return first, second, prompt, [f"a{at}" for at in range(pairs)], [f"b{at}" for at in range(pairs)]


def labels_by(lean, texts, seed=0):
    """Return labels drawn by Bradley and Terry from how much each pair leans to response 2."""
    chance = 1 / (1 + np.exp(-np.asarray(lean)))
    side = np.where(np.random.default_rng(seed + 1).random(len(chance)) < chance, 1, -1)
    return labels_of(side.tolist(), *texts, seed=seed)


def test_planted_rules_are_found_and_the_others_are_not():
    first, second, *texts = world(1600)
    has_heading = (second[:, 1] >= 1).astype(float) - (first[:, 1] >= 1)
    flatters = second[:, 2] - first[:, 2]
    found = mine(first, second, NAMES, labels_by(2.0 * has_heading - 2.0 * flatters, texts))
    assert {rule.name for rule in found.rules} == {"headings", "flattery"}
    assert {rule.text for rule in found.rules} == {
        "The response has headings.",
        "The response does not open with flattery.",
    }
    assert all(share.share > 0.7 and share.interval[0] > 0.5 for share in found.agreement)
    assert found.accuracy.share > 0.7
    assert found.gain[1] > 0.1  # length says nothing here, and the interval knows


def test_shuffled_labels_give_rules_in_less_than_one_of_twenty():
    first, second, *texts = world(400)
    names = [*NAMES, *(f"{name}" for name in ("words", "sentences", "lines", "commas", "bold"))]
    more = np.random.default_rng(7).poisson(4, (2, 400, 5)).astype(float)
    first, second = np.hstack([first, more[0]]), np.hstack([second, more[1]])
    parts = labels_by(np.zeros(400), texts)
    votes = vote_matrix(proposed := candidates(first, second, names, parts.part == DISCOVERY), first, second, names)
    families = [rule.name for rule in proposed]
    alarms = sum(bool(select(votes, labels_by(np.zeros(400), texts, seed=seed), families)[1]) for seed in range(100))
    assert alarms <= 5


def test_one_prompt_with_linked_responses_makes_no_rule_of_a_good_response():
    """Sixty answers to one prompt: a few good ones win all their pairs, and what they look like is chance."""
    draw = np.random.default_rng(3)
    alarms = 0
    for seed in range(40):
        quality, looks = draw.normal(size=60) * 3, draw.random((60, 6)) < 0.3
        ends = np.array([(a, b) for a in range(60) for b in range(a)])
        side = np.where(draw.random(len(ends)) < 1 / (1 + np.exp(quality[ends[:, 0]] - quality[ends[:, 1]])), 1, -1)
        labels = labels_of(
            side.tolist(), ["p"] * len(ends), [str(a) for a in ends[:, 0]], [str(b) for b in ends[:, 1]], seed=seed
        )
        assert not labels.by_prompt
        votes = (looks[ends[:, 1]].astype(np.int8) - looks[ends[:, 0]]).astype(np.int8)
        alarms += bool(select(votes, labels, list("abcdef"))[1])
    assert alarms <= 5


def test_exchanging_the_responses_of_a_pair_changes_nothing():
    first, second, *texts = world(500)
    labels = labels_by(second[:, 1] - first[:, 1], texts)
    flip = np.random.default_rng(5).random(500) < 0.5
    turned = labels_of(
        np.where(flip, -labels.side, labels.side).tolist(),
        texts[0],
        [b if f else a for a, b, f in zip(texts[1], texts[2], flip, strict=True)],
        [a if f else b for a, b, f in zip(texts[1], texts[2], flip, strict=True)],
        seed=0,
    )
    a = mine(first, second, NAMES, labels)
    b = mine(np.where(flip[:, None], second, first), np.where(flip[:, None], first, second), NAMES, turned)
    assert a.rules == b.rules != []
    assert (a.accuracy, a.agreement) == (b.accuracy, b.agreement)


def test_no_text_is_in_two_parts():
    first = world(300)[3]
    labels = labels_of([1] * 300, ["p"] * 300, first, [*first[1:], first[0]], seed=2)
    parts: dict[int, set[str]] = {}
    for one, other, part in zip(labels.first, labels.second, labels.part, strict=True):
        if part != ACROSS:
            parts.setdefault(int(one), set()).add(str(part))
            parts.setdefault(int(other), set()).add(str(part))
    assert max(map(len, parts.values())) == 1
    assert ACROSS in labels.part


def test_false_discoveries_by_hand():
    # Four tests: the sum 1 + 1/2 + 1/3 + 1/4 is 25/12, so the thresholds at 5 % are 0.006, 0.012, 0.018 and 0.024.
    assert below_false_discovery_rate(np.array([0.02, 0.004, 0.011, 0.9]), 0.05).tolist() == [False, True, True, False]
    assert below_false_discovery_rate(np.array([0.023, 0.023, 0.023, 0.023]), 0.05).all()
    assert not below_false_discovery_rate(np.array([0.0061, 0.5, 0.5, 0.5]), 0.05).any()


def test_weights_of_one_vote_are_its_log_odds():
    votes = np.ones((1000, 1))
    side = np.array([1] * 750 + [-1] * 250, dtype=np.int8)
    assert fit_weights(votes, side)[0] == pytest.approx(np.log(3), abs=0.01)  # the ridge takes the last digits


def test_a_rule_decides_by_hand():
    values = np.array([0.0, 1.0, 2.0, np.nan])
    has = MeasuredRule("headings", "more", 1.0, relative=False)
    assert [each.tolist() for each in has.verdicts(values)] == [[False, True, True, False], [True, True, True, False]]
    assert has.votes(values, np.array([1.0, 1.0, 0.0, 1.0])).tolist() == [1, 0, -1, 0]
    fewer = MeasuredRule("headings", "less", 1.0, relative=True)
    assert fewer.votes(values, np.array([1.0, 1.0, 0.0, 1.0])).tolist() == [-1, 0, 1, 0]
    assert fewer.text == "The response has fewer headings than the other."
    assert fewer.statement_hash != has.statement_hash == MeasuredRule("headings", "more", 1, False).statement_hash
    assert sentence_hash("Is  short.") == sentence_hash("is short.") != sentence_hash("is long.")
    with pytest.raises(ValueError, match="property: there is no property"):
        MeasuredRule("charm", "more", 1.0, relative=False)
    with pytest.raises(ValueError, match="threshold: expected a number"):
        MeasuredRule.from_parameters("headings", {"wants": "more", "threshold": float("nan"), "relative": True})


def test_a_score_by_hand():
    yes = np.array([[True, False, False], [True, True, False], [False, False, False]])
    applies = np.array([[True, True, False], [True, True, True], [False, False, False]])
    weights = np.array([2.0, 1.0, 1.0])
    assert score_of(yes, applies, weights, not_applicable_is_yes=False).tolist() == pytest.approx([2 / 3, 3 / 4, 1 / 2])
    assert score_of(yes, applies, weights, not_applicable_is_yes=True).tolist() == pytest.approx([3 / 4, 3 / 4, 1.0])
    with pytest.raises(ValueError, match="at least one rule"):
        score_of(yes[:, :0], applies[:, :0], weights[:0], not_applicable_is_yes=True)


def test_shares_by_hand():
    labels = labels_of([1, 1, -1, -1], list("abcd"), list("efgh"), list("ijkl"), seed=0, by_prompt=True)
    votes = np.array([1, -1, 0, -1], dtype=np.int8)
    assert agreement_of(votes, labels).share == pytest.approx(2 / 3)
    accuracy = accuracy_of(votes, labels)
    assert (accuracy.share, accuracy.of) == (pytest.approx(5 / 8), 4)  # two hits, one miss, one coin
    many = labels_of(
        [1] * 10, [str(n) for n in range(10)], list("abcdefghij"), list("klmnopqrst"), seed=0, by_prompt=True
    )
    hits = np.array([1] * 8 + [-1] * 2, dtype=np.int8)
    # Each pair its own prompt: nearly Wilson's interval of 8 of 10 (the variance divides by 9 instead of 10).
    assert agreement_of(hits, many).interval == pytest.approx(share_of(8, 10).interval, abs=0.02)
    mean, low, high = difference_of(hits, -hits, many)
    assert (mean, (low + high) / 2) == pytest.approx((0.6, 0.6))
    assert overlap(np.array([[1, -1, 1], [1, -1, 0], [0, 0, 1]], dtype=np.int8))[0].tolist() == pytest.approx(
        [1, -1, 0.5]
    )


def test_the_test_part_is_not_looked_at():
    """Turning every label of the test part around changes no rule, only what is measured of it."""
    first, second, *texts = world(800)
    labels = labels_by(1.5 * (second[:, 1] - first[:, 1]), texts)
    turned = labels_of(np.where(labels.part == TEST, -labels.side, labels.side).tolist(), *texts, seed=0)
    a, b = mine(first, second, NAMES, labels), mine(first, second, NAMES, turned)
    assert a.rules == b.rules
    assert a.agreement[0].share == pytest.approx(1 - b.agreement[0].share)
