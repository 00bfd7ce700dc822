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

# Versions that share a backbone share it in memory too, for as long as one of them is in use.
_backbones: WeakValueDictionary[str, Backbone] = WeakValueDictionary()


@dataclass(frozen=True)
class Scorer:
    """A saved reward model; its backbone is loaded only for texts that the cache does not know."""

    recipe: Recipe
    head: Head
    backbone: Backbone
    manifest: dict[str, Any]

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
            revision = manifest["feature_revision"]
            own = Backbone(folder, recipe.pooling, recipe.max_tokens, revision, manifest["weights_sha256"])
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelFolderError(f"{folder} is not a model folder of Tiebreak: {error}") from error
        shared = _backbones.get(revision)
        if shared is None or not shared.is_loaded:
            _backbones[revision] = shared = own
        return cls(recipe, head, shared, manifest)

    def score(
        self, pairs: Sequence[Texts], cache: FeatureCache, on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Return the reward of each (prompt, response), (n,); equal to the standard loader's within 1e-5."""
        if not pairs:
            return np.empty(0, dtype=np.float32)
        features, _, _ = cached_features(self.backbone, cache, pairs, self.recipe.batch_tokens, on_progress)
        return self.head.rewards(features)
