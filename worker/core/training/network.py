"""A language model with a linear reward on top, both of which are trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.core.attention import PACKED
from worker.core.backbone import Backbone, Texts, load_model
from worker.core.forward import vectors
from worker.core.packing import Row
from worker.core.training.checkpoint import trained_parameters
from worker.core.training.head import Head
from worker.core.training.objective import REWARD, Labels, TrainingError
from worker.core.training.recipe import Recipe

MERGE_PROBES = 100
MERGE_TOLERANCE = 1e-4
DROPOUTS = ("attention_dropout", "dropout", "dropout_prob", "hidden_dropout", "activation_dropout")


class RewardNetwork(nn.Module):
    """The rewards (n, k) of the texts of a packed row."""

    def __init__(self, model: nn.Module, head: nn.Linear, pooling: str) -> None:
        super().__init__()
        self.model, self.head, self.pooling = model, head, pooling

    def forward(self, row: Row) -> Tensor:
        """Return the outputs of each text of the row."""
        rewards: Tensor = self.head(vectors(self.model, row, self.pooling).float())
        return rewards


@dataclass(frozen=True)
class Opened:
    """A network before its training; `adapter` is peft's model around the same backbone, for lora only."""

    network: RewardNetwork
    adapter: Any | None


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter as peft stores it."""

    config: Any
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Tuned:
    """A trained backbone, in memory, its head, and the adapter that was merged into it, if any."""

    backbone: Backbone
    head: Head
    adapter: Adapter | None


def open_network(
    recipe: Recipe, backbone: Backbone, outputs: Sequence[str], initial: Head | None, labels: Labels
) -> Opened:
    """Load the backbone and put the head on it: of `initial`, else nearly zero (Ziegler et al., arXiv 1909.08593).

    Dropout is off: it is noise that would make a run depend on its interruptions. From scratch an output that is a
    rating starts at the mean rating.
    """
    torch.manual_seed(recipe.seed)
    model = load_model(backbone)
    head = nn.Linear(int(model.config.get_text_config().hidden_size), len(outputs))
    nn.init.normal_(head.weight, std=1 / (head.in_features + 1))
    nn.init.zeros_(head.bias)
    with torch.no_grad():
        for row, output in enumerate(outputs):
            if output != REWARD:
                head.bias[row] = float(np.nanmean(labels.ratings[:, :, labels.attributes.index(output)]))
            taken = None if initial is None else _output_of(initial, output)
            if taken is not None:
                head.weight[row] = torch.from_numpy(taken[0])
                head.bias[row] = float(taken[1])
    adapter = None
    if recipe.tuning == "lora":
        from peft import LoraConfig, get_peft_model

        settings = LoraConfig(r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, target_modules="all-linear")
        adapter = get_peft_model(model, settings)
    _without_dropout(model)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return Opened(RewardNetwork(model, head.to(model.device), recipe.pooling).train(), adapter)


def is_packed(network: RewardNetwork) -> bool:
    """Return whether the backbone reads packed rows; others read text by text."""
    return bool(cast(Any, network.model).config._attn_implementation == PACKED)


def finished(
    recipe: Recipe,
    backbone: Backbone,
    outputs: tuple[str, ...],
    initial: Head | None,
    labels: Labels,
    state: dict[str, Tensor],
    probes: Sequence[Texts],
) -> Tuned:
    """Put trained parameters into a model as it was before training; merge an adapter, extrapolate, and return it.

    Raises TrainingError when a merged adapter does not give the vectors of the unmerged one.
    """
    _check_finite(state)
    opened = open_network(recipe, backbone, outputs, initial, labels)
    network = opened.network.eval()
    before = {name: value.detach().clone() for name, value in network.head.named_parameters()}
    with torch.no_grad():
        for name, parameter in trained_parameters(network).items():
            parameter.copy_(state[name])
    model: Any = network.model
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    adapter = None
    if opened.adapter is not None:
        adapter = _adapter_of(opened.adapter)
        model = _merged(opened.adapter, backbone.with_model(model), probes)
    if recipe.extrapolation != 1.0:
        _extrapolate(dict(load_model(backbone).named_parameters()), model, recipe.extrapolation)
        _extrapolate(before, network.head, recipe.extrapolation)
        _check_finite(dict(model.named_parameters()) | dict(network.head.named_parameters()))
    weight, bias = (parameter.detach().cpu().numpy() for parameter in (network.head.weight, network.head.bias))
    # A decoder's classification layer has no bias. All rewards shift by the same, so no pair changes.
    head = Head(outputs, weight, np.zeros_like(bias) if recipe.pooling == "last" else bias)
    return Tuned(backbone.with_model(model.eval()), head, adapter)


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise TrainingError("The trained weights are not finite; lower the learning rate or the extrapolation.")


def _output_of(initial: Head, output: str) -> tuple[NDArray[np.float32], np.float32] | None:
    """Return weight and bias to begin an output with; "reward" stands for whatever reward the head exports."""
    if output == REWARD:
        return initial.reward_layer()
    if output not in initial.outputs:
        return None
    row = initial.outputs.index(output)
    return initial.weight[row], initial.bias[row]


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in DROPOUTS:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _adapter_of(adapter: Any) -> Adapter:
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(adapter, save_embedding_layers=False)
    return Adapter(adapter.peft_config["default"], {name: value.detach().cpu() for name, value in tensors.items()})


def _merged(adapter: Any, unmerged: Backbone, probes: Sequence[Texts]) -> Any:
    """Fold the adapter into the weights; a merge that changes the vectors of the probes is refused."""
    expected = unmerged.features(probes[:MERGE_PROBES])
    model = adapter.merge_and_unload()
    found = unmerged.with_model(model).features(probes[:MERGE_PROBES])
    difference = float(np.abs(found - expected).max())
    if difference > MERGE_TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise TrainingError(
            f"The merged adapter gives other vectors than the unmerged one (by up to {difference:.2g}); "
            "nothing was saved."
        )
    return model


def _extrapolate(start: Mapping[str, Tensor], trained: nn.Module, factor: float) -> None:
    """Set every parameter to start + factor * (trained - start) (ExPO, arXiv 2404.16792)."""
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            origin = start[name].to(parameter.device)
            parameter.copy_(origin + factor * (parameter - origin))
