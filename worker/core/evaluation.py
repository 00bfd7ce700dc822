"""Measure saved reward models on labeled pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.features import FeatureCache, OnProgress
from worker.core.metrics import compare_models, evaluate_pairs
from worker.core.pairs import Pair
from worker.core.scoring import Scorer


@dataclass(frozen=True)
class Evaluation:
    """The rewards of both sides of each pair (n,), and the scorecard (None without pairs)."""

    reward_1: NDArray[np.float32]
    reward_2: NDArray[np.float32]
    metrics: dict[str, Any] | None


def evaluate_folder(
    folder: Path, pairs: Sequence[Pair], cache: FeatureCache, on_progress: OnProgress | None = None
) -> Evaluation:
    """Score labeled pairs with a model folder and measure them. Raises ModelFolderError."""
    rewards = Scorer.load(folder).score([texts for pair in pairs for texts in pair.texts], cache, on_progress)
    return evaluate_rewards(rewards[0::2], rewards[1::2], pairs)


def evaluate_rewards(reward_1: NDArray[np.float32], reward_2: NDArray[np.float32], pairs: Sequence[Pair]) -> Evaluation:
    """Return the scorecard of given rewards."""
    metrics = evaluate_pairs(
        reward_1,
        reward_2,
        [pair.preference for pair in pairs],
        [pair.prompt_key for pair in pairs],
        [len(pair.response_1) for pair in pairs],
        [len(pair.response_2) for pair in pairs],
    )
    return Evaluation(reward_1, reward_2, metrics)


def compare_folders(
    current: Path,
    candidate: Path,
    pairs: Sequence[Pair],
    cache: FeatureCache,
    on_progress: OnProgress | None = None,
) -> dict[str, Any] | None:
    """Compare two model folders on the same pairs: `metrics.compare_models` with both scorecards."""
    before = evaluate_folder(current, pairs, cache, on_progress)
    after = evaluate_folder(candidate, pairs, cache, on_progress)
    comparison = compare_models(
        (before.reward_1, before.reward_2),
        (after.reward_1, after.reward_2),
        [pair.preference for pair in pairs],
        [pair.prompt_key for pair in pairs],
    )
    return None if comparison is None else comparison | {"current": before.metrics, "candidate": after.metrics}
