"""The part of `worker.train` that turns texts into features and trains a head on them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worker.core.backbone import Backbone, Features, Texts
from worker.core.features import FeatureCache, cached_features
from worker.core.pairs import Pair
from worker.core.scoring import Scorer
from worker.core.training.head import Head, LabeledFeatures, Report, train_head
from worker.core.training.objective import TrainingError, labels_of, pairs_to_learn
from worker.core.training.recipe import Recipe
from worker.train_inputs import Inputs


@dataclass(frozen=True)
class TextFeatures:
    """The vectors of distinct texts: `rows` says which of `vectors` (n, d) is that of a (prompt, response)."""

    rows: dict[Texts, int]
    vectors: Features

    def labeled(self, pairs: Sequence[Pair]) -> LabeledFeatures:
        """Turn pairs into arrays; each distinct response is one row of features."""
        sides = np.array([self.rows[text] for pair in pairs for text in pair.texts], dtype=np.int64)
        used, at = np.unique(sides, return_inverse=True)
        return LabeledFeatures(
            **vars(labels_of(pairs)), features=self.vectors[used], first=at[0::2].copy(), second=at[1::2].copy()
        )


def features_from_cache(
    backbone: Backbone, inputs: Inputs, report: Report, check_stop: Callable[[], None]
) -> TextFeatures:
    """Return the vectors of all labeled texts, reporting progress and stopping between batches."""
    texts = _texts([*inputs.labeled, *inputs.validation])

    def progress(done: int, total: int, hits: int, computed: int) -> None:
        report({"event": "features", "done": done, "total": total, "hits": hits, "computed": computed})
        check_stop()

    with FeatureCache(inputs.settings.feature_cache) as cache:
        vectors, _, _ = cached_features(backbone, cache, list(texts), inputs.recipe.batch_tokens, progress)
    return TextFeatures(texts, vectors)


def features_anew(
    backbone: Backbone, recipe: Recipe, pairs: Sequence[Pair], report: Report, check_stop: Callable[[], None]
) -> TextFeatures:
    """Return the vectors of the pairs' texts by a backbone that no cache knows yet."""
    texts = _texts(pairs)
    done = 0

    def progress(rows: list[int], vectors: Features) -> None:
        nonlocal done
        done += len(rows)
        report({"event": "features", "done": done, "total": len(texts), "hits": 0, "computed": done})
        check_stop()

    return TextFeatures(texts, backbone.features(list(texts), recipe.batch_tokens, progress))


def head_to_start_from(initial_model: Path | None, backbone: Backbone) -> Head | None:
    """Return the head of the version that training starts from, if it names one. Raises TrainingError."""
    if initial_model is None:
        return None
    scorer = Scorer.load(initial_model)
    if scorer.backbone.revision != backbone.revision:
        raise TrainingError(
            "The initial model was trained on other features (backbone, pooling, layers or max_tokens differ), "
            "so its head cannot be a starting point."
        )
    return scorer.head


def train_on_features(
    folder: Path,
    inputs: Inputs,
    backbone: Backbone,
    initial: Head | None,
    features: TextFeatures,
    *,
    resume: bool,
    report: Report,
    should_stop: Callable[[], bool],
) -> tuple[Head, Head | None]:
    """Train a head, in one stage or two; return it and the head that its last stage started from."""
    recipe, validation = inputs.recipe, features.labeled(inputs.validation)

    def fit(stage: Recipe, pairs: Sequence[Pair], start: Head | None, checkpoint: str, said: dict[str, Any]) -> Head:
        return train_head(
            stage,
            features.labeled(pairs),
            validation=validation if len(validation) else None,
            initial=start,
            checkpoint=folder / checkpoint,
            data_hash=_data_hash(folder, backbone, start),
            resume=resume,
            report=lambda event: report(event | said),
            should_stop=should_stop,
        )

    if recipe.first_stage is None:
        return fit(recipe, inputs.learned, initial, "checkpoint.safetensors", {}), initial
    first, _ = pairs_to_learn(recipe.first_stage, inputs.labeled)
    start = fit(recipe.first_stage, first, None, "checkpoint-first.safetensors", {"stage": 1})
    return fit(recipe, inputs.learned, start, "checkpoint.safetensors", {"stage": 2}), start


def _texts(pairs: Sequence[Pair]) -> dict[Texts, int]:
    """Return the distinct texts of pairs with their number."""
    return {text: row for row, text in enumerate(dict.fromkeys(text for pair in pairs for text in pair.texts))}


def _data_hash(folder: Path, backbone: Backbone, initial: Head | None) -> str:
    """Return a hash of all that the trained weights depend on beside the recipe."""
    digest = hashlib.sha256((folder / "train.jsonl").read_bytes())
    digest.update(backbone.revision.encode())
    if initial is not None:
        digest.update(initial.weight.tobytes() + initial.bias.tobytes())
    return digest.hexdigest()
