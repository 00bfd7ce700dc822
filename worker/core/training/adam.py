"""Adam for a handful of small tensors (Kingma & Ba, arXiv 1412.6980, algorithm 1).

torch's own starts by importing its compiler, which takes longer than training a head does.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """The moments of each parameter, and how often it has moved; a parameter without gradient stays where it is."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]

    @torch.no_grad()
    def step(self, number: int, learning_rate: float) -> None:
        """Make the step of this number, counted from 1, and forget the gradients."""
        bias_1, bias_2 = 1 - BETA_1**number, 1 - BETA_2**number
        for parameter, (mean, square) in zip(self.parameters, self.moments, strict=True):
            if parameter.grad is None:
                continue
            mean.lerp_(parameter.grad, 1 - BETA_1)
            square.mul_(BETA_2).addcmul_(parameter.grad, parameter.grad, value=1 - BETA_2)
            spread = (square / bias_2).sqrt_().add_(EPSILON)
            parameter.addcdiv_(mean, spread, value=-learning_rate / bias_1)
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments by name, for a checkpoint."""
        named = enumerate(self.moments)
        return {f"optimizer.{row}.{name}": x for row, pair in named for name, x in zip("mv", pair, strict=True)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the moments from a checkpoint."""
        self.moments = [
            (tensors[f"optimizer.{row}.m"].clone(), tensors[f"optimizer.{row}.v"].clone())
            for row in range(len(self.moments))
        ]
