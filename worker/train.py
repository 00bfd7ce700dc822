"""Train a reward model: `python -m worker.train --run DIR [--resume]`.

DIR holds recipe.json, train.jsonl, validation.jsonl and settings.json, and receives model/, metrics.json and
validation_scores.jsonl. Standard output is one JSON object per line: pairs, overlong, features, step, evaluation,
checkpoint, saved, error. SIGTERM writes a checkpoint and exits with 143; `--resume` then ends with the same weights as
a run left alone. A recipe that trains the backbone may be run by several processes, on one machine or more:
`torchrun --nproc-per-node=N -m -- worker.train --run DIR --resume`, with DIR on a disk that all of them see.
"""

import argparse
import errno
import json
import os
import shutil
import signal
import sqlite3
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from worker.core.backbone import Backbone, BackboneError, open_backbone
from worker.core.evaluation import evaluate_rewards
from worker.core.files import write_bytes, write_json
from worker.core.pairs import Pair, PairsError, decided
from worker.core.training.certainty import laplace_of
from worker.core.training.head import Head, Interrupted, LabeledFeatures
from worker.core.training.objective import TrainingError
from worker.core.training.save import ModelFolderError, check_architecture, save_model
from worker.core.uncertainty import Laplace
from worker.processes import die_with_parent
from worker.train_head import (
    TextFeatures,
    features_anew,
    features_from_cache,
    head_to_start_from,
    train_on_features,
)
from worker.train_inputs import Inputs, read_inputs

if TYPE_CHECKING:
    from worker.core.training.network import Adapter

EXIT_ERROR = 1
EXIT_TERMINATED = 128 + signal.SIGTERM
# Figures on pairs that were learned from say little; on so many of them the interval is narrow enough.
JUDGED_OF_LEARNED = 4000
# A trained backbone reads texts anew for its figures, so those on pairs that it has learned come from some of them.
JUDGED_AFTER_TUNING = 1000
# So do those that say how sure its head is; fewer pairs leave it less sure than it could be, never more.
SURE_BY_PAIRS = 4000
OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory")


class Stop:
    """Whether SIGTERM has arrived."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def check(self) -> None:
        """Raise Interrupted when a stop was asked for."""
        if self.requested:
            raise Interrupted


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code; every failure is reported as an error event."""
    stop = Stop()
    parser = argparse.ArgumentParser(prog="python -m worker.train", description="Train a reward model.")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder with the run's input")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint when there is one")
    options = parser.parse_args(arguments)
    if "RANK" in os.environ:
        die_with_parent()  # torchrun, when it is killed, leaves its processes behind
    try:
        train_run(options.run, options.resume, stop)
    except Interrupted:
        return EXIT_TERMINATED
    except (TrainingError, BackboneError, ModelFolderError, PairsError) as error:
        report({"event": "error", "message": str(error)})
    except OSError as error:
        report({"event": "error", "message": _os_sentence(error)})
    except sqlite3.Error as error:
        full = (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL
        message = (
            "There is no room on the disk for the feature cache."
            if full
            else f"The feature cache cannot be used: {error}."
        )
        report({"event": "error", "message": message})
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in OUT_OF_MEMORY):
            return _unexpected(error)
        traceback.print_exc()
        report({"event": "error", "message": _memory_sentence(options.run)})
    except Exception as error:  # noqa: BLE001 the parent reads events only; its log gets the traceback
        return _unexpected(error)
    else:
        return 0
    return EXIT_ERROR


def _unexpected(error: Exception) -> int:
    traceback.print_exc()
    report({"event": "error", "message": f"Training stopped on an unexpected {type(error).__name__}: {error}"})
    return EXIT_ERROR


def report(event: dict[str, Any]) -> None:
    """Print one event as a line of JSON; of several processes all report errors, the first everything else."""
    if event["event"] != "error" and os.environ.get("RANK", "0") != "0":
        return
    print(json.dumps(event, allow_nan=False), flush=True)  # noqa: T201 the parent process reads this


def train_run(folder: Path, resume: bool, stop: Stop) -> None:
    """Do everything from the input files to the saved model."""
    if os.environ.get("RANK", "0") == "0":
        for leftover in folder.glob(".*.????????"):  # of a run that was killed while writing
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    inputs = read_inputs(folder)
    said = {"left_out": inputs.left_out}
    report({"event": "pairs", "train": len(inputs.learned), "validation": len(inputs.validation)} | said)
    if inputs.settings.threads is not None:
        torch.set_num_threads(inputs.settings.threads)
    made = (
        _tuned(folder, inputs, resume, stop) if inputs.recipe.trains_backbone else _headed(folder, inputs, resume, stop)
    )
    if made is not None:  # of several processes, the first saves
        _save(folder, inputs, made, made.said | said, stop)


@dataclass(frozen=True)
class Made:
    """What a training made: backbone and head, how sure the head is, and the features that it is measured by.

    `said` is what stands beside the metrics.
    """

    backbone: Backbone
    head: Head
    features: TextFeatures
    judged: list[Pair]
    uncertainty: Laplace | None = None
    adapter: "Adapter | None" = None
    said: dict[str, Any] = field(default_factory=dict)


def _headed(folder: Path, inputs: Inputs, resume: bool, stop: Stop) -> Made:
    """Train a head on the features of a frozen backbone."""
    backbone = open_backbone(inputs.recipe, inputs.settings.sources)
    check_architecture(backbone)
    initial = head_to_start_from(inputs.settings.initial_model, backbone)
    features = features_from_cache(backbone, inputs, report, stop.check)
    head, start = train_on_features(folder, inputs, backbone, initial, features, resume=resume, report=report,
                                    should_stop=lambda: stop.requested)  # fmt: skip
    uncertainty = laplace_of(inputs.recipe, head, features.labeled(inputs.learned), start)
    return Made(backbone, head, features, decided(inputs.learned)[:JUDGED_OF_LEARNED], uncertainty)


def _tuned(folder: Path, inputs: Inputs, resume: bool, stop: Stop) -> Made | None:
    """Train backbone and head; None in all processes but the first, and in all after a stop."""
    # They load transformers and torch.distributed: seconds that the training of a head does not have.
    from worker.core.training.processes import joined
    from worker.train_backbone import Run, train_backbone

    recipe, settings = inputs.recipe, inputs.settings
    with joined() as world:
        run = Run(folder, settings.snapshot, inputs.labeled, inputs.validation, world, resume,
                  settings.checkpoint_seconds, report, lambda: stop.requested, settings.sources)  # fmt: skip
        trained = train_backbone(run, recipe, settings.initial_model)
    if trained is None:
        return None
    tuned, overlong = trained
    judged = decided(inputs.learned)[:JUDGED_AFTER_TUNING]
    told = inputs.learned[:: -(-len(inputs.learned) // SURE_BY_PAIRS)]
    features = features_anew(tuned.backbone, recipe, [*told, *judged, *inputs.validation], report, stop.check)
    uncertainty = laplace_of(recipe, tuned.head, features.labeled(told), None)
    return Made(tuned.backbone, tuned.head, features, judged, uncertainty, tuned.adapter, {"overlong": overlong})


def _save(folder: Path, inputs: Inputs, made: Made, said: dict[str, Any], stop: Stop) -> None:
    """Measure what was made, and write the model with its figures."""
    judged, held_out = made.features.labeled(made.judged), made.features.labeled(inputs.validation)
    metrics = _metrics(made.head, made.judged, judged, inputs.validation, held_out) | said
    _write_validation_scores(folder / "validation_scores.jsonl", made.head, inputs.validation, held_out)
    stop.check()
    snapshot = inputs.settings.snapshot
    save_model(folder / "model", inputs.recipe, made.backbone, made.head, snapshot, metrics, made.uncertainty,
               made.adapter)  # fmt: skip
    write_json(folder / "metrics.json", metrics)
    report({"event": "saved", "model": str(folder / "model"), "metrics": metrics})


def _metrics(
    head: Head,
    train: list[Pair],
    train_set: LabeledFeatures,
    validation: list[Pair],
    validation_set: LabeledFeatures,
) -> dict[str, Any]:
    metrics: dict[str, Any] = {"validation": None}
    for name, pairs, arrays in (("train", train, train_set), ("validation", validation, validation_set)):
        if pairs:
            rewards = head.rewards(arrays.features)
            metrics[name] = evaluate_rewards(rewards[arrays.first], rewards[arrays.second], pairs).metrics
    if not validation:
        metrics["note"] = "There was no held-out pair, so nothing was measured on unseen prompts."
    return metrics


def _write_validation_scores(path: Path, head: Head, pairs: list[Pair], arrays: LabeledFeatures) -> None:
    rewards = head.rewards(arrays.features) if pairs else np.empty(0, dtype=np.float32)
    rows = [
        {
            "id": pair.id,
            "prompt_key": pair.prompt_key,
            "reward_1": float(rewards[first]),
            "reward_2": float(rewards[second]),
            "preference": pair.preference,
        }
        for pair, first, second in zip(pairs, arrays.first, arrays.second, strict=True)
    ]
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def _os_sentence(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"There is no room on the disk: {error.filename or 'a file of the run'} could not be written."
    return f"A file cannot be read or written: {error}."


def _memory_sentence(folder: Path) -> str:
    kept = " The last checkpoint is kept." if any(folder.glob("checkpoint*.safetensors")) else ""
    return (
        "There is not enough memory. Lower batch_tokens or max_tokens, use gradient_checkpointing or the tuning "
        f'"lora", or more processes.{kept}'
    )


if __name__ == "__main__":
    sys.exit(main())
