"""A scorecard of 20,000 held-out pairs, and two versions compared on them; beside the bootstrap of scipy.

Run with `make bench`, or `python -m benchmarks.evaluation`. Rewards are made up: what is measured is everything after
the model. Each pair has three answers of 60 people and one of 12 domains, and two pairs share a prompt. The peer
draws whole prompts too, for one figure alone, and for the figures by group it would be called once for each of them.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from worker.core.metrics import RESAMPLES, bootstrap_by_prompt, interval, pair_hits
from worker.core.scorecard import HeldOutPair, Rewards, comparison, scorecard

PAIRS, PEOPLE, DOMAINS, ANSWERS = 20_000, 60, 12, 3
ROUNDS = 3
AIM = 2.0


def made_up(pairs: int) -> tuple[list[HeldOutPair], Rewards, Rewards]:
    """Return labeled pairs, and the rewards of a version and of a better one."""
    rng = np.random.default_rng(0)
    preference = rng.choice([-3, -2, -1, 1, 2, 3], pairs)
    lengths = rng.integers(20, 2000, (pairs, 2))
    agrees = rng.random((pairs, ANSWERS)) < 0.8
    people = rng.integers(0, PEOPLE, (pairs, ANSWERS))
    held_out = [
        HeldOutPair(
            id=f"pair-{number}",
            prompt_key=f"prompt-{number // 2}",
            prompt="?",
            response_1="a" * int(lengths[number, 0]),
            response_2="b" * int(lengths[number, 1]),
            preference=int(preference[number]),
            domain=f"domain-{number % DOMAINS}",
            votes=tuple(
                (f"person-{person}", int(preference[number] if agreed else -preference[number]))
                for person, agreed in zip(people[number], agrees[number], strict=True)
            ),
        )
        for number in range(pairs)
    ]
    first = rng.normal(size=pairs).astype(np.float32)
    current, candidate = (
        (first, (first + slope * preference + rng.normal(size=pairs)).astype(np.float32)) for slope in (0.5, 0.6)
    )
    return held_out, current, candidate


def peer(pairs: Sequence[HeldOutPair], rewards: Rewards) -> list[float]:
    """Return the interval of one accuracy, from scipy's bootstrap over prompts."""
    from scipy.stats import bootstrap

    hits = pair_hits(*rewards, [pair.preference for pair in pairs])
    _, prompt = np.unique([pair.prompt_key for pair in pairs], return_inverse=True)
    sums, counts = np.bincount(prompt, hits), np.bincount(prompt)
    drawn = bootstrap(
        (sums, counts),
        lambda total, count, axis: total.sum(axis=axis) / count.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=64,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return [float(end) for end in drawn.confidence_interval]


def measure(pairs: int) -> list[tuple[str, str]]:
    """Return what was measured, and stop where our interval is not the peer's."""
    held_out, current, candidate = made_up(pairs)
    card: dict[str, Any] = scorecard(held_out, current) or {}
    hits = pair_hits(*current, [pair.preference for pair in held_out])
    keys = [pair.prompt_key for pair in held_out]
    ours, theirs = interval(bootstrap_by_prompt(hits, keys)), peer(held_out, current)
    if max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) > 0.002:
        raise RuntimeError(f"Our interval is {ours}, scipy's is {theirs}.")
    groups = sum(len(rows) for rows in card["groups"].values()) + len(card["annotators"]["each"]) + 4
    alone, scipys = _seconds(lambda: bootstrap_by_prompt(hits, keys)), _seconds(lambda: peer(held_out, current))
    whole = _seconds(lambda: scorecard(held_out, current))
    compared = _seconds(lambda: comparison(held_out, current, candidate))
    return [
        ("pairs, prompts, answers", f"{pairs:,}, {card['prompts']:,}, {card['annotators']['all']['n']:,}"),
        (f"one figure with {RESAMPLES:,} draws, ours", _told(alone)),
        ("the same with scipy.stats.bootstrap", f"{_told(scipys)}, {scipys[1] / alone[1]:.1f} times the CPU time"),
        (f"the whole scorecard, {groups} figures with intervals", f"**{_told(whole)}**"),
        ("two versions compared, 4,000 draws, with domains and flips", _told(compared)),
        ("scorecard as JSON", f"{len(json.dumps(card)) / 1024:.0f} kB"),
    ]


def _seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the median of elapsed and of CPU seconds."""
    elapsed, spent = [], []
    for _ in range(ROUNDS):
        started, began = time.perf_counter(), time.process_time()
        work()
        elapsed.append(time.perf_counter() - started)
        spent.append(time.process_time() - began)
    return statistics.median(elapsed), statistics.median(spent)


def _told(seconds: tuple[float, float]) -> str:
    return f"{seconds[0]:.2f} s (CPU {seconds[1]:.2f} s)"


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    rows = measure(parser.parse_args().pairs)
    load = os.getloadavg()[0]
    print(f"## Judging a version\n\n{os.cpu_count()} cores, load {load:.1f}, numpy {np.__version__}\n")
    print("\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]))
    print(f"\nAim: {PAIRS:,} pairs with {RESAMPLES:,} draws in under {AIM:g} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
