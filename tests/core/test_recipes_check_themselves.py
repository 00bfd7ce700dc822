"""A recipe refuses what cannot be trained, naming the field, and has a stable hash."""

import dataclasses
import json
from typing import Any

import pytest

from worker.core.training.recipe import FLIP_AWARE, Recipe
from worker.core.training.search import combinations, default_grid


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", " ", "name: must be a non-empty text"),
        ("backbone", "", "backbone: must be a non-empty text"),
        ("pooling", "max", "pooling: 'max' is not one of mean, pooler, last"),
        ("pooling", "last", "pooling: the embedded backbone is an encoder"),
        ("objective", "dpo", "objective: 'dpo' is not one of"),
        ("tuning", "some", "tuning: 'some' is not one of head, lora, full"),
        ("overlong", "drop", "overlong: a 'head' tuning does not read it; leave it at 'truncate'"),
        ("precision", "bfloat16", "precision: a 'head' tuning does not read it"),
        ("precision", "int8", "precision: 'int8' is not one of float32, bfloat16"),
        ("gradient_checkpointing", 1, "gradient_checkpointing: must be true or false"),
        ("processes", 2, "processes: a 'head' tuning does not read it; leave it at 1"),
        ("processes", 0, "processes: must be a whole number of at least 1"),
        ("processes", 5000, "processes: at most 1024"),
        ("clip_norm", 0, "clip_norm: must be above 0"),
        ("lora_rank", 8, "lora_rank: a 'head' tuning does not read it"),
        ("initialisation", None, "initialisation: must be a non-empty text"),
        ("extrapolation", 1.5, "extrapolation: a run from scratch has no start"),
        ("extrapolation", -1, "extrapolation: must be at least 0"),
        ("weight_decay", -0.1, "weight_decay: must be at least 0"),
        ("weight_decay", float("nan"), "weight_decay: must be a finite number"),
        ("learning_rate", 0, "learning_rate: must be above 0"),
        ("learning_rate", True, "learning_rate: must be a finite number"),
        ("epochs", 0, "epochs: must be a whole number of at least 1"),
        ("epochs", 1.5, "epochs: must be a whole number"),
        ("batch_pairs", "64", "batch_pairs: must be a whole number"),
        ("batch_tokens", 0, "batch_tokens: must be"),
        ("max_tokens", 4, "max_tokens: must be a whole number of at least 8"),
        ("seed", -1, "seed: must be"),
        ("seed", True, "seed: must be"),
        ("flip_rate", 0.1, "flip_rate: scaled_bradley_terry knows none"),
        ("flip_rate", 0.5, "flip_rate: must be below 0.5"),
        ("pairs_from", "votes", "pairs_from: 'votes' is not one of preferences, ratings"),
        ("attributes", ["helpfulness"], "attributes: only a regression learns attributes"),
        ("attributes", [1], "attributes: must be a list of different names"),
        ("first_epochs", 3, "first_epochs: only a run with initialisation"),
        ("strength_map", {1: 1, 2: 2}, "strength_map: must map each of 1, 2 and 3"),
        ("strength_map", {1: 1, 2: 2, 3: -1}, r"strength_map\[3\]: must be at least 0"),
        ("strength_map", {1: 1, 2: 2, 3: 10**400}, r"strength_map\[3\]: must be a finite number, not 10000"),
        ("strength_map", {1: 1, 2: 2, 3: 1e9}, r"strength_map\[3\]: at most 1000"),
        ("strength_map", {1: 0, 2: 0, 3: 0}, "strength_map: with 0 for every strength"),
        ("learning_rate", 10**400, "learning_rate: must be a finite number, not 10000"),
        ("learning_rate", 1e300, "learning_rate: at most 10, not 1e"),
        ("weight_decay", 10**400, "weight_decay: must be a finite number"),
        ("weight_decay", 1e9, r"weight_decay: at most 1e\+06"),
        ("extrapolation", 1e300, "extrapolation: at most 10"),
        ("clip_norm", 10**400, "clip_norm: must be a finite number"),
        ("seed", 2**70, "seed: at most 4294967295"),
        ("epochs", 10**15, "epochs: at most 10000"),
        ("batch_pairs", 10**400, "batch_pairs: at most 1000000, not 10000"),
        ("layers", 10**9, "layers: at most 10000"),
        ("name", "n" * 201, "name: at most 200 characters, not 201"),
        ("name", ["n"] * 100_000, r"name: must be a non-empty text, not \['n', .{0,60}…"),
        ("backbone", "b" * 1001, "backbone: at most 1000 characters, not 1001"),
        ("initialisation", "7" * 41, "initialisation: at most 40 characters, not 41"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(field: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Recipe.from_dict({field: value})


def test_texts_may_be_as_long_as_their_limit() -> None:
    recipe = Recipe(name="n" * 200, backbone="b" * 1000, initialisation="7" * 40)
    assert (len(recipe.name), len(recipe.backbone), len(recipe.initialisation)) == (200, 1000, 40)


def test_an_adapters_fields_are_refused_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="lora_alpha: a 'full' tuning does not read it; leave it at 32"):
        Recipe.from_dict({"tuning": "full", "lora_alpha": 8})
    assert Recipe.from_dict({"tuning": "lora", "lora_alpha": 8, "processes": 2}).lora_alpha == 8


def test_what_is_left_out_depends_on_the_tuning() -> None:
    assert (Recipe().learning_rate, Recipe().epochs) == (0.03, 30)
    assert Recipe.from_dict({"tuning": "full"}).learning_rate == 2e-5
    lora = Recipe.from_dict({"tuning": "lora", "epochs": 7})
    assert (lora.learning_rate, lora.epochs, lora.weight_decay) == (2e-4, 7, 0.0)
    assert Recipe.from_dict(lora.to_dict()) == lora


def test_objectives_that_know_of_flips_need_their_rate_and_the_unbounded_one_a_decay() -> None:
    for objective in FLIP_AWARE:
        with pytest.raises(ValueError, match=f"flip_rate: {objective} needs to know one"):
            Recipe(objective=objective)
        assert Recipe(objective=objective, flip_rate=0.1).weight_decay > 0
    robust = {"objective": "robust_bradley_terry", "flip_rate": 0.1}
    with pytest.raises(ValueError, match="weight_decay: robust_bradley_terry falls without bound"):
        Recipe.from_dict({**robust, "tuning": "full"})
    assert Recipe.from_dict({**robust, "tuning": "full", "weight_decay": 0.1}).flip_rate == 0.1


def test_the_default_grid_stays_within_the_bounds() -> None:
    recipe = Recipe(learning_rate=10, weight_decay=0)
    grid = default_grid(recipe)
    assert grid == {"learning_rate": [10 / 3, 10], "weight_decay": [0]}
    assert len(combinations(recipe, grid)) == 2


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ValueError, match="colour, shape: not a field of a recipe"):
        Recipe.from_dict({"shape": 1, "colour": 2})


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(name="inf-orm", strength_map={1: 1, 2: 3, 3: 10}, initialisation="model-3", extrapolation=1.52)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert again.strength_map == {1: 1.0, 2: 3.0, 3: 10.0}
    assert again.hash == recipe.hash


def test_the_hash_sees_values_and_not_their_spelling() -> None:
    assert Recipe(learning_rate=1).hash == Recipe(learning_rate=1.0).hash
    assert Recipe(strength_map={3: 3, 2: 2, 1: 1}).hash == Recipe().hash
    changed = {"name": "b", "seed": 1, "weight_decay": 0.5, "strength_map": {1: 1, 2: 3, 3: 10}, "pooling": "pooler"}
    hashes = {Recipe.from_dict({field: value}).hash for field, value in changed.items()}
    assert len(hashes | {Recipe().hash}) == len(changed) + 1


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().seed = 2  # type: ignore[misc]


def test_recipes_do_not_share_their_strength_map() -> None:
    mine = {1: 1.0, 2: 2.0, 3: 3.0}
    recipe = Recipe(strength_map=mine)
    mine[1] = 9.0
    assert recipe.strength_map[1] == 1.0


def test_two_stages_are_two_recipes() -> None:
    recipe = Recipe(initialisation="regression", extrapolation=1.52, epochs=20, first_epochs=4, batch_pairs=8)
    first = recipe.first_stage
    assert first == Recipe(objective="regression", attributes=("helpfulness",), epochs=4, batch_pairs=8)
    assert recipe.parent is None
    assert Recipe().first_stage is None
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    with pytest.raises(ValueError, match="cannot have a regression as its first stage"):
        Recipe(objective="regression", initialisation="regression")
