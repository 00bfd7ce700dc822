"""Several processes that train one model: who takes which rows, and sharding with PyTorch's FSDP2.

Started by `torchrun` (which sets RANK and WORLD_SIZE); alone, everything here does nothing. All processes see the
same data in the same order and count the same steps, so only numbers travel between them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from worker.core.training.objective import TrainingError

Item = TypeVar("Item")
CPU = torch.device("cpu")
WAIT = timedelta(hours=1)  # for the slowest process: one may write a checkpoint or save a model of many gigabytes


@dataclass(frozen=True)
class World:
    """This process's number and how many there are."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Return whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[tuple[Item, bool]]:
        """Return this process's items, each with whether it counts.

        Sharded layers wait for all processes, so each gets equally many: some take one again that does not count.
        """
        mine = [(item, True) for item in items[self.rank :: self.size]]
        rounds = -(-len(items) // self.size)
        return mine + [(items[0], False)] * (rounds - len(mine))

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sums over the processes."""
        if self.size == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(numbers)
        found: list[float] = numbers.tolist()
        return found

    def wait(self) -> None:
        """Return when every process has come this far."""
        self.total([0.0])


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started; alone, a world of one on the GPU where there is one."""
    cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    number = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", number) if cuda else torch.device("cpu")
    if cuda and number >= torch.cuda.device_count():
        raise TrainingError(f"processes: this machine has {torch.cuda.device_count()} GPUs; each process needs one.")
    if size == 1:
        yield World(device=device)
        return
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=WAIT)
    try:
        yield World(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()


def shard(network: nn.Module, world: World) -> None:
    """Spread the network's parameters over the processes, layer by layer (FSDP2); alone, do nothing."""
    if world.size == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    stacks = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    for layer in max(stacks, key=_parameters, default=nn.ModuleList()):
        fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """Return the tensor with all its shards, on the CPU; every process must ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu()


def like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a whole tensor as it is held here: the parameter's device, and its shard."""
    moved = value.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(moved, parameter.device_mesh, parameter.placements)
    return moved


def _parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
