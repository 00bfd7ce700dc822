"""Checkpoints of a training that changes a backbone: trained parameters, the optimiser's state, and the step.

One safetensors file whatever the number of processes, so a run may be continued with another number. There is no
generator in it: nothing is drawn at random, and the order of the pairs follows from seed and step.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from worker.core.files import new_file
from worker.core.training.objective import TrainingError
from worker.core.training.processes import World, like, whole

MOMENTS = ("exp_avg", "exp_avg_sq")


def trained_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that the optimiser changes, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def write_checkpoint(
    path: Path, identity: str, network: nn.Module, optimizer: torch.optim.Optimizer, step: int, world: World
) -> None:
    """Replace the checkpoint; every process must take part, the first writes. Raises TrainingError when it cannot."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in trained_parameters(network).items():
        state = optimizer.state.get(parameter, {})  # nothing for what no reward depends on, such as an unused pooler
        moments = [(moment, state[moment]) for moment in MOMENTS if moment in state]
        for label, tensor in [("parameter", parameter), *moments]:
            gathered = whole(tensor)
            if world.leads:
                tensors[f"{label}.{name}"] = gathered.contiguous()
    if world.leads:
        try:
            with new_file(path) as temporary:
                save_file(tensors, temporary, metadata={"identity": identity, "step": str(step)})
        except SafetensorError as error:  # how safetensors reports a full disk
            raise TrainingError(
                f"The checkpoint of step {step} could not be written ({error}); is there room on the disk? "
                "The one before it is kept."
            ) from error
    world.wait()


def read_checkpoint(path: Path, identity: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint into network and optimiser and return its step. Raises TrainingError."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            if metadata["identity"] != identity:
                raise TrainingError(
                    f"The checkpoint {path} is of another recipe or other data; delete it to train from the start."
                )
            step, names = int(metadata["step"]), set(file.keys())
            for name, parameter in trained_parameters(network).items():
                with torch.no_grad():
                    parameter.copy_(like(parameter, file.get_tensor(f"parameter.{name}")))
                if f"{MOMENTS[0]}.{name}" in names:
                    moments = {moment: like(parameter, file.get_tensor(f"{moment}.{name}")) for moment in MOMENTS}
                    count = torch.tensor(float(step), device=parameter.device)
                    optimizer.state[parameter] = {"step": count, **moments}
    except (OSError, SafetensorError, KeyError) as error:
        raise TrainingError(
            f"The checkpoint {path} cannot be read ({error}); delete it to train from the start."
        ) from error
    return step
