"""A linear head learns the order of responses, starts where it is told to, and never looks at held-out pairs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.core.training.head import Head, Interrupted, LabeledFeatures, train_head
from worker.core.training.objective import TrainingError
from worker.core.training.recipe import FLIP_AWARE, OBJECTIVES, Recipe

RNG = np.random.default_rng(5)


def labeled(
    features: np.ndarray,
    preference: Sequence[int],
    ratings: np.ndarray | None = None,
    attributes: tuple[str, ...] = (),
) -> LabeledFeatures:
    """Pair row 2i with row 2i + 1."""
    count = len(preference)
    return LabeledFeatures(
        features=np.asarray(features, dtype=np.float32),
        first=np.arange(0, 2 * count, 2),
        second=np.arange(1, 2 * count, 2),
        preference=np.asarray(preference),
        ratings=np.empty((count, 2, 0), np.float32) if ratings is None else ratings.astype(np.float32),
        attributes=attributes,
        share_1=(np.asarray(preference) < 0).astype(np.float32),
    )


EIGHT = labeled(RNG.normal(size=(16, 32)), [-3, 2, 1, -1, 3, -2, 1, -1])
STRONG = Recipe(weight_decay=0.0, epochs=200, batch_pairs=8)


def fit(tmp_path: Path, recipe: Recipe, train: LabeledFeatures, **changes: Any) -> Head:
    options: dict[str, Any] = {
        "validation": None,
        "initial": None,
        "checkpoint": tmp_path / "checkpoint.safetensors",
        "data_hash": "",
        "resume": False,
        "report": lambda event: None,
        "should_stop": lambda: False,
    }
    return train_head(recipe, train, **(options | changes))


def margins(head: Head, pairs: LabeledFeatures) -> np.ndarray:
    rewards = head.rewards(pairs.features)
    return (rewards[pairs.second] - rewards[pairs.first]) * np.sign(pairs.preference)


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name != "regression"])
def test_eight_pairs_can_be_learned_by_heart(objective: str, tmp_path: Path) -> None:
    more = {"flip_rate": 0.1, "weight_decay": 0.01} if objective in FLIP_AWARE else {}
    head = fit(tmp_path, dataclasses.replace(STRONG, objective=objective, **more), EIGHT)
    assert (margins(head, EIGHT) > 0).all()


def test_margins_exceed_the_strength_under_the_margin_objective(tmp_path: Path) -> None:
    recipe = dataclasses.replace(STRONG, objective="margin_bradley_terry", epochs=1000)
    assert (margins(fit(tmp_path, recipe, EIGHT), EIGHT) > np.abs(EIGHT.preference)).all()


def test_a_stronger_preference_outweighs_a_weaker_one(tmp_path: Path) -> None:
    # the same two responses, once strongly one way, once slightly the other
    sides = RNG.normal(size=(2, 32))
    pairs = labeled(np.concatenate([sides, sides]), [-3, 1])
    head = fit(tmp_path, Recipe(objective="scaled_bradley_terry", weight_decay=1e-4, epochs=400), pairs)
    # at the optimum sigmoid(gap) = 3 / (3 + 1), up to the little weight decay
    assert margins(head, pairs)[0] == pytest.approx(np.log(3), abs=0.02)
    regular = fit(tmp_path, Recipe(objective="bradley_terry", weight_decay=1e-4, epochs=400), pairs)
    assert margins(regular, pairs)[0] == pytest.approx(0.0, abs=0.02)
    mapped = Recipe(weight_decay=1e-4, epochs=400, strength_map={1: 1, 2: 3, 3: 10})
    assert margins(fit(tmp_path, mapped, pairs), pairs)[0] == pytest.approx(np.log(10), abs=0.05)


def test_training_ends_at_the_optimum_of_the_penalised_loss(tmp_path: Path) -> None:
    # One pair and one feature: values -1 and 1 after scaling, so the gap is 2w, and the loss
    # -ln sigmoid(2w) + 3/2 w^2 has its minimum where 2 sigmoid(-2w) = 3w; at w = 0.25, sigmoid(-0.5) = 0.37754.
    recipe = Recipe(objective="bradley_terry", weight_decay=3.0, epochs=400)
    gap = float(
        margins(fit(tmp_path, recipe, labeled(np.array([[10.0], [30.0]]), [1])), labeled([[10.0], [30.0]], [1]))[0]
    )
    assert 2 / (1 + np.exp(gap)) == pytest.approx(3 * gap / 2, abs=1e-3)


def test_the_scale_of_a_feature_does_not_matter(tmp_path: Path) -> None:
    factors = np.geomspace(1e-3, 1e3, 32)
    stretched = dataclasses.replace(EIGHT, features=(EIGHT.features * factors + 7).astype(np.float32))
    here, there = fit(tmp_path, Recipe(), EIGHT), fit(tmp_path, Recipe(), stretched)
    np.testing.assert_allclose(margins(here, EIGHT), margins(there, stretched), atol=1e-3)


def test_a_constant_feature_is_harmless(tmp_path: Path) -> None:
    features = EIGHT.features.copy()
    features[:, 3] = 4.0
    assert np.isfinite(fit(tmp_path, Recipe(), dataclasses.replace(EIGHT, features=features)).weight).all()


def test_rewards_of_training_responses_are_centred(tmp_path: Path) -> None:
    assert fit(tmp_path, Recipe(), EIGHT).rewards(EIGHT.features).mean() == pytest.approx(0.0, abs=1e-5)


def test_held_out_pairs_change_nothing(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    other = labeled(RNG.normal(size=(6, 32)), [1, 1, -1])
    alone = fit(tmp_path, Recipe(), EIGHT)
    watched = fit(tmp_path, Recipe(), EIGHT, validation=other, report=events.append)
    assert alone.weight.tobytes() == watched.weight.tobytes()
    last = [event for event in events if event["event"] == "evaluation"][-1]
    assert last["accuracy"] == pytest.approx((margins(watched, other) > 0).mean())


def test_seeds_decide_the_order_and_nothing_else_does(tmp_path: Path) -> None:
    small = Recipe(batch_pairs=3)
    assert fit(tmp_path, small, EIGHT).weight.tobytes() == fit(tmp_path, small, EIGHT).weight.tobytes()
    seeded = fit(tmp_path, dataclasses.replace(small, seed=1), EIGHT)
    assert fit(tmp_path, small, EIGHT).weight.tobytes() != seeded.weight.tobytes()


@pytest.mark.parametrize("stop_after", [1, 7, 19, 44, 89])
def test_a_run_resumed_at_any_step_ends_with_the_same_bits(stop_after: int, tmp_path: Path) -> None:
    recipe = Recipe(batch_pairs=3)  # 30 epochs of 3 steps: most stops are in the middle of an epoch
    undisturbed = fit(tmp_path, recipe, EIGHT)
    steps = iter(range(1, 1000))
    with pytest.raises(Interrupted):
        fit(tmp_path, recipe, EIGHT, should_stop=lambda: next(steps) == stop_after)
    resumed = fit(tmp_path, recipe, EIGHT, resume=True)
    assert resumed.weight.tobytes() == undisturbed.weight.tobytes()
    assert resumed.bias.tobytes() == undisturbed.bias.tobytes()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half a checkpoint")
    with pytest.raises(TrainingError, match="delete it to train from the start"):
        fit(tmp_path, Recipe(), EIGHT, resume=True)


def test_a_warm_start_starts_where_the_other_version_ended(tmp_path: Path) -> None:
    before = fit(tmp_path, STRONG, EIGHT)
    other = labeled(RNG.normal(3, 2, size=(40, 32)), [1] * 20)  # other data, so another centre and scale
    still = Recipe(learning_rate=1e-9, epochs=1, initialisation="v1")
    after = fit(tmp_path, still, other, initial=before)
    np.testing.assert_allclose(after.rewards(other.features), before.rewards(other.features), atol=1e-3)


def test_weight_decay_pulls_back_to_the_start(tmp_path: Path) -> None:
    before = fit(tmp_path, STRONG, EIGHT)
    flipped = dataclasses.replace(EIGHT, preference=-EIGHT.preference)
    held = Recipe(weight_decay=1e4, learning_rate=1e-3, epochs=200, initialisation="v1")
    after = fit(tmp_path, held, flipped, initial=before)
    np.testing.assert_allclose(after.rewards(EIGHT.features), before.rewards(EIGHT.features), atol=0.05)


def test_extrapolation_goes_beyond_the_trained_model_along_the_same_line(tmp_path: Path) -> None:
    before = fit(tmp_path, STRONG, EIGHT)
    other = labeled(RNG.normal(size=(16, 32)), [1, 1, -1, 1, 2, -3, 1, 1])

    def at(factor: float) -> np.ndarray:
        recipe = Recipe(initialisation="v1", extrapolation=factor)
        return fit(tmp_path, recipe, other, initial=before).rewards(other.features)

    start = before.rewards(other.features)
    np.testing.assert_allclose(at(0.0), start, atol=1e-4)
    np.testing.assert_allclose(at(1.52), start + 1.52 * (at(1.0) - start), atol=1e-4)
    assert np.abs(at(1.0) - start).max() > 0.1


def test_weights_that_extrapolation_makes_infinite_are_refused(tmp_path: Path) -> None:
    before = fit(tmp_path, STRONG, EIGHT)
    recipe = Recipe(initialisation="v1", extrapolation=10)
    object.__setattr__(recipe, "extrapolation", 1e300)  # no recipe may say so; a start of huge weights has the effect
    flipped = dataclasses.replace(EIGHT, preference=-EIGHT.preference)
    with pytest.raises(TrainingError, match="not finite; lower the learning rate or the extrapolation"):
        fit(tmp_path, recipe, flipped, initial=before)


RATINGS = np.clip(np.round(2 + 1.5 * RNG.normal(size=(8, 2, 2))), 0, 4)
RATED = dataclasses.replace(EIGHT, ratings=RATINGS.astype(np.float32), attributes=("helpfulness", "verbosity"))
BY_HEART = Recipe(objective="regression", weight_decay=0.0, epochs=2000, batch_pairs=8)


def test_regression_exports_helpfulness(tmp_path: Path) -> None:
    head = fit(tmp_path, BY_HEART, RATED)
    assert head.outputs == ("helpfulness", "verbosity")
    np.testing.assert_allclose(head.rewards(EIGHT.features), RATINGS[:, :, 0].reshape(-1), atol=0.05)


def test_regression_without_helpfulness_exports_the_mean(tmp_path: Path) -> None:
    head = fit(tmp_path, BY_HEART, dataclasses.replace(RATED, attributes=("tone", "verbosity")))
    np.testing.assert_allclose(head.rewards(EIGHT.features), RATINGS.mean(axis=2).reshape(-1), atol=0.05)


def test_regression_learns_from_the_ratings_there_are(tmp_path: Path) -> None:
    ratings = RATED.ratings.copy()
    ratings[::2] = np.nan  # half of the pairs are not rated at all
    ratings[:, :, 1] = np.nan  # and nobody rated verbosity
    head = fit(tmp_path, BY_HEART, dataclasses.replace(RATED, ratings=ratings))
    assert head.outputs == ("helpfulness",)
    rewards = head.rewards(EIGHT.features).reshape(8, 2)
    np.testing.assert_allclose(rewards[1::2], RATINGS[1::2, :, 0], atol=0.05)


def test_preferences_start_from_a_regression(tmp_path: Path) -> None:
    stage_1 = fit(tmp_path, BY_HEART, RATED)
    stage_2 = fit(tmp_path, Recipe(learning_rate=1e-9, epochs=1, initialisation="v1"), EIGHT, initial=stage_1)
    assert stage_2.outputs == ("reward",)
    np.testing.assert_allclose(stage_2.rewards(EIGHT.features), stage_1.rewards(EIGHT.features), atol=1e-3)


def test_a_head_for_a_decoder_has_no_bias(tmp_path: Path) -> None:
    recipe = Recipe(backbone="some/decoder", pooling="last")
    shifted = dataclasses.replace(EIGHT, features=EIGHT.features + 5)
    assert fit(tmp_path, recipe, shifted).bias.tolist() == [0.0]
    assert fit(tmp_path, Recipe(), shifted).bias.tolist() != [0.0]


def test_a_reward_does_not_depend_on_the_rows_beside_it() -> None:
    features = RNG.normal(size=(257, 384)).astype(np.float32)
    head = Head(("reward",), RNG.normal(size=(1, 384)).astype(np.float32), np.zeros(1, np.float32))
    alone = np.concatenate([head.rewards(features[row : row + 1]) for row in range(len(features))])
    assert alone.tobytes() == head.rewards(features).tobytes()
