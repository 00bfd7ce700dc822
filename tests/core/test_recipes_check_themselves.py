"""A recipe refuses what cannot be trained, naming the field, and has a stable hash."""

import dataclasses
import json
from typing import Any

import pytest

from worker.core.training.recipe import Recipe


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", " ", "name: must be a non-empty text"),
        ("backbone", "", "backbone: must be a non-empty text"),
        ("pooling", "max", "pooling: 'max' is not one of mean, pooler, last"),
        ("pooling", "last", "pooling: the embedded backbone is an encoder"),
        ("objective", "dpo", "objective: 'dpo' is not one of"),
        ("tuning", "lora", "other tunings come with a later version"),
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
    ],
)
def test_a_value_that_is_not_allowed_is_refused(field: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Recipe.from_dict({field: value})


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
