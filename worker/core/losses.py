"""The four training objectives as functions of tensors.

Names and forms follow HelpSteer2-Preference (arXiv 2410.01257) and its code, NVIDIA NeMo-Aligner's
megatron_gpt_regression_reward_model.py. Shapes: (b,) pairs in a batch; (b, k) responses with k attributes.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(r_c - r_r) over pairs (b,)."""
    return -logsigmoid(chosen - rejected).mean()


def margin_bradley_terry_loss(chosen: Tensor, rejected: Tensor, strength: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(r_c - r_r - m) over pairs (b,): the gap is asked to exceed m."""
    return -logsigmoid(chosen - rejected - strength).mean()


def scaled_bradley_terry_loss(chosen: Tensor, rejected: Tensor, strength: Tensor) -> Tensor:
    """Return the mean of -m log sigmoid(r_c - r_r) over pairs (b,): a pair of strength m counts m times.

    As in the authors' code the sum is divided by the number of pairs, not by the sum of m.
    """
    return -(strength * logsigmoid(chosen - rejected)).mean()


def masked_regression_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error over the cells (b, k) where mask is true; 0 when it is true nowhere.

    The mask is explicit (the authors' code marks missing ratings as -100), so masked targets may hold
    anything, NaN too.
    """
    error = (predicted - target.where(mask, predicted.detach())).square()
    return error.where(mask, 0.0).sum() / mask.sum().clamp(min=1)
