"""Train a reward model: `python -m worker.train --run DIR [--resume]`.

DIR holds recipe.json, train.jsonl, validation.jsonl and settings.json, and receives model/, metrics.json and
validation_scores.jsonl. Standard output is one JSON object per line: pairs, overlong, features, step, evaluation,
checkpoint, saved, error. SIGTERM writes a checkpoint and exits with 143; `--resume` then ends with the same weights as
a run left alone. A recipe that trains the backbone may be run by several processes, on one machine or more:
`torchrun --nproc-per-node=N -m -- worker.train --run DIR --resume`, with DIR on a disk that all of them see.
"""

import argparse
import errno
import hashlib
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
from typing import Any

import numpy as np
import torch

from worker.core.backbone import Backbone, BackboneError, open_backbone
from worker.core.backbone_sources import ANYWHERE, Sources
from worker.core.evaluation import evaluate_rewards
from worker.core.features import FeatureCache, cached_features
from worker.core.files import write_bytes, write_json
from worker.core.pairs import Pair, PairsError, decided, prompts_in_both, read_pairs
from worker.core.scoring import Scorer
from worker.core.training.head import Head, Interrupted, LabeledFeatures, laplace_of, train_head
from worker.core.training.objective import TrainingError, labels_of, outputs_of, pairs_to_learn
from worker.core.training.recipe import Recipe
from worker.core.training.save import ModelFolderError, check_architecture, save_model
from worker.core.uncertainty import Laplace
from worker.processes import die_with_parent

EXIT_ERROR = 1
EXIT_TERMINATED = 128 + signal.SIGTERM
KEYS_NAMED = 3
CHECKPOINT_SECONDS = 60.0
# Figures on pairs that were learned from say little; on so many of them the interval is narrow enough.
JUDGED_OF_LEARNED = 4000
# A trained backbone reads texts anew for its figures, so those on pairs that it has learned come from some of them.
JUDGED_AFTER_TUNING = 1000
OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory")

LeftOut = dict[str, dict[str, int]]
FeaturesByText = dict[tuple[str, str], np.ndarray[Any, np.dtype[np.float32]]]


@dataclass(frozen=True)
class Settings:
    """What a run needs beside its recipe: the feature cache, the snapshot's hash, and where to start.

    `left_out` says how many comparisons of each split the files lack, by reason; `checkpoint_seconds` how much time
    lies between two checkpoints of a backbone; `sources` where backbones may come from.
    """

    feature_cache: Path
    snapshot: str
    threads: int | None = None
    initial_model: Path | None = None
    left_out: LeftOut = field(default_factory=dict)
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    sources: Sources = ANYWHERE

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        """Check and convert settings.json. Raises TrainingError."""
        cache, snapshot = values.get("feature_cache"), values.get("snapshot")
        threads, initial = values.get("threads"), values.get("initial_model")
        if not isinstance(cache, str) or not isinstance(snapshot, str):
            raise TrainingError("settings.json: feature_cache and snapshot must be text.")
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise TrainingError(f"settings.json: threads must be null or at least 1, not {threads!r}.")
        seconds = values.get("checkpoint_seconds", CHECKPOINT_SECONDS)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise TrainingError(f"settings.json: checkpoint_seconds must be at least 0, not {seconds!r}.")
        start = Path(initial) if initial else None
        sources = Sources.from_dict(values.get("backbones") or {})
        return cls(Path(cache), snapshot, threads, start, values.get("left_out") or {}, float(seconds), sources)


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
    recipe = _recipe(folder / "recipe.json")
    settings = Settings.from_dict(_json(folder / "settings.json"))
    labeled, held_out = read_pairs(folder / "train.jsonl"), read_pairs(folder / "validation.jsonl")
    _check(recipe, settings, labeled, held_out)
    train, validation, left_out = _chosen(recipe, settings, labeled, held_out)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    judged, said, adapter, uncertainty = decided(train)[:JUDGED_OF_LEARNED], {"left_out": left_out}, None, None
    if recipe.trains_backbone:
        # They load transformers and torch.distributed: seconds that the training of a head does not have.
        from worker.core.training.processes import joined
        from worker.train_backbone import Run, train_backbone

        with joined() as world:
            run = Run(folder, settings.snapshot, labeled, validation, world, resume, settings.checkpoint_seconds,
                      report, lambda: stop.requested, settings.sources)  # fmt: skip
            trained = train_backbone(run, recipe, settings.initial_model)
        if trained is None:
            return
        tuned, said["overlong"] = trained
        backbone, head, adapter = tuned.backbone, tuned.head, tuned.adapter
        judged = judged[:JUDGED_AFTER_TUNING]
        features = _features_anew(backbone, recipe, [*judged, *validation], stop)
    else:
        backbone = open_backbone(recipe, settings.sources)
        check_architecture(backbone)
        initial = _initial_head(settings, backbone)
        features = _features(backbone, settings, recipe, [*labeled, *validation], stop)
        trained_head = _trained_head(folder, recipe, backbone, initial, labeled, validation, features, resume, stop)
        head, uncertainty = trained_head
    validation_set = _labeled(validation, features)
    metrics = _metrics(head, judged, _labeled(judged, features), validation, validation_set) | said
    _write_validation_scores(folder / "validation_scores.jsonl", head, validation, validation_set)
    stop.check()
    save_model(folder / "model", recipe, backbone, head, settings.snapshot, metrics, uncertainty, adapter)
    write_json(folder / "metrics.json", metrics)
    report({"event": "saved", "model": str(folder / "model"), "metrics": metrics})


def _trained_head(
    folder: Path,
    recipe: Recipe,
    backbone: Backbone,
    initial: Head | None,
    labeled: list[Pair],
    validation: list[Pair],
    features: FeaturesByText,
    resume: bool,
    stop: Stop,
) -> tuple[Head, Laplace | None]:
    """Train a head on features, in one stage or two; return it with how sure it is."""
    validation_set = _labeled(validation, features)

    def fit(stage: Recipe, start: Head | None, checkpoint: str, said: dict[str, Any]) -> Head:
        return train_head(
            stage,
            _labeled(pairs_to_learn(stage, labeled)[0], features),
            validation=validation_set if len(validation) else None,
            initial=start,
            checkpoint=folder / checkpoint,
            data_hash=_data_hash(folder, backbone, start),
            resume=resume,
            report=lambda event: report(event | said),
            should_stop=lambda: stop.requested,
        )

    if recipe.first_stage is None:
        head = fit(recipe, initial, "checkpoint.safetensors", {})
    else:
        initial = fit(recipe.first_stage, None, "checkpoint-first.safetensors", {"stage": 1})
        head = fit(recipe, initial, "checkpoint.safetensors", {"stage": 2})
    learned = pairs_to_learn(recipe, labeled)[0]
    return head, laplace_of(recipe, head, _labeled(learned, features), initial)


def _recipe(path: Path) -> Recipe:
    try:
        return Recipe.from_dict(_json(path))
    except ValueError as error:
        raise TrainingError(f"{path.name}: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{path.name} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise TrainingError(f"{path.name} must hold a JSON object.")
    return value


def _chosen(
    recipe: Recipe, settings: Settings, labeled: list[Pair], held_out: list[Pair]
) -> tuple[list[Pair], list[Pair], LeftOut]:
    """Return the pairs to learn from and to be judged on, and how many of each split were left out, by reason."""
    learned, reasons = pairs_to_learn(recipe, labeled)
    if recipe.first_stage is not None:
        outputs_of(recipe.first_stage, labels_of(labeled))  # refuse before hours of features, not after
    if not learned:
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        raise TrainingError(f"There is no pair that {recipe.objective} can learn from ({why}).")
    validation = decided(held_out)
    left_out = {split: dict(settings.left_out.get(split, {})) for split in ("train", "validation")}
    left_out["train"] |= reasons
    if ties := len(held_out) - len(validation):
        left_out["validation"]["tie"] = ties
    said = {"train": len(learned), "validation": len(validation), "left_out": left_out}
    report({"event": "pairs"} | said)
    return learned, validation, left_out


def _check(recipe: Recipe, settings: Settings, train: list[Pair], validation: list[Pair]) -> None:
    if not train:
        raise TrainingError("There is no labeled pair to train on: train.jsonl is empty.")
    shared = prompts_in_both(train, validation)
    if shared:
        named = ", ".join(shared[:KEYS_NAMED]) + (", …" if len(shared) > KEYS_NAMED else "")
        raise TrainingError(
            f"{len(shared)} prompts are in train.jsonl and in validation.jsonl ({named}); held-out figures "
            "would be too good. Split by prompt."
        )
    if (recipe.parent is None) != (settings.initial_model is None):
        raise TrainingError(
            f"The recipe's initialisation is {recipe.initialisation!r}, but settings.json "
            f"{'names no' if settings.initial_model is None else 'names an'} initial_model."
        )


def _initial_head(settings: Settings, backbone: Backbone) -> Head | None:
    if settings.initial_model is None:
        return None
    scorer = Scorer.load(settings.initial_model)
    if scorer.backbone.revision != backbone.revision:
        raise TrainingError(
            "The initial model was trained on other features (backbone, pooling, layers or max_tokens differ), "
            "so its head cannot be a starting point."
        )
    return scorer.head


def _features(
    backbone: Backbone,
    settings: Settings,
    recipe: Recipe,
    pairs: list[Pair],
    stop: Stop,
) -> FeaturesByText:
    """Return the vector of every (prompt, response), reporting progress and stopping between batches."""
    texts = list(dict.fromkeys(text for pair in pairs for text in pair.texts))

    def progress(done: int, total: int, hits: int, computed: int) -> None:
        report({"event": "features", "done": done, "total": total, "hits": hits, "computed": computed})
        stop.check()

    with FeatureCache(settings.feature_cache) as cache:
        vectors, _, _ = cached_features(backbone, cache, texts, recipe.batch_tokens, progress)
    return dict(zip(texts, vectors, strict=True))


def _features_anew(backbone: Backbone, recipe: Recipe, pairs: list[Pair], stop: Stop) -> FeaturesByText:
    """Return the vector of every (prompt, response) by a backbone that no cache knows yet."""
    texts = list(dict.fromkeys(text for pair in pairs for text in pair.texts))
    done = 0

    def progress(rows: list[int], vectors: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        nonlocal done
        done += len(rows)
        report({"event": "features", "done": done, "total": len(texts), "hits": 0, "computed": done})
        stop.check()

    vectors = backbone.features(texts, recipe.batch_tokens, progress)
    return dict(zip(texts, vectors, strict=True))


def _labeled(pairs: list[Pair], features: FeaturesByText) -> LabeledFeatures:
    """Turn pairs into arrays; each distinct response is one row of features."""
    rows = {text: row for row, text in enumerate(dict.fromkeys(text for pair in pairs for text in pair.texts))}
    labels = labels_of(pairs)
    return LabeledFeatures(
        **vars(labels),
        features=np.stack([features[text] for text in rows]) if rows else np.empty((0, 0), dtype=np.float32),
        first=np.array([rows[pair.texts[0]] for pair in pairs], dtype=np.int64),
        second=np.array([rows[pair.texts[1]] for pair in pairs], dtype=np.int64),
    )


def _data_hash(folder: Path, backbone: Backbone, initial: Head | None) -> str:
    """Return a hash of all that the trained weights depend on beside the recipe."""
    digest = hashlib.sha256((folder / "train.jsonl").read_bytes())
    digest.update(backbone.revision.encode())
    if initial is not None:
        digest.update(initial.weight.tobytes() + initial.bias.tobytes())
    return digest.hexdigest()


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
