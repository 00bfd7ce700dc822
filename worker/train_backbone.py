"""The part of `worker.train` that changes a backbone: from pairs to trained weights, in one process or several."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worker.core.backbone import Backbone, open_backbone, tokenise
from worker.core.backbone_sources import ANYWHERE, Sources
from worker.core.packing import Tokens
from worker.core.pairs import Pair
from worker.core.scoring import Scorer
from worker.core.training.head import Head, Report
from worker.core.training.network import Tuned, finished, open_network
from worker.core.training.objective import Labels, TrainingError, labels_of, outputs_of, pairs_to_learn
from worker.core.training.processes import World
from worker.core.training.recipe import Recipe
from worker.core.training.save import MANIFEST, check_architecture, save_model
from worker.core.training.tuning import Saving, TokenisedPairs, tune

FIRST_STAGE = "first-stage"


@dataclasses.dataclass(frozen=True)
class Run:
    """What both stages of a training need: its folder and data, the processes, and how to report and stop."""

    folder: Path
    snapshot: str
    labeled: Sequence[Pair]
    validation: Sequence[Pair]
    world: World
    resume: bool
    checkpoint_seconds: float
    report: Report
    should_stop: Callable[[], bool]
    sources: Sources = ANYWHERE


def train_backbone(run: Run, recipe: Recipe, initial_model: Path | None) -> tuple[Tuned, dict[str, Any]] | None:
    """Train in one stage or two; return model and number of over-long pairs, None in all processes but the first.

    The first of two stages is saved as a model folder that the second starts from, so that a run which was stopped in
    the second does not train the first again.
    """
    check_precision(recipe, run.world)
    if recipe.first_stage is None:
        return _stage(run, recipe, initial_model, "checkpoint.safetensors", {})
    first = run.folder / FIRST_STAGE
    if not (run.resume and (first / MANIFEST).exists()):
        trained = _stage(run, recipe.first_stage, None, "checkpoint-first.safetensors", {"stage": 1})
        if trained is not None:
            tuned, _ = trained
            save_model(first, recipe.first_stage, tuned.backbone, tuned.head, run.snapshot, {}, adapter=tuned.adapter)
        del trained
        run.world.wait()
    return _stage(run, recipe, first, "checkpoint.safetensors", {"stage": 2})


def check_precision(recipe: Recipe, world: World) -> None:
    """Raise TrainingError when the recipe asks for bfloat16 and the hardware only imitates it."""
    if recipe.precision != "bfloat16":
        return
    if world.device.type == "cuda":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_it = bool(torch.cpu._is_avx512_bf16_supported())
    if not has_it:
        raise TrainingError('precision: this machine has no bfloat16 arithmetic, which would be slow; use "float32".')


def _stage(
    run: Run, recipe: Recipe, initial_model: Path | None, checkpoint: str, said: dict[str, Any]
) -> tuple[Tuned, dict[str, Any]] | None:
    backbone, initial = _start(recipe, initial_model, run.sources)
    check_architecture(backbone)
    pairs, _ = pairs_to_learn(recipe, run.labeled)
    tokens, kept, overlong = _tokenised(backbone, pairs, recipe.overlong)
    if not kept:
        raise TrainingError(f"overlong: every pair has a side of more than {recipe.max_tokens} tokens; none is left.")
    held_out, _, overlong_held_out = _tokenised(backbone, run.validation, "truncate")
    counted = {"rule": recipe.overlong, "train": overlong, "validation": overlong_held_out}
    run.report({"event": "overlong", "max_tokens": recipe.max_tokens} | counted | said)
    labels = labels_of(kept)
    outputs = outputs_of(recipe, labels)
    state = _trained(run, recipe, backbone, initial, outputs, TokenisedPairs(tokens, labels),
                     TokenisedPairs(held_out, labels_of(run.validation)), checkpoint, said)  # fmt: skip
    if not run.world.leads:
        return None
    probes = [text for pair in kept for text in pair.texts]
    return finished(recipe, backbone, outputs, initial, labels, state, probes), counted


def _trained(
    run: Run,
    recipe: Recipe,
    backbone: Backbone,
    initial: Head | None,
    outputs: tuple[str, ...],
    train: TokenisedPairs,
    validation: TokenisedPairs,
    checkpoint: str,
    said: dict[str, Any],
) -> dict[str, Tensor]:
    """Return the trained parameters; the network that held them is gone when this returns."""
    opened = open_network(recipe, backbone, outputs, initial, train.labels)
    saving = Saving(
        checkpoint=run.folder / checkpoint,
        identity=f"{recipe.training_hash} {_data_hash(train, backbone, initial)}",
        resume=run.resume,
        every_seconds=run.checkpoint_seconds,
    )
    return tune(
        recipe,
        opened.network,
        outputs,
        train,
        validation=validation if len(validation.labels) else None,
        world=run.world,
        saving=saving,
        report=lambda event: run.report(event | said),
        should_stop=run.should_stop,
    )


def _start(recipe: Recipe, initial_model: Path | None, sources: Sources) -> tuple[Backbone, Head | None]:
    """Return the backbone and head to start from: those of a version, weights and all, or the recipe's backbone."""
    if initial_model is None:
        return open_backbone(recipe, sources), None
    scorer = Scorer.load(initial_model)
    for name, attribute in (("backbone", "backbone"), ("pooling", "pooling"), ("layers", "layers_read")):
        mine, theirs = getattr(recipe, attribute), getattr(scorer.recipe, attribute)
        if mine != theirs:
            raise TrainingError(f"{name}: the version to start from has {theirs!r}, the recipe {mine!r}.")
    return Backbone(initial_model, recipe.pooling, recipe.max_tokens), scorer.head


def _tokenised(backbone: Backbone, pairs: Sequence[Pair], rule: str) -> tuple[list[Tokens], list[Pair], int]:
    """Return token rows, two a pair, the pairs that are left, and how many had a side of more than `max_tokens`."""
    limit = backbone.max_tokens
    texts = [text for pair in pairs for text in pair.texts]
    rows = tokenise(backbone.tokenizer, texts, backbone.pooling, limit + 1)
    long = [number for number, row in enumerate(rows) if len(row["input_ids"]) > limit]
    overlong = {number // 2 for number in long}
    if rule == "drop":
        kept = [number for number in range(len(pairs)) if number not in overlong]
        return [rows[2 * number + side] for number in kept for side in (0, 1)], [pairs[n] for n in kept], len(overlong)
    cut = tokenise(backbone.tokenizer, [texts[number] for number in long], backbone.pooling, limit)
    for number, row in zip(long, cut, strict=True):
        rows[number] = row
    return rows, list(pairs), len(overlong)


def _data_hash(train: TokenisedPairs, backbone: Backbone, initial: Head | None) -> str:
    """Return a hash of all that the trained weights depend on beside the recipe."""
    digest = hashlib.sha256(backbone.revision.encode())
    for row in train.tokens:
        digest.update(row["input_ids"].tobytes() + b"/")
    labels: Labels = train.labels
    for array in (labels.preference, labels.share_1, labels.ratings):
        digest.update(array.tobytes())
    if initial is not None:
        digest.update(initial.weight.tobytes() + initial.bias.tobytes())
    return digest.hexdigest()
