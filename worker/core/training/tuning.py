"""Train a backbone with its reward head, whole or through an adapter: the loop, in full view.

A pair is one group of a packed row (worker.core.packing). A step takes `batch_pairs` pairs, whatever rows they fill:
their gradients add up, the loss is the mean over the step's pairs, and so neither `batch_tokens` nor the number of
processes changes the result beyond rounding. AdamW, its step size falling linearly to zero, gradients clipped.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.core.forward import first_position, row_tokens
from worker.core.metrics import log_loss, pair_accuracy
from worker.core.packing import Group, Row, Tokens, group_of, packed, row_of
from worker.core.training.checkpoint import read_checkpoint, trained_parameters, write_checkpoint
from worker.core.training.head import Head, Interrupted, Report, epoch_order
from worker.core.training.network import RewardNetwork, is_packed
from worker.core.training.objective import Labels, TrainingError, batch_loss, loss_weight
from worker.core.training.processes import World, shard, whole
from worker.core.training.recipe import Recipe

EVALUATIONS = 5
STEP_REPORTS = 500
LEAST_PAUSE = 20  # times what a checkpoint takes to write: at most a twentieth of the time goes into them


@dataclass(frozen=True)
class TokenisedPairs:
    """Pairs as token rows: texts 2i and 2i + 1 are the responses of pair i."""

    tokens: Sequence[Tokens]
    labels: Labels

    def groups(self, pairs: Sequence[int], *, share: bool) -> list[Group]:
        """Return the groups that these pairs fill rows with: of a decoder the pair, of an encoder each text."""
        return [group_of(self.tokens, (2 * pair, 2 * pair + 1), share=share) for pair in pairs]


@dataclass(frozen=True)
class Saving:
    """Where checkpoints go, what they belong to, whether to continue from one, and the seconds between two."""

    checkpoint: Path
    identity: str
    resume: bool
    every_seconds: float

    def pause(self, took: float) -> float:
        """Return the seconds until the next checkpoint after one that took so many to write; 0: after every step."""
        return max(self.every_seconds, LEAST_PAUSE * took) if self.every_seconds else 0.0


def tune(
    recipe: Recipe,
    network: RewardNetwork,
    outputs: tuple[str, ...],
    train: TokenisedPairs,
    *,
    validation: TokenisedPairs | None,
    world: World,
    saving: Saving | None,
    report: Report,
    should_stop: Callable[[], bool],
) -> dict[str, Tensor]:
    """Train the network and return its trained parameters, whole and on the CPU.

    The last step's weights are returned: held-out accuracy is reported on the way and chooses nothing. Raises
    TrainingError, and Interrupted after writing a checkpoint when `should_stop()` in any process. Without `saving`
    no checkpoint is written.
    """
    if world.size > 1 and not is_packed(network):
        raise TrainingError("processes: this backbone reads text by text, which several processes cannot share; use 1.")
    shard(network, world)
    parameters = list(trained_parameters(network).values())
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=world.size == 1
    )
    pairs = len(train.labels)
    steps_per_epoch = math.ceil(pairs / recipe.batch_pairs)
    total = recipe.epochs * steps_per_epoch
    report_every, evaluate_every = max(1, total // STEP_REPORTS), max(1, total // EVALUATIONS)
    step = 0
    if saving is not None and saving.resume and saving.checkpoint.exists():
        step = read_checkpoint(saving.checkpoint, saving.identity, network, optimizer)
    order = epoch_order(recipe.seed, step // steps_per_epoch, pairs)
    saved_at, reported_at = time.monotonic(), time.monotonic()
    pause = saving.every_seconds if saving is not None else math.inf
    seen_pairs = seen_tokens = 0.0

    while step < total:
        epoch, position = divmod(step, steps_per_epoch)
        if position == 0:
            order = epoch_order(recipe.seed, epoch, pairs)
        chosen = order[position * recipe.batch_pairs : (position + 1) * recipe.batch_pairs]
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * (1 - step / total)
        weight = max(1, loss_weight(recipe, outputs, train.labels, chosen))
        mean, tokens = 0.0, 0
        for row, counts in world.share(_rows(recipe, network, train, chosen, world)):
            numbers = np.array(sorted({text // 2 for text in row.texts}), dtype=np.int64)
            rewards = _rewards(recipe, network, row, world)
            part = batch_loss(recipe, outputs, *_sides(rewards, row, numbers), train.labels, numbers)
            part = part * (loss_weight(recipe, outputs, train.labels, numbers) / weight * counts)
            (part * world.size).backward()  # type: ignore[no-untyped-call]  # sharded gradients are averaged over the processes
            mean, tokens = mean + part.item(), tokens + row.size * counts
        mean, tokens = world.total([mean, tokens])  # type: ignore[assignment]
        norm = float(whole(torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)))
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise TrainingError(
                f"The loss is {mean:g} and the gradient's norm {norm:g} at step {step + 1}; lower the learning rate "
                "or check the labels."
            )
        optimizer.step()
        optimizer.zero_grad()
        step += 1

        seen_pairs, seen_tokens = seen_pairs + len(chosen), seen_tokens + tokens
        if step % report_every == 0 or step == total:
            seconds = max(time.monotonic() - reported_at, 1e-9)
            speed = {"pairs_per_second": seen_pairs / seconds, "tokens_per_second": seen_tokens / seconds}
            report({"event": "step", "step": step, "total": total, "loss": mean, "gradient_norm": norm} | speed)
            seen_pairs = seen_tokens = 0.0
            reported_at = time.monotonic()
        if validation is not None and (step % evaluate_every == 0 or step == total):
            report({"event": "evaluation", "step": step} | held_out(recipe, network, outputs, validation, world))
        late = world.leads and time.monotonic() - saved_at >= pause
        stop, save = world.total([float(should_stop()), float(late)])
        if saving is not None and (stop or save or step == total):
            began = time.monotonic()
            write_checkpoint(saving.checkpoint, saving.identity, network, optimizer, step, world)
            report({"event": "checkpoint", "step": step})
            saved_at = time.monotonic()
            pause = saving.pause(saved_at - began)
        if stop:
            raise Interrupted
    return {name: whole(parameter) for name, parameter in trained_parameters(network).items()}


def held_out(
    recipe: Recipe, network: RewardNetwork, outputs: tuple[str, ...], pairs: TokenisedPairs, world: World
) -> dict[str, Any]:
    """Return accuracy and log-loss of the network on held-out pairs. Raises TrainingError where they are no numbers."""
    rewards = np.zeros((len(pairs.tokens), len(outputs)))
    numbers = np.arange(len(pairs.labels))
    with torch.no_grad():
        for row, counts in world.share(_rows(recipe, network, pairs, numbers, world)):
            found = _rewards(recipe, network, row, world)
            if counts:
                rewards[list(row.texts)] = found.double().cpu().numpy()
    rewards = np.reshape(world.total(rewards.ravel().tolist()), rewards.shape)
    # a head of ones and zeros picks the exported reward
    exported = Head(outputs, np.eye(len(outputs), dtype=np.float32), np.zeros(len(outputs), dtype=np.float32))
    reward = exported.rewards(rewards.astype(np.float32))
    if not np.isfinite(reward).all():
        raise TrainingError("Rewards of held-out pairs are not finite; lower the learning rate or check the labels.")
    sides = reward[0::2], reward[1::2]
    preference = pairs.labels.preference
    return {
        "accuracy": pair_accuracy(*sides, preference),
        "log_loss": log_loss(*sides, preference),
        "n": len(preference),
    }


def _rows(
    recipe: Recipe, network: RewardNetwork, pairs: TokenisedPairs, chosen: NDArray[np.int64], world: World
) -> list[Row]:
    """Return the packed rows of these pairs, the same in every process."""
    causal = recipe.pooling == "last"
    model: Any = network.model
    groups = pairs.groups([int(pair) for pair in chosen], share=causal)
    rows = packed(groups, row_tokens(recipe.batch_tokens, world.device))
    first = first_position(model)
    return [row_of(pairs.tokens, groups, causal=causal, first_position=first) for groups in rows]


def _rewards(recipe: Recipe, network: RewardNetwork, row: Row, world: World) -> Tensor:
    half = recipe.precision == "bfloat16"
    with torch.autocast(world.device.type, dtype=torch.bfloat16, enabled=half):
        rewards: Tensor = network(row)
    return rewards.float()


def _sides(rewards: Tensor, row: Row, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the outputs (b, k) of both responses of the row's pairs."""
    place = {text: at for at, text in enumerate(row.texts)}
    first, second = ([place[2 * int(number) + side] for number in numbers] for side in (0, 1))
    return rewards[first], rewards[second]
