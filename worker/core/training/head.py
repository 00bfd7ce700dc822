"""Train a linear reward head on frozen features: the whole loop, in full view.

On one CPU thread, also where there are more and a GPU: the head is a few thousand numbers, threads would cost
more than they bring, and the same bits come out everywhere.

Linear, strong L2 in the loss and a falling step size were chosen by accuracy on held-out topics of UKPConvArg1:
hidden layers and light or decoupled decay were worse, the exact optimum (L-BFGS) was not better.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from worker.core.files import write_bytes
from worker.core.metrics import log_loss, pair_accuracy
from worker.core.training.adam import Adam
from worker.core.training.objective import REWARD, Labels, TrainingError, batch_loss, outputs_of
from worker.core.training.recipe import HELPFULNESS, Recipe
from worker.core.uncertainty import parts

EVALUATIONS = 20
STEPS_PER_EPOCH = 50
STEP_REPORTS = 100

Report = Callable[[dict[str, Any]], None]


class Interrupted(Exception):
    """Training was asked to stop; its checkpoint is written."""


@dataclass(frozen=True)
class Head:
    """A linear reward on raw features: `outputs` names the rows of `weight` (k, d) and `bias` (k,).

    `outputs` is ("reward",), or the rated attributes of a regression.
    """

    outputs: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def reward_layer(self) -> tuple[NDArray[np.float32], np.float32]:
        """Return weight (d,) and bias of the one reward that is exported.

        Of several attributes that is helpfulness, the overall quality of HelpSteer2; where a project does not
        rate helpfulness, the mean over its attributes.
        """
        rows = [self.outputs.index(HELPFULNESS)] if HELPFULNESS in self.outputs else list(range(len(self.outputs)))
        weight: NDArray[np.float32] = self.weight[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
        return weight, np.float32(self.bias[rows].mean(dtype=np.float64))

    def rewards(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the exported reward of each row of features (n, d); (n,)."""
        weight, bias = self.reward_layer()
        # einsum sums each row by itself, so a response has the same reward whatever stands beside it.
        rewards = np.einsum("nd,d->n", features, weight, dtype=np.float64)
        return np.asarray(rewards + bias, dtype=np.float32)


@dataclass(frozen=True)
class LabeledFeatures(Labels):
    """Labels with `features` (u, d) of the distinct responses; `first` and `second` (n,) index them."""

    features: NDArray[np.float32]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def train_head(
    recipe: Recipe,
    train: LabeledFeatures,
    *,
    validation: LabeledFeatures | None,
    initial: Head | None,
    checkpoint: Path,
    data_hash: str,
    resume: bool,
    report: Report,
    should_stop: Callable[[], bool],
) -> Head:
    """Train and return the head; continue from `checkpoint` when `resume` is set and it is there.

    The last step's weights are returned: held-out accuracy is reported on the way and chooses nothing.
    Raises TrainingError, and Interrupted after writing a checkpoint when `should_stop()`.
    """
    if not len(train):
        raise TrainingError("There is no labeled pair to train on.")
    outputs = outputs_of(recipe, train)
    centre, scale = scaling(train.features)
    inputs = (train.features - centre) / scale
    if recipe.objective == "regression":
        sides = [torch.from_numpy(inputs[side]) for side in (train.first, train.second)]
    else:  # only the gap counts, and a bias is in neither side of it
        sides = [torch.from_numpy(inputs[train.first] - inputs[train.second])]
    del inputs
    held_out = None if validation is None else torch.from_numpy((validation.features - centre) / scale)
    start_weight, start_bias = _start(outputs, initial, train, centre, scale)
    weight = start_weight.clone().requires_grad_()
    bias = start_bias.clone().requires_grad_()
    optimizer = Adam([weight, bias])

    # The loss is convex: with many pairs, fewer and surer steps end at the same place in a fraction of the time.
    batch = max(recipe.batch_pairs, math.ceil(len(train) / STEPS_PER_EPOCH))
    steps_per_epoch = math.ceil(len(train) / batch)
    total = recipe.epochs * steps_per_epoch
    report_every, evaluate_every = max(1, total // STEP_REPORTS), max(1, total // EVALUATIONS)
    identity = f"{recipe.training_hash} {data_hash}"
    step = 0
    if resume and checkpoint.exists():
        step = _restore(checkpoint, identity, weight, bias, optimizer)

    order = epoch_order(recipe.seed, step // steps_per_epoch, len(train))
    while step < total:
        epoch, position = divmod(step, steps_per_epoch)
        if position == 0:
            order = epoch_order(recipe.seed, epoch, len(train))
        rows = order[position * batch : (position + 1) * batch]
        seen = [side[torch.from_numpy(rows)] @ weight.T for side in sides]
        rewards = (seen[0] + bias, seen[1] + bias) if len(seen) == 2 else (seen[0], torch.zeros_like(seen[0]))
        loss = batch_loss(recipe, outputs, *rewards, train, rows)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss.item()} at step {step + 1}; lower the learning rate or check the labels."
            )
        penalty = recipe.weight_decay / 2 * (weight - start_weight).square().sum()
        (loss + penalty).backward()  # type: ignore[no-untyped-call]
        optimizer.step(step + 1, recipe.learning_rate * (1 - step / total))
        step += 1

        if step % report_every == 0 or step == total:
            report({"event": "step", "step": step, "total": total, "loss": loss.item()})
        if step % evaluate_every == 0 or step == total:
            if validation is not None and held_out is not None:
                report({"event": "evaluation", "step": step} | _held_out(outputs, weight, bias, held_out, validation))
            _save(checkpoint, identity, weight, bias, optimizer, step)
            report({"event": "checkpoint", "step": step})
        if should_stop():
            _save(checkpoint, identity, weight, bias, optimizer, step)
            raise Interrupted

    factor = recipe.extrapolation
    weight = start_weight + factor * (weight.detach() - start_weight)
    bias = start_bias + factor * (bias.detach() - start_bias)
    with np.errstate(invalid="ignore", over="ignore"):  # said in a sentence instead
        head = _folded(outputs, weight, bias, centre, scale)
    if not (np.isfinite(head.weight).all() and np.isfinite(head.bias).all()):
        raise TrainingError("The trained weights are not finite; lower the learning rate or the extrapolation.")
    # A decoder's classification layer has no bias. All rewards shift by the same, so no pair changes.
    return dataclasses.replace(head, bias=np.zeros_like(head.bias)) if recipe.pooling == "last" else head


def scaling(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return centre and scale (d,) that give training responses mean 0 and a mean squared norm of 1.

    With them weight decay and learning rate mean the same for every backbone. They are folded into the head.
    """
    centre = features.mean(axis=0, dtype=np.float64)
    squares = [np.square(features[part] - centre).sum(axis=0) for part in parts(len(features))]
    spread = np.sqrt(np.sum(squares, axis=0) / len(features))
    spread[spread < 1e-6 * max(spread.max(), 1e-6)] = 1.0  # a constant feature says nothing; do not divide by its noise
    scale = spread * math.sqrt(features.shape[1])
    return centre.astype(np.float32), scale.astype(np.float32)


def _start(
    outputs: tuple[str, ...],
    initial: Head | None,
    train: LabeledFeatures,
    centre: NDArray[np.float32],
    scale: NDArray[np.float32],
) -> tuple[Tensor, Tensor]:
    """Return the scaled weight (k, d) and bias (k,) to start from, which weight decay also pulls back to.

    From scratch the weight is 0 and the bias the mean rating. From a head, each output of the same name is
    taken over; "reward" stands for whatever reward that head exports.
    """
    weight = np.zeros((len(outputs), train.features.shape[1]), dtype=np.float64)
    bias = np.zeros(len(outputs), dtype=np.float64)
    for row, output in enumerate(outputs):
        if output != REWARD:
            bias[row] = np.nanmean(train.ratings[:, :, train.attributes.index(output)])
        if initial is None:
            continue
        if output == REWARD:
            raw_weight, raw_bias = initial.reward_layer()
        elif output in initial.outputs:
            source = initial.outputs.index(output)
            raw_weight, raw_bias = initial.weight[source], initial.bias[source]
        else:
            continue
        weight[row] = raw_weight.astype(np.float64) * scale
        bias[row] = raw_bias + raw_weight.astype(np.float64) @ centre
    return torch.tensor(weight, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)


def epoch_order(seed: int, epoch: int, pairs: int) -> NDArray[np.int64]:
    """Return the order of the pairs in an epoch: a function of seed and epoch, so a step number says all."""
    return np.random.default_rng([seed, epoch]).permutation(pairs)


def _held_out(
    outputs: tuple[str, ...], weight: Tensor, bias: Tensor, inputs: Tensor, pairs: LabeledFeatures
) -> dict[str, Any]:
    """Return accuracy and log-loss of the current head on held-out pairs."""
    reward, _ = Head(outputs, weight.detach().numpy(), bias.detach().numpy()).reward_layer()
    rewards = inputs.numpy() @ reward
    sides = rewards[pairs.first], rewards[pairs.second]
    return {
        "accuracy": pair_accuracy(*sides, pairs.preference),
        "log_loss": log_loss(*sides, pairs.preference),
        "n": len(pairs),
    }


def _folded(
    outputs: tuple[str, ...],
    weight: Tensor,
    bias: Tensor,
    centre: NDArray[np.float32],
    scale: NDArray[np.float32],
) -> Head:
    """Return the head for raw features: w/s . x + (b - w/s . c), in double precision until the end."""
    raw = weight.numpy().astype(np.float64) / scale
    offset = bias.numpy().astype(np.float64) - raw @ centre.astype(np.float64)
    return Head(outputs, raw.astype(np.float32), offset.astype(np.float32))


def _save(path: Path, identity: str, weight: Tensor, bias: Tensor, optimizer: Adam, step: int) -> None:
    """Write a checkpoint atomically; no generator is in it, as the order follows from seed and step."""
    tensors = {"weight": weight.detach(), "bias": bias.detach()} | optimizer.tensors()
    write_bytes(path, save(tensors, metadata={"identity": identity, "step": str(step)}))


def _restore(path: Path, identity: str, weight: Tensor, bias: Tensor, optimizer: Adam) -> int:
    """Load a checkpoint into weight, bias and optimiser and return its step."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"The checkpoint {path} cannot be read ({error}); delete it to train from the start."
        ) from error
    if metadata["identity"] != identity:
        raise TrainingError(
            f"The checkpoint {path} is of another recipe or other data; delete it to train from the start."
        )
    optimizer.load(tensors)
    with torch.no_grad():
        weight.copy_(tensors["weight"])
        bias.copy_(tensors["bias"])
    return int(metadata["step"])
