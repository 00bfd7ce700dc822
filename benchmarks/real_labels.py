"""From people's real labels to a reward model: import, consensus, training and scoring, through the product's own code.

Run with `make bench`, or `python -m benchmarks.real_labels --data DIR` for the folder that holds the UKP ConvArg files.
The figures to read together: accuracy, the length baseline ("the longer one wins"), and accuracy where the shorter won.
"""

import argparse
import io
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.database import own_database

TRAIN_FILE, TEST_FILE = "ukpconvarg1_train_1.jsonl", "ukpconvarg1_test.jsonl"


@dataclass(frozen=True)
class Figures:
    """What was measured; seconds of each step, and the scorecard on the test pairs (`worker.core.metrics`)."""

    imported: int
    agreed: int
    import_seconds: float
    train_seconds: float
    retrain_seconds: float
    retrain_computed: int
    test: dict[str, Any]

    def table(self) -> str:
        """Return the figures as a Markdown table."""
        low, high = self.test["accuracy_interval"]
        rows = [
            ("pairs imported, with consensus that is not 0", f"{self.imported}, {self.agreed}"),
            ("import with consensus", f"{self.import_seconds:.1f} s"),
            ("first training run, backbone included", f"{self.train_seconds:.1f} s"),
            (
                "second run, texts the backbone had to read again",
                f"{self.retrain_seconds:.1f} s, {self.retrain_computed}",
            ),
            ("test pairs", str(self.test["n"])),
            ("accuracy (95 % by prompt)", f"**{self.test['accuracy']:.3f}** ({low:.3f}–{high:.3f})"),
            ("length baseline: the longer one wins", f"{self.test['length_baseline']:.3f}"),
            (
                "accuracy where the shorter one won",
                f"{self.test['accuracy_shorter_won']:.3f} of {self.test['n_shorter_won']}",
            ),
            (
                "accuracy where the longer one won",
                f"{self.test['accuracy_longer_won']:.3f} of {self.test['n_longer_won']}",
            ),
        ]
        return "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def measure(data: Path, *, train_pairs: int | None = None, test_pairs: int | None = None) -> Figures:
    """Import, settle, train twice and score; needs Django set up on an empty database and the worker's packages."""
    from apps.imports.services import import_stream
    from apps.jobs.models import Job
    from apps.projects.services import create_project
    from apps.reward_models.models import RewardModel, TrainingRun
    from apps.reward_models.services import model_folder, start_training, trainable_labels
    from worker.core.evaluation import evaluate_folder
    from worker.tasks.scoring import feature_cache
    from worker.tasks.training import train_reward_model

    project = create_project(name="UKP arguments", slug="ukp", created_by=None)
    started = time.perf_counter()
    with _head(data / TRAIN_FILE, train_pairs) as stream:
        report = import_stream(project=project, stream=stream)
    import_seconds = time.perf_counter() - started

    def train(recipe: dict[str, Any]) -> tuple[TrainingRun, float]:
        started = time.perf_counter()
        run = start_training(project=project, recipe=recipe)
        train_reward_model(run.job.pk)
        job = Job.objects.get(pk=run.job.pk)
        if job.state != Job.State.SUCCEEDED:
            raise RuntimeError(job.error)
        return TrainingRun.objects.get(pk=run.pk), time.perf_counter() - started

    first, train_seconds = train({})
    again, retrain_seconds = train({"seed": 1})
    model = RewardModel.objects.get(training_run=first)
    test = evaluate_folder(model_folder(model), _test_pairs(data / TEST_FILE, test_pairs), feature_cache())
    return Figures(
        imported=report.created,
        agreed=trainable_labels(project),
        import_seconds=import_seconds,
        train_seconds=train_seconds,
        retrain_seconds=retrain_seconds,
        retrain_computed=max(event["computed"] for event in again.history if event["event"] == "features"),
        test=test.metrics or {},
    )


def _head(path: Path, count: int | None) -> io.BytesIO:
    """Return a binary stream of the first `count` lines of a file."""
    with path.open("rb") as stream:
        return io.BytesIO(b"".join(islice(stream, count)))


def _test_pairs(path: Path, count: int | None) -> list[Any]:
    """Return the test pairs whose released label has a better side."""
    import json

    from worker.core.conversation import content_hash, prompt_text
    from worker.core.pairs import Pair

    pairs = []
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["gold"]:
                prompt = prompt_text(row["messages"])
                texts = [response["text"] for response in row["responses"]]
                pairs.append(Pair(row["external_id"], content_hash(prompt), prompt, *texts, row["gold"]))
    return pairs[:count]


def main() -> int:
    """Measure on a database of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    options = parser.parse_args()
    if not (options.data / TRAIN_FILE).exists():
        print(f"Skipped: {options.data} does not hold {TRAIN_FILE}.")
        return 0
    with own_database():
        print(measure(options.data).table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
