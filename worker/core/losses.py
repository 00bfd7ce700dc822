"""The training objectives as functions of tensors.

Names and forms of the first four follow HelpSteer2-Preference (arXiv 2410.01257) and its code, NVIDIA NeMo-Aligner's
megatron_gpt_regression_reward_model.py. Each returns a mean, so that the loss of a step is the mean over its batches
weighted by their pairs (or rated cells). Shapes: (b,) pairs in a batch; (b, k) responses with k attributes.
"""

import math

import torch
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


def soft_bradley_terry_loss(reward_1: Tensor, reward_2: Tensor, share_1: Tensor) -> Tensor:
    """Return the mean cross-entropy of sigmoid(r_1 - r_2) with the share of voters who prefer response 1, (b,).

    -q log sigmoid(D) - (1 - q) log sigmoid(-D) with D = r_1 - r_2; its minimum over D is at logit(q), a tie (q = 1/2)
    pulls both rewards together.
    """
    gap = reward_1 - reward_2
    return -(share_1 * logsigmoid(gap) + (1 - share_1) * logsigmoid(-gap)).mean()


def conservative_bradley_terry_loss(chosen: Tensor, rejected: Tensor, flip_rate: float) -> Tensor:
    """Return the mean of -(1 - e) log sigmoid(D) - e log sigmoid(-D), D = r_c - r_r: labels smoothed by flip rate e.

    E. Mitchell, "A note on DPO with noisy preferences & relationship to IPO" (2023), cDPO. Best gap: logit(1 - e).
    """
    return soft_bradley_terry_loss(chosen, rejected, chosen.new_full(chosen.shape, 1 - flip_rate))


def robust_bradley_terry_loss(chosen: Tensor, rejected: Tensor, flip_rate: float) -> Tensor:
    """Return the mean of (-(1 - e) log sigmoid(D) + e log sigmoid(-D)) / (1 - 2e), D = r_c - r_r; e below 1/2.

    Chowdhury, Kini, Natarajan, "Provably Robust DPO" (arXiv 2403.00409): over labels that flip at rate e its mean is
    the regular loss of the true labels. It falls without bound in D, so it needs weight decay.
    """
    gap = chosen - rejected
    return ((flip_rate * logsigmoid(-gap) - (1 - flip_rate) * logsigmoid(gap)) / (1 - 2 * flip_rate)).mean()


def noisy_bradley_terry_loss(chosen: Tensor, rejected: Tensor, flip_rate: float) -> Tensor:
    """Return the mean of -log((1 - e) sigmoid(D) + e sigmoid(-D)), D = r_c - r_r: the likelihood of flips at rate e.

    The contamination model of robust logistic regression (Copas, "Binary regression models for contaminated data",
    1988). A pair that contradicts the model by far loses its pull: the gradient goes to 0 there.
    """
    gap = chosen - rejected
    terms = [logsigmoid(gap) + math.log1p(-flip_rate)]
    if flip_rate:
        terms.append(logsigmoid(-gap) + math.log(flip_rate))
    return -torch.logsumexp(torch.stack(terms), dim=0).mean()


def masked_regression_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error over the cells (b, k) where mask is true; 0 when it is true nowhere.

    The mask is explicit (the authors' code marks missing ratings as -100), so masked targets may hold
    anything, NaN too.
    """
    error = (predicted - target.where(mask, predicted.detach())).square()
    return error.where(mask, 0.0).sum() / mask.sum().clamp(min=1)
