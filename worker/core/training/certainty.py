"""How sure a trained head is: its Laplace approximation, made as wide as other labels would move its rewards.

For a head on frozen features the weight decay of its loss is the prior. A head that was trained with its backbone has a
posterior of its own, the backbone taken as given (last-layer Laplace: Kristiadi et al. 2020, arXiv 2002.10118); its
prior precision is the one that makes the labels most probable (MacKay 1992; Daxberger et al. 2021, arXiv 2106.14806).

With the decay that predicts best the posterior is too wide for what it is asked: it also counts that the truth may lie
far beyond what decay allows, which no number of labels would let this recipe find. So its shape is kept, and its size
is fitted to the spread of rewards that as many other labeled pairs would give (`uncertainty.temperature`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from worker.core.training.head import Head, LabeledFeatures, scaling
from worker.core.training.objective import REWARD, batch_loss
from worker.core.training.recipe import HELPFULNESS, Recipe
from worker.core.uncertainty import Laplace, evidence_precision, information, laplace, temperature

PAIRS_COMPARED = 4096
"""So many pairs say how wide the distribution must be, which is one number."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Expansion:
    """The loss of one output around its trained weight, on scaled features (d,), summed over pairs.

    `curvature` is its Hessian without the prior, `noise` the covariance of its slope, both (d, d); `precision` is that
    of the prior.
    """

    curvature: Floats
    noise: Floats
    precision: float

    @property
    def hessian(self) -> Floats:
        """Return the Hessian with the prior."""
        return self.curvature + self.precision * np.eye(len(self.curvature))


def laplace_of(recipe: Recipe, head: Head, train: LabeledFeatures, initial: Head | None) -> Laplace | None:
    """Return how sure the exported reward of a trained head is; None where nothing bounds it (no weight decay).

    The expansion is taken at the trained weights, before extrapolation. `train` has the pairs learned from, or, of a
    tuned backbone, some of them with the features it gives now.
    """
    if recipe.extrapolation == 0 or (recipe.weight_decay == 0 and not recipe.trains_backbone):
        return None
    centre, scale = scaling(train.features)
    inputs = (train.features - centre) / scale
    parts = expansions(recipe, head, train, initial, inputs, scale)
    joint = laplace(_joint([part.hessian for part in parts]), np.zeros_like(centre), np.ones_like(scale))
    if joint is None:
        return None
    some = _some(train)
    size = temperature(joint, [part.hessian for part in parts], [part.noise for part in parts],
                       inputs[train.first[some]] - inputs[train.second[some]])  # fmt: skip
    return Laplace(centre, (recipe.extrapolation * size * joint.factor / scale).astype(np.float32))


def expansions(
    recipe: Recipe,
    head: Head,
    train: LabeledFeatures,
    initial: Head | None,
    inputs: NDArray[np.float32],
    scale: NDArray[np.float32],
) -> list[Expansion]:
    """Return the expansion of each output that the exported reward is the mean of."""
    if recipe.objective == "regression":
        exported = [HELPFULNESS] if HELPFULNESS in head.outputs else list(head.outputs)
        return [_of_ratings(recipe, head, train, inputs, scale, output) for output in exported]
    optimum = head.rewards(train.features).astype(np.float64)
    if recipe.extrapolation != 1 and initial is not None and not recipe.trains_backbone:
        start = initial.rewards(train.features)
        optimum = start + (optimum - start) / recipe.extrapolation
    slope, curvature = _derivatives(recipe, optimum[train.first] - optimum[train.second], train)
    known = information(inputs, train.first, train.second, curvature)
    precision = len(train) * recipe.weight_decay
    if recipe.trains_backbone:
        precision = evidence_precision(known, head.reward_layer()[0] * scale)
    some = _some(train)
    noise = information(inputs, train.first[some], train.second[some], np.square(slope[some]))
    noise *= len(train) / len(slope[some])
    return [Expansion(known, _unbiased(noise, known, precision, len(train)), precision)]


def _some(train: LabeledFeatures) -> slice:
    """Return every so many-th pair, at most PAIRS_COMPARED of them."""
    return slice(None, None, -(-len(train) // PAIRS_COMPARED))


def _derivatives(recipe: Recipe, gaps: Floats, train: LabeledFeatures) -> tuple[Floats, Floats]:
    """Return both derivatives of each pair's loss in its gap r_1 - r_2, (n,); a negative second one is taken as 0."""
    gap = torch.from_numpy(gaps).requires_grad_()
    rows, outputs = np.arange(len(train)), (REWARD,)
    loss = len(train) * batch_loss(recipe, outputs, gap.unsqueeze(1), torch.zeros_like(gap).unsqueeze(1), train, rows)
    (slope,) = torch.autograd.grad(loss, gap, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), gap)
    return slope.detach().numpy().astype(np.float64), curvature.clamp(min=0).numpy().astype(np.float64)


def _of_ratings(
    recipe: Recipe,
    head: Head,
    train: LabeledFeatures,
    inputs: NDArray[np.float32],
    scale: NDArray[np.float32],
    output: str,
) -> Expansion:
    """Return the expansion of one rated attribute, whose ratings are normal with the variance of its residuals.

    The mean loss over all N rated cells and the decay make -log posterior = (sum of squares + N decay/2 |w|^2) / 2 s^2.
    """
    columns = [train.attributes.index(name) for name in head.outputs]
    cells = int((~np.isnan(train.ratings[:, :, columns])).sum())
    row, target = head.outputs.index(output), train.ratings[:, :, train.attributes.index(output)].T.ravel()
    rated, sides = ~np.isnan(target), np.concatenate([train.first, train.second])
    predicted = train.features[sides[rated]].astype(np.float64) @ head.weight[row] + head.bias[row]
    variance = max(float(np.square(predicted - target[rated]).mean()), 1e-12)
    x = inputs[sides[rated]].astype(np.float64)
    known = x.T @ x / variance
    precision = cells * recipe.weight_decay / 2 / variance
    if recipe.trains_backbone:
        precision = evidence_precision(known, head.weight[row] * scale)
    return Expansion(known, _unbiased(known, known, precision, len(x)), precision)


def _unbiased(noise: Floats, known: Floats, precision: float, observations: int) -> Floats:
    """Return the covariance of slopes for n - p instead of n labels, p the number of weights that the labels settled.

    p = tr(curvature hessian^-1) (MacKay 1992): the trained weight has moved towards the labels by that much.
    """
    spectrum = np.linalg.eigvalsh(known).clip(min=0.0)
    settled = float((spectrum / np.maximum(spectrum + precision, 1e-300)).sum())
    return noise * observations / max(observations - settled, 1.0)


def _joint(hessians: Sequence[Floats]) -> Floats:
    """Return the Hessian that stands for the mean of independent outputs."""
    if len(hessians) == 1:
        return hessians[0]
    inverse = sum((np.linalg.inv(hessian) for hessian in hessians), np.zeros_like(hessians[0]))
    return np.asarray(np.linalg.inv(inverse / len(hessians) ** 2))
