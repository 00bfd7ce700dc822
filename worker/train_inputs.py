"""What `worker.train` reads of a run's folder, checked before hours of work and not after."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.core.backbone_sources import ANYWHERE, Sources
from worker.core.pairs import Pair, decided, prompts_in_both, read_pairs
from worker.core.training.objective import TrainingError, labels_of, outputs_of, pairs_to_learn
from worker.core.training.recipe import Recipe

KEYS_NAMED = 3
CHECKPOINT_SECONDS = 60.0

LeftOut = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Settings:
    """What a run needs beside its recipe: the feature cache, the snapshot's hash, and where to start.

    `left_out` says how many comparisons of each split the files lack, by reason; `checkpoint_seconds` how much time
    lies between two checkpoints of a backbone; `sources` where backbones may come from.
    """

    feature_cache: Path
    snapshot: str
    threads: int | None = None
    initial_model: Path | None = None
    left_out: LeftOut = field(default_factory=dict)
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    sources: Sources = ANYWHERE

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        """Check and convert settings.json. Raises TrainingError."""
        cache, snapshot = values.get("feature_cache"), values.get("snapshot")
        threads, initial = values.get("threads"), values.get("initial_model")
        if not isinstance(cache, str) or not isinstance(snapshot, str):
            raise TrainingError("settings.json: feature_cache and snapshot must be text.")
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise TrainingError(f"settings.json: threads must be null or at least 1, not {threads!r}.")
        seconds = values.get("checkpoint_seconds", CHECKPOINT_SECONDS)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise TrainingError(f"settings.json: checkpoint_seconds must be at least 0, not {seconds!r}.")
        start = Path(initial) if initial else None
        sources = Sources.from_dict(values.get("backbones") or {})
        return cls(Path(cache), snapshot, threads, start, values.get("left_out") or {}, float(seconds), sources)


@dataclass(frozen=True)
class Inputs:
    """A run's recipe, settings and pairs: labeled ones to train on, those of them that the objective learns from, and
    held-out ones with a better side; `left_out` counts the others of each split by reason.
    """

    recipe: Recipe
    settings: Settings
    labeled: list[Pair]
    learned: list[Pair]
    validation: list[Pair]
    left_out: LeftOut


def read_inputs(folder: Path) -> Inputs:
    """Read and check recipe.json, settings.json and both files of pairs. Raises TrainingError and PairsError."""
    recipe = _recipe(folder / "recipe.json")
    settings = Settings.from_dict(_json(folder / "settings.json"))
    labeled, held_out = read_pairs(folder / "train.jsonl"), read_pairs(folder / "validation.jsonl")
    _check(recipe, settings, labeled, held_out)
    learned, reasons = pairs_to_learn(recipe, labeled)
    if recipe.first_stage is not None:
        outputs_of(recipe.first_stage, labels_of(labeled))  # refuse before hours of features, not after
    if not learned:
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        raise TrainingError(f"There is no pair that {recipe.objective} can learn from ({why}).")
    validation = decided(held_out)
    left_out = {split: dict(settings.left_out.get(split, {})) for split in ("train", "validation")}
    left_out["train"] |= reasons
    if ties := len(held_out) - len(validation):
        left_out["validation"]["tie"] = ties
    return Inputs(recipe, settings, labeled, learned, validation, left_out)


def _recipe(path: Path) -> Recipe:
    try:
        return Recipe.from_dict(_json(path))
    except ValueError as error:
        raise TrainingError(f"{path.name}: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{path.name} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise TrainingError(f"{path.name} must hold a JSON object.")
    return value


def _check(recipe: Recipe, settings: Settings, train: list[Pair], validation: list[Pair]) -> None:
    if not train:
        raise TrainingError("There is no labeled pair to train on: train.jsonl is empty.")
    shared = prompts_in_both(train, validation)
    if shared:
        named = ", ".join(shared[:KEYS_NAMED]) + (", …" if len(shared) > KEYS_NAMED else "")
        raise TrainingError(
            f"{len(shared)} prompts are in train.jsonl and in validation.jsonl ({named}); held-out figures "
            "would be too good. Split by prompt."
        )
    if (recipe.parent is None) != (settings.initial_model is None):
        raise TrainingError(
            f"The recipe's initialisation is {recipe.initialisation!r}, but settings.json "
            f"{'names no' if settings.initial_model is None else 'names an'} initial_model."
        )
