"""Measure saved reward models on labeled pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.conversation import prompt_of
from worker.core.features import FeatureCache, OnProgress
from worker.core.metrics import evaluate_pairs
from worker.core.pairs import Pair
from worker.core.reward_benchmarks import BENCHMARKS, Item
from worker.core.scorecard import HeldOutPair, Rewards, comparison, control_figures, scorecard
from worker.core.scoring import Scorer
from worker.core.training.save import ModelFolderError


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
    rewards = _rewards(folder, pairs, cache, on_progress)
    return evaluate_rewards(*rewards, pairs)


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


@dataclass(frozen=True)
class Judged:
    """What a version is judged by: its scorecard, its control pairs, and how it compares with another version."""

    card: dict[str, Any] | None
    controls: dict[str, Any] | None
    comparison: dict[str, Any] | None


def judge_folder(
    folder: Path,
    *,
    pairs: Sequence[HeldOutPair],
    controls: Sequence[HeldOutPair],
    cache: FeatureCache,
    against: Path | None = None,
    comparable: Sequence[bool] = (),
    controls_learned: int = 0,
    on_progress: OnProgress | None = None,
) -> Judged:
    """Score held-out and control pairs with a model folder, and with `against` if there is one, and measure both.

    `comparable` says for each pair whether `against` never trained on it; the others stay out of the comparison.
    `controls_learned` is how many control pairs are not among `controls`, because they were trained on. Raises
    ModelFolderError.
    """
    after, after_controls = (_rewards(folder, each, cache, on_progress) for each in (pairs, controls))
    before_controls, compared = None, None
    if against is not None:
        kept = [pair for pair, fair in zip(pairs, comparable, strict=True) if fair]
        mask = np.asarray(comparable, dtype=bool)
        before = _rewards(against, kept, cache, on_progress)
        before_controls = _rewards(against, controls, cache, on_progress)
        compared = comparison(kept, before, (after[0][mask], after[1][mask]))
    known = control_figures(controls, after_controls, before_controls, controls_learned)
    return Judged(scorecard(pairs, after), known, compared)


def held_out_pair(row: Mapping[str, Any]) -> HeldOutPair | None:
    """Return a row of a snapshot (format `annotations`) as a pair to judge by; None where nobody named a side."""
    votes = tuple(
        (annotation["annotator"], annotation["preference"])
        for annotation in row["annotations"]
        if annotation["preference"] != "neither"
    )
    consensus = row["consensus"]["preference"]
    preference = consensus if isinstance(consensus, int) and row["consensus"]["status"] == "agreed" else 0
    if not preference and not any(vote for _, vote in votes):
        return None
    domain = row["metadata"].get("domain")
    return HeldOutPair(
        id=row["external_id"],
        prompt_key=row["prompt_hash"],
        prompt=prompt_of(row["messages"]),
        response_1=row["responses"][0]["text"],
        response_2=row["responses"][1]["text"],
        preference=preference,
        domain=domain[:100] if isinstance(domain, str) else "",
        votes=votes,
    )


def run_benchmark(
    folder: Path, name: str, items: Sequence[Item], cache: FeatureCache, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Score a benchmark's items with a model folder and return its own figures. Raises ModelFolderError."""
    texts = [(item.prompt, response) for item in items for response in item.responses]
    scores = _scores(folder, texts, cache, on_progress).astype(np.float64)
    ends = np.cumsum([len(item.responses) for item in items])
    return BENCHMARKS[name].figures(items, np.split(scores, ends[:-1]))


def _rewards(
    folder: Path, pairs: Sequence[Pair] | Sequence[HeldOutPair], cache: FeatureCache, on_progress: OnProgress | None
) -> Rewards:
    rewards = _scores(folder, [texts for pair in pairs for texts in pair.texts], cache, on_progress)
    return rewards[0::2], rewards[1::2]


def _scores(
    folder: Path, texts: Sequence[tuple[str, str]], cache: FeatureCache, on_progress: OnProgress | None
) -> NDArray[np.float32]:
    scores = Scorer.load(folder).score(texts, cache, on_progress)
    if not np.isfinite(scores).all():
        raise ModelFolderError("The model gives rewards that are infinite or no numbers, so nothing can be measured.")
    return scores
