"""Ties, votes, ratings and flips reach the loss as the objective wants them; what cannot be learned from is counted."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.conftest import pair_row
from tests.core.test_heads_learn_preferences import fit, labeled, margins
from worker.core.pairs import Pair
from worker.core.training.objective import batch_loss, labels_of, loss_weight, outputs_of, pairs_to_learn
from worker.core.training.recipe import Recipe


def pair(preference: int, votes: tuple[int, ...] = (), ratings: Any = None) -> Pair:
    return Pair("id", "key", "why", "good", "bad", preference, ratings, votes)


RATINGS = ({"helpfulness": 3.4, "verbosity": 4}, {"helpfulness": 0.5, "verbosity": 0})


@pytest.mark.parametrize(
    ("recipe", "learned", "left_out"),
    [
        ({}, [-1], {"tie": 2}),
        ({"objective": "margin_bradley_terry"}, [-1], {"tie": 2}),
        ({"objective": "soft_bradley_terry"}, [-1, 0, 0], {}),
        ({"objective": "conservative_bradley_terry", "flip_rate": 0.1}, [-1, 0, 0], {}),
        ({"objective": "regression"}, [0], {"without ratings": 2}),
        # 3.4 and 0.5 round to 3 and 1: response 1 is better by 2
        ({"pairs_from": "ratings"}, [-2], {"without ratings": 2}),
    ],
)
def test_each_objective_takes_what_it_can_learn_from(
    recipe: dict[str, Any], learned: list[int], left_out: dict[str, int]
) -> None:
    pairs = [pair(-1), pair(0, votes=(-1, 1, 0)), pair(0, ratings=RATINGS)]
    kept, counted = pairs_to_learn(Recipe.from_dict(recipe), pairs)
    assert ([one.preference for one in kept], counted) == (learned, left_out)


def test_a_share_counts_every_vote_and_a_tie_half() -> None:
    assert [pair(-1, votes=(-3, -1, 1)).share_1, pair(0, votes=(-1, 0)).share_1] == [2 / 3, 0.75]
    assert [pair(-2).share_1, pair(0).share_1, pair(3).share_1] == [1.0, 0.5, 0.0]


def test_ratings_without_helpfulness_are_averaged_and_equal_ones_are_a_tie() -> None:
    tone = ({"tone": 4, "depth": 4}, {"tone": 0, "depth": 0})
    recipe = Recipe(pairs_from="ratings")
    assert pairs_to_learn(recipe, [pair(1, ratings=tone)])[0][0].preference == -3  # four points are "much better"
    assert pairs_to_learn(recipe, [pair(1, ratings=(tone[0], tone[0]))]) == ([], {"tie": 1})


def loss_of(recipe: Recipe, one: Pair, gap: float) -> float:
    labels = labels_of([one])
    rewards = torch.tensor([[gap]]), torch.zeros(1, 1)
    return batch_loss(recipe, outputs_of(recipe, labels), *rewards, labels, np.array([0])).item()


def test_the_loss_reads_the_right_label() -> None:
    ln3 = math.log(3)  # sigmoid is 3/4 there: response 1 is better with probability 3/4
    soft, flips = Recipe(objective="soft_bradley_terry"), {"flip_rate": 0.25}
    better_first, better_second = math.log(4 / 3), math.log(4)
    assert loss_of(soft, pair(-1, votes=(-1, -1, 1)), ln3) == pytest.approx((2 * better_first + better_second) / 3)
    conservative = Recipe(objective="conservative_bradley_terry", **flips)
    assert loss_of(conservative, pair(2), ln3) == pytest.approx(0.75 * better_second + 0.25 * better_first)
    assert loss_of(conservative, pair(0), ln3) == pytest.approx((better_first + better_second) / 2)
    robust = Recipe(objective="robust_bradley_terry", **flips)
    assert loss_of(robust, pair(2), ln3) == pytest.approx((0.75 * better_second - 0.25 * better_first) / 0.5)
    noisy = Recipe(objective="noisy_bradley_terry", **flips)
    assert loss_of(noisy, pair(2), ln3) == pytest.approx(-math.log(0.75 * 0.25 + 0.25 * 0.75))
    margin = Recipe(objective="margin_bradley_terry", strength_map={1: ln3, 2: 2, 3: 3})
    assert loss_of(margin, pair(-1), ln3) == pytest.approx(math.log(2))
    assert loss_of(Recipe(strength_map={1: 1, 2: 3, 3: 10}), pair(3), ln3) == pytest.approx(10 * better_second)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(objective="regression")])
def test_weighted_batches_add_up_to_the_whole(recipe: Recipe) -> None:
    half = ({"helpfulness": 1}, {})
    labels = labels_of([pair(-3, ratings=RATINGS), pair(1, ratings=half), pair(2, ratings=half)])
    outputs = outputs_of(recipe, labels)
    rewards = [torch.randn(3, len(outputs), generator=torch.Generator().manual_seed(side)) for side in (0, 1)]

    def part(rows: list[int]) -> tuple[float, int]:
        chosen = np.array(rows)
        loss = batch_loss(recipe, outputs, rewards[0][rows], rewards[1][rows], labels, chosen)
        return loss.item(), loss_weight(recipe, outputs, labels, chosen)

    whole, (one, weight_1), (rest, weight_2) = part([0, 1, 2])[0], part([0]), part([1, 2])
    assert (one * weight_1 + rest * weight_2) / (weight_1 + weight_2) == pytest.approx(whole)


def test_soft_labels_learn_the_share_itself(tmp_path: Path) -> None:
    sides = np.random.default_rng(1).normal(size=(2, 32))
    three = dataclasses.replace(
        labeled(np.concatenate([sides] * 3), [-1, -1, 1]), share_1=np.full(3, 0.75, dtype=np.float32)
    )
    head = fit(tmp_path, Recipe(objective="soft_bradley_terry", weight_decay=1e-5, epochs=600), three)
    assert margins(head, three)[0] == pytest.approx(math.log(3), abs=0.02)


def rated(number: int) -> dict[str, Any]:
    better_second = number % 2
    good, poor = {"helpfulness": 4}, {"helpfulness": number % 3}
    return pair_row(number, ratings=[poor, good] if better_second else [good, poor])


def test_two_stages_in_one_run_end_as_two_runs(
    make_run: Callable[..., Path], train: Callable[..., tuple[int, list[dict[str, Any]]]]
) -> None:
    rows = [rated(number) for number in range(12)]
    two = make_run("two", train=rows, initialisation="regression", extrapolation=1.52, first_epochs=5, epochs=7)
    _, events = train(two)
    first = make_run("first", train=rows, objective="regression", attributes=["helpfulness"], epochs=5)
    train(first)
    second = make_run(
        "second",
        train=rows,
        settings={"initial_model": str(first / "model")},
        initialisation="7",
        extrapolation=1.52,
        epochs=7,
    )
    train(second)
    rewards = [np.array([row["reward_1"] for row in _scores(run)]) for run in (two, second)]
    np.testing.assert_allclose(rewards[0], rewards[1], rtol=1e-4, atol=1e-5)
    assert [event["stage"] for event in events if event["event"] == "step"] == [1] * 5 + [2] * 7


def test_one_training_serves_every_factor(
    make_run: Callable[..., Path], train: Callable[..., tuple[int, list[dict[str, Any]]]]
) -> None:
    rows = [rated(number) for number in range(12)]
    recipe = {"train": rows, "initialisation": "regression", "first_epochs": 5, "epochs": 7}
    shared, alone = make_run("shared", **recipe), make_run("alone", extrapolation=1.5, **recipe)
    train(shared)
    before = _scores(shared)
    (shared / "recipe.json").write_text((alone / "recipe.json").read_text())
    _, events = train(shared, "--resume")
    train(alone)
    assert not [event for event in events if event["event"] == "step"]
    assert _scores(shared) == _scores(alone) != before


def test_what_is_left_out_is_counted_in_events_and_metrics(
    make_run: Callable[..., Path], train: Callable[..., tuple[int, list[dict[str, Any]]]]
) -> None:
    run = make_run(
        train=[pair_row(0), pair_row(1), pair_row(2, preference=0)],
        validation=[pair_row(20), pair_row(21, preference=0)],
        settings={"left_out": {"train": {"neither valid": 2}, "validation": {"no consensus": 1}}},
    )
    _, events = train(run)
    left_out = {"train": {"neither valid": 2, "tie": 1}, "validation": {"no consensus": 1, "tie": 1}}
    assert events[0] == {"event": "pairs", "train": 2, "validation": 1, "left_out": left_out}
    assert events[-1]["metrics"]["left_out"] == left_out


def _scores(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "validation_scores.jsonl").read_text().splitlines()]
