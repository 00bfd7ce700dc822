"""Retrain a head on cached features: `python -m worker.train` as the worker runs it, from start to exit.

Run with `make bench`, or `python -m benchmarks.head --pairs 20000`. The aim is 20,000 pairs in 10 s on two cores, with
evaluation, saving the model folder and everything that Python imports. The vectors are random: no figure of accuracy is
meant, and the time does not depend on them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from worker.core.backbone import open_backbone
from worker.core.features import FeatureCache, feature_key
from worker.core.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 384
AT_ONCE = 4000


def write_run(folder: Path, cache: FeatureCache, pairs: int, held_out: int) -> None:
    """Write a run's input, and the features of its texts into the cache."""
    revision = open_backbone(Recipe()).revision
    rng = np.random.default_rng(0)
    taste = rng.normal(size=WIDTH)
    number = 0
    for split, count in (("train", pairs), ("validation", held_out)):
        with (folder / f"{split}.jsonl").open("w") as out:
            for start in range(0, count, AT_ONCE):
                size = min(AT_ONCE, count - start)
                vectors = rng.normal(size=(size, 2, WIDTH)).astype(np.float32)
                gaps = (vectors[:, 1] - vectors[:, 0]) @ taste + rng.normal(scale=10, size=size)
                stored = {}
                for sides, gap in zip(vectors, gaps, strict=True):
                    prompt, texts = f"prompt {number}", (f"first {number}", f"second {number}")
                    number += 1
                    stored |= {feature_key(revision, prompt, text): x for text, x in zip(texts, sides, strict=True)}
                    row = {
                        "id": prompt,
                        "prompt_key": prompt,
                        "messages": [{"role": "user", "content": prompt}],
                        "response_1": texts[0],
                        "response_2": texts[1],
                        "preference": int(np.sign(gap)) * (1 + number % 3),
                        "ratings": None,
                    }
                    out.write(json.dumps(row) + "\n")
                cache.put_many(stored)
    (folder / "recipe.json").write_text("{}")
    settings = {"feature_cache": str(cache.path), "snapshot": "benchmark", "threads": None, "initial_model": None}
    (folder / "settings.json").write_text(json.dumps(settings))


def train(folder: Path) -> tuple[float, dict[str, float]]:
    """Train once in a process of its own; return its seconds, and when each kind of event first came."""
    for leftover in ("checkpoint.safetensors", "metrics.json"):
        (folder / leftover).unlink(missing_ok=True)
    started = time.perf_counter()
    command = [sys.executable, "-m", "worker.train", "--run", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen: dict[str, float] = {}
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "features" and event["computed"]:
            raise RuntimeError("A text was not in the cache.")
        if event["event"] == "error":
            raise RuntimeError(event["message"])
        kind = "last step" if event["event"] == "step" else event["event"]
        seen[kind] = time.perf_counter() - started
    if process.wait():
        raise RuntimeError(f"The training ended with code {process.returncode}.")
    return time.perf_counter() - started, seen


def main() -> int:
    """Measure a few runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--held-out", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, FeatureCache(Path(folder) / "features.sqlite3") as cache:
        write_run(Path(folder), cache, options.pairs, options.held_out)
        before = os.getloadavg()[0]
        rounds = [train(Path(folder)) for _ in range(options.rounds)]
    total = [seconds for seconds, _ in rounds]
    print(f"| {options.pairs:,} cached pairs, {options.held_out:,} held out | seconds |\n|---|---:|")
    for name in ("pairs", "features", "last step", "saved"):
        print(f"| from the start to: {name} | {statistics.median(seen[name] for _, seen in rounds):.1f} |")
    rounds_said = ", ".join(f"{seconds:.1f}" for seconds in total)
    print(f"| whole process, median | **{statistics.median(total):.1f}** ({rounds_said}) |")
    print(f"\nLoad average before: {before:.1f}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
