"""Measured rules: verdicts a second, and what the miner's rules are worth beside the length baseline, on real labels.

Run with `make bench DATA=FOLDER`, or `python -m benchmarks.rules --data FOLDER`. Verdicts: one rule for each property
on every response, on one core and on two. Accuracy: the miner on the humour pairs and on UKPConvArg1 (a file that is
not there is left out), measured on texts that it has not seen, next to “the longer one wins” (or the shorter one, where
the discovery part says so); five seeds each, since the parts of a small set differ. Shuffled labels: in how many of a
hundred shufflings anything is found at all.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.conversation import content_hash, prompt_text
from worker.core.rules.measuring import measure
from worker.core.rules.mining import Mined, candidates, mine, select, vote_matrix
from worker.core.rules.properties import PROPERTIES, YES_NO
from worker.core.rules.statements import MeasuredRule
from worker.core.rules.units import DISCOVERY, Labels, labels_of

FILES = ("humour_train.jsonl", "ukpconvarg1_train_1.jsonl", "ukpconvarg1_train_2.jsonl")
NAMES = list(PROPERTIES)
AIM = 100_000
ROUNDS, SEEDS, SHUFFLES = 3, 5, 100
Text = tuple[str, str]


def rules() -> list[MeasuredRule]:
    """Return one rule for each property."""
    return [MeasuredRule(name, "more", 1.0, relative=each.unit != YES_NO) for name, each in PROPERTIES.items()]


def judge(texts: Sequence[Text]) -> int:
    """Measure texts and decide every rule on each; return the number of verdicts."""
    values = measure(texts, NAMES)
    yes = [rule.verdicts(values[:, at])[0] for at, rule in enumerate(rules())]
    return int(np.stack(yes, axis=1).size)


def verdicts_a_second(texts: Sequence[Text], processes: int) -> float:
    """Return the median of some rounds, with the processes started and warm."""
    parts = [texts[at::processes] for at in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(judge, [part[:10] for part in parts]))
        rounds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            verdicts = sum(pool.map(judge, parts))
            rounds.append(verdicts / (time.perf_counter() - began))
    return statistics.median(rounds)


def read_labels(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the pairs whose votes prefer one response, and the side they prefer."""
    rows, sides = [], []
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            total = sum(label["preference"] for label in row["annotations"])
            if total:
                rows.append(row)
                sides.append(1 if total > 0 else -1)
    return rows, sides


def texts_of(rows: Sequence[dict[str, Any]], number: int) -> list[Text]:
    """Return prompt and response of every pair."""
    return [(prompt_text(row["messages"]), row["responses"][number]["text"]) for row in rows]


@dataclass(frozen=True)
class Measured:
    """The measured values of both responses (m, p) of labeled pairs, sides, and the hashes of the texts."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    sides: list[int]
    keys: list[list[str]]

    def labels(self, seed: int) -> Labels:
        """Return the labels, dealt into parts by the seed."""
        prompts, first, second = self.keys
        return labels_of(self.sides, prompts, first, second, seed=seed)

    def mined(self, seed: int) -> Mined:
        """Mine with a seed."""
        return mine(self.first, self.second, NAMES, self.labels(seed))


def measured(path: Path, most: int | None = None) -> Measured:
    """Read and measure the pairs of a file, or the first of them."""
    rows, sides = read_labels(path)
    both = [texts_of(rows[:most], number) for number in (0, 1)]
    keys = [[content_hash(asked) for asked, _ in both[0]], *([content_hash(text) for _, text in each] for each in both)]
    first, second = (measure(texts, NAMES) for texts in both)
    return Measured(first, second, sides[:most], keys)


def mined(path: Path) -> list[tuple[str, str]]:
    """Mine a file with some seeds; return what came out."""
    pairs = measured(path)
    lines = []
    for seed in range(SEEDS):
        found = pairs.mined(seed)
        shares = [
            f"{each.share:.3f} [{each.interval[0]:.3f}, {each.interval[1]:.3f}]" if each.interval else "–"
            for each in (found.accuracy, found.length_accuracy)
        ]
        gain = "–" if found.gain is None else f"{found.gain[0]:+.3f} [{found.gain[1]:+.3f}, {found.gain[2]:+.3f}]"
        what = f"{path.stem}, seed {seed}: {len(found.rules)} rules, {found.accuracy.of} held-out pairs"
        lines.append((what, f"{shares[0]}, length {shares[1]}, gain {gain}"))
    alarms = shuffled(pairs.first, pairs.second, pairs.labels(0))
    lines.append((f"{path.stem}, shuffled labels with a discovery", f"{alarms} of {SHUFFLES}"))
    return lines


def shuffled(first: NDArray[np.float64], second: NDArray[np.float64], labels: Labels) -> int:
    """Return in how many shufflings of the labels anything is found."""
    proposed = candidates(first, second, NAMES, labels.part == DISCOVERY)
    votes = vote_matrix(proposed, first, second, NAMES)
    families, draw = [rule.name for rule in proposed], np.random.default_rng(0)
    turns = (draw.choice(np.array([-1, 1], dtype=np.int8), len(labels)) for _ in range(SHUFFLES))
    return sum(bool(select(votes, replace(labels, side=turn), families)[1]) for turn in turns)


def made_up(count: int) -> list[Text]:
    """Return responses of a hundred words or so, for a machine without the files."""
    draw = np.random.default_rng(0)
    words = np.array(
        ["the", "tide", "is", "high,", "because", "moon", "and", "sun", "pull.", "I", "think", "\n-", "**so**"]
    )
    return [("What is a tide?", " ".join(draw.choice(words, draw.integers(20, 200)))) for _ in range(count)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; say with the exit code whether verdicts come as fast as they should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="folder of the files")
    options = parser.parse_args(arguments)
    files = [options.data / name for name in FILES if options.data and (options.data / name).exists()]
    rows = read_labels(files[-1])[0] if files else []
    texts = [*texts_of(rows, 0), *texts_of(rows, 1)] or made_up(5000)
    length = statistics.mean(len(text) for _, text in texts)
    print(f"{len(texts)} responses of {length:.0f} characters, {len(NAMES)} rules; load {os.getloadavg()[0]:.1f}")
    began = time.process_time()
    verdicts = judge(texts)
    print(f"  verdicts a second of processor time: {verdicts / (time.process_time() - began):,.0f}")
    speeds = {processes: verdicts_a_second(texts, processes) for processes in (1, 2)}
    for processes, speed in speeds.items():
        print(f"  verdicts a second, {processes} process{'es' if processes > 1 else ''}: {speed:,.0f}")
    for path in files:
        for what, figure in mined(path):
            print(f"  {what}: {figure}")
    print(f"aim on two cores: {AIM:,} verdicts a second")
    return 0 if speeds[2] >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
