"""Score responses with a saved reward model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from worker.core.backbone import Backbone, Texts
from worker.core.features import FeatureCache, OnProgress, cached_features
from worker.core.training.head import Head
from worker.core.training.recipe import Recipe
from worker.core.training.save import FORMAT, MANIFEST, ModelFolderError
from worker.core.uncertainty import Laplace

# Versions that share a backbone share it in memory too, for as long as one of them is in use.
_backbones: WeakValueDictionary[str, Backbone] = WeakValueDictionary()


@dataclass(frozen=True)
class Scorer:
    """A saved reward model; its backbone is loaded only for texts that the cache does not know."""

    recipe: Recipe
    head: Head
    backbone: Backbone
    manifest: dict[str, Any]
    laplace: Laplace | None = None

    @classmethod
    def load(cls, folder: Path) -> "Scorer":
        """Read a model folder. Raises ModelFolderError."""
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest.get("format") != FORMAT:
                raise ModelFolderError(f"{folder} has format {manifest.get('format')!r}; this version reads {FORMAT}.")
            recipe = Recipe.from_dict(manifest["recipe"])
            tensors = load_file(folder / manifest["head"])
            head = Head(tuple(manifest["outputs"]), tensors["weight"], tensors["bias"])
            laplace = _laplace(folder, manifest)
            revision = manifest["feature_revision"]
            own = Backbone(folder, recipe.pooling, recipe.max_tokens, revision, manifest["weights_sha256"])
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelFolderError(f"{folder} is not a model folder of Tiebreak: {error}") from error
        shared = _backbones.get(revision)
        if shared is None or not shared.is_loaded:
            _backbones[revision] = shared = own
        return cls(recipe, head, shared, manifest, laplace)

    def score(
        self, pairs: Sequence[Texts], cache: FeatureCache, on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Return the reward of each (prompt, response), (n,); equal to the standard loader's within 1e-5."""
        if not pairs:
            return np.empty(0, dtype=np.float32)
        return self.head.rewards(self.features(pairs, cache, on_progress))

    def score_with_uncertainty(
        self, pairs: Sequence[Texts], cache: FeatureCache, on_progress: OnProgress | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """Return the reward of each (prompt, response) and its standard deviation, both (n,).

        None instead of deviations for a version that holds none.
        """
        if not pairs:
            return np.empty(0, dtype=np.float32), None if self.laplace is None else np.empty(0)
        features = self.features(pairs, cache, on_progress)
        return self.head.rewards(features), None if self.laplace is None else self.laplace.std(features)

    def features(
        self, pairs: Sequence[Texts], cache: FeatureCache, on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Return what the head reads of each (prompt, response), (n, d)."""
        return cached_features(self.backbone, cache, pairs, self.recipe.batch_tokens, on_progress)[0]


def _laplace(folder: Path, manifest: dict[str, Any]) -> Laplace | None:
    entry = manifest.get("uncertainty")
    if not entry:
        return None
    tensors = load_file(folder / entry["file"])
    return Laplace(tensors["centre"], tensors["factor"])
