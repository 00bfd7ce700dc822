"""JudgeBench (arXiv 2410.12784; ScalerLab/JudgeBench, `utils/metrics.py`: compute_final_metrics, `utils/judges.py`).

A reward model that sees (A, B) decides A > B when A scores higher and B > A otherwise. Each pair is judged in both
orders: a vote for the label is +1, against it -1, and the pair is right when the sum is positive. So equal scores,
which decide one way in each order, are not right. The figure is the share of pairs, over all of them and in four
categories. Its two sets, by the model that wrote the responses, have figures of their own; leaderboards show gpt's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worker.core.reward_benchmarks.items import Benchmark, BenchmarkError, Item, PublishedSet, Scores, share, text_of

CATEGORIES = ("Knowledge", "Reasoning", "Math", "Coding")
_STARTS = {
    "mmlu-pro": "Knowledge",
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}
LABELS = ("A>B", "B>A")


def read_row(row: Mapping[str, Any], where: str) -> Item:
    """Read `pair_id`, `source`, `question`, `response_A`, `response_B` and `label`; the better response comes first."""
    label = row.get("label")
    if label not in LABELS:
        raise BenchmarkError(f"{where}: label must be A>B or B>A, not {str(label)[:60]!r}.")
    source = text_of(row, "source", where)
    category = next((name for start, name in _STARTS.items() if source.startswith(start)), None)
    if category is None:
        raise BenchmarkError(f"{where}: source must begin with one of {', '.join(_STARTS)}, not {source[:60]!r}.")
    both = text_of(row, "response_A", where), text_of(row, "response_B", where)
    responses = both if label == LABELS[0] else both[::-1]
    return Item(str(row.get("pair_id", where)), category, text_of(row, "question", where), responses)


def score(items: Sequence[Item], scores: Scores) -> dict[str, Any]:
    """Return the share of pairs that are right, by category and over all."""
    votes = np.array([votes_for(better, worse) for better, worse in scores])
    right = (votes > 0).astype(np.float64)
    category = np.array([item.section for item in items])
    return {
        "sections": [share(name, right[category == name]) for name in CATEGORIES if (category == name).any()],
        "undecided": int((votes == 0).sum()),
        "overall": float(right.mean()),
    }


def votes_for(better: float, worse: float) -> int:
    """Return the sum of the votes in both orders for the response that the label says is better.

    >>> votes_for(2.0, 1.0), votes_for(1.0, 2.0), votes_for(1.0, 1.0)
    (2, -2, 0)
    """
    first = 1 if better > worse else -1  # shown as (better, worse): the first wins only when it scores higher
    second = -1 if worse > better else 1  # shown as (worse, better)
    return first + second


BENCHMARK = Benchmark(
    name="judgebench",
    title="JudgeBench",
    source="arXiv 2410.12784",
    datasets=(("ScalerLab/JudgeBench", "gpt"),),
    read_row=read_row,
    score=score,
    sections=CATEGORIES,
    published=(
        PublishedSet(350, {"Knowledge": 154, "Reasoning": 98, "Math": 56, "Coding": 42}, "gpt"),
        PublishedSet(270, {"Knowledge": 154, "Reasoning": 51, "Math": 34, "Coding": 31}, "claude"),
    ),
)
