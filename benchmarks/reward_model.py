"""Train the default recipe on real pairs and report accuracy and time.

`python -m benchmarks.reward_model --data DIR [--recipe FILE]`, where DIR holds ukpconvarg1_train_1.jsonl and
ukpconvarg1_test.jsonl: pairs of arguments of UKPConvArg1 (Habernal and Gurevych, ACL 2016; CC BY 4.0), topics of the
test disjoint from those of the training. The label of a pair is its gold label, else the majority of its annotators;
pairs without a better side are left out. The test pairs are measured after training and choose nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

TRAIN = "ukpconvarg1_train_1.jsonl"
TEST = "ukpconvarg1_test.jsonl"
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the benchmark and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reward_model", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the UKPConvArg1 files")
    parser.add_argument("--recipe", type=Path, help="a recipe as JSON; the default recipe without it")
    options = parser.parse_args()
    missing = [name for name in (TRAIN, TEST) if not (options.data / name).is_file()]
    if missing:
        print(f"Skipped: {options.data} has no {' and no '.join(missing)}.")
        return 0
    recipe = json.loads(options.recipe.read_text(encoding="utf-8")) if options.recipe else {}
    train, train_read = labeled_pairs(options.data / TRAIN)
    test, test_read = labeled_pairs(options.data / TEST)
    with tempfile.TemporaryDirectory() as folder:
        first = run(Path(folder), "first", recipe, train, test)
        again = run(Path(folder), "again", recipe, train, test)
    print(f"Trained on {len(train)} of {train_read} pairs, tested on {len(test)} of {test_read} (the rest are ties).\n")
    print(table(first, again))
    return 0


def labeled_pairs(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the rows with a better side, as worker.train reads them, and the number of rows read."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = []
    for row in rows:
        preference = row["gold"] if row["gold"] is not None else majority(row["annotations"])
        if preference:
            pairs.append(
                {
                    "id": row["external_id"],
                    "prompt_key": json.dumps(row["messages"]),
                    "messages": row["messages"],
                    "response_1": row["responses"][0]["text"],
                    "response_2": row["responses"][1]["text"],
                    "preference": preference,
                    "ratings": None,
                }
            )
    return pairs, len(rows)


def majority(annotations: list[dict[str, Any]]) -> int:
    """Return the most frequent preference, 0 when two are equally frequent."""
    counts = Counter(annotation["preference"] for annotation in annotations).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return 0
    return int(counts[0][0])


def run(
    folder: Path, name: str, recipe: dict[str, Any], train: list[dict[str, Any]], test: list[dict[str, Any]]
) -> dict[str, Any]:
    """Train through the command that the worker uses; return seconds, feature counts and test metrics."""
    target = folder / name
    target.mkdir()
    for split, rows in (("train", train), ("validation", test)):
        (target / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {
        "feature_cache": str(folder / "features.sqlite"),
        "snapshot": "ukpconvarg1",
        "threads": None,
        "initial_model": None,
    }
    (target / "recipe.json").write_text(json.dumps(recipe))
    (target / "settings.json").write_text(json.dumps(settings))
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "worker.train", "--run", str(target)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        raise SystemExit(events[-1]["message"] if events else f"Training ended with code {done.returncode}.")
    features = [event for event in events if event["event"] == "features"][-1]
    return {"seconds": seconds, "features": features, "metrics": events[-1]["metrics"]["validation"]}


def table(first: dict[str, Any], again: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    metrics = first["metrics"]
    low, high = metrics["accuracy_interval"]
    rows = [
        (
            "accuracy",
            f"{metrics['accuracy']:.3f} ({low:.3f} to {high:.3f}, 95 % by prompt, {metrics['prompts']} prompts)",
        ),
        ("longer wins (baseline)", f"{metrics['length_baseline']:.3f}"),
        (f"accuracy where the longer won (n = {metrics['n_longer_won']})", f"{metrics['accuracy_longer_won']:.3f}"),
        (f"accuracy where the shorter won (n = {metrics['n_shorter_won']})", f"{metrics['accuracy_shorter_won']:.3f}"),
        ("log-loss (0.693 is chance)", f"{metrics['log_loss']:.3f}"),
        ("first run", f"{first['seconds']:.1f} s, {first['features']['computed']} features computed"),
        ("second run", f"{again['seconds']:.1f} s, {again['features']['computed']} features computed"),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
