"""How sure a linear reward is: the Laplace approximation of its head, and what a label of a pair would teach it.

The trained head minimises mean loss + decay/2 |w - start|^2: 1/n of a negative log posterior with a Gaussian prior
around the start. Its second-order expansion at the optimum makes w normal with covariance H^-1 (MacKay 1992),

    H = sum over pairs of l''(gap) d d^T + n * decay * I,    d the difference of the two feature vectors.

The Hessian of a linear head is exact; `temperature` fits the size of the distribution to what labels do. The offset
common to all rewards is not identified by pairs: the spread of a reward is that of its distance from the centre of the
training features. Numpy only. Shapes: (n, d).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROWS_AT_ONCE = 4096
FIXED_POINT_STEPS = 100
LEAST_PRECISION = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Laplace:
    """A normal distribution over the weights of a linear reward on raw features.

    `factor` (d, d) is a root of the covariance: `factor.T @ factor`; `centre` (d,) is where a reward has no spread.
    """

    centre: NDArray[np.float32]
    factor: NDArray[np.float32]

    def std(self, features: ArrayLike) -> Floats:
        """Return the standard deviation of the reward of each row of features (n, d); (n,)."""
        return np.sqrt(self._variances(np.asarray(features, dtype=np.float64) - self.centre))

    def margin_std(self, difference_features: ArrayLike) -> Floats:
        """Return the standard deviation of each margin r_1 - r_2 from x_1 - x_2 (n, d); (n,)."""
        return np.sqrt(self._variances(np.asarray(difference_features, dtype=np.float64)))

    def fisher(self, difference_features: ArrayLike, margins: ArrayLike) -> Floats:
        """Return how much a label of each pair would teach: sigma'(margin) * d^T H^-1 d, (n,).

        The gradient of log det of the information in the weight of that pair (ARM-FI, arXiv 2502.04354).
        """
        return logistic_slope(margins) * self._variances(np.asarray(difference_features, dtype=np.float64))

    def _variances(self, rows: Floats) -> Floats:
        factor = self.factor.astype(np.float64)
        result = np.empty(len(rows))
        for part in parts(len(rows)):
            result[part] = np.square(rows[part] @ factor.T).sum(axis=1)
        return result


def laplace(hessian: Floats, centre: Floats, scale: Floats, stretch: float = 1.0) -> Laplace | None:
    """Return the distribution on raw features from the Hessian (d, d) on scaled ones, z = (x - centre) / scale.

    `stretch` multiplies every deviation (an extrapolated weight moves by that factor). None where the Hessian is not
    positive definite: without decay, directions that no pair tells anything about have no finite spread.
    """
    try:
        root = np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        return None
    factor = stretch * np.linalg.solve(root, np.eye(len(root))) / scale
    if not np.isfinite(factor).all():
        return None
    return Laplace(centre.astype(np.float32), factor.astype(np.float32))


def temperature(
    posterior: Laplace, hessians: Sequence[Floats], noises: Sequence[Floats], differences: ArrayLike
) -> float:
    """Return by what to multiply a posterior's deviations so that they are those that other labels would give.

    With as many other pairs of the same kind the trained weight would move with covariance H^-1 G H^-1, G that of
    the loss's slope (Huber 1967, White 1982). Returned is the root of the mean ratio of that to the posterior's
    variance over differences (m, d): one number, so that directions which no pair tells about stay the least sure
    ones. Of several outputs the reward is the mean.
    """
    rows = np.asarray(differences, dtype=np.float64)
    spread = np.zeros(len(rows))
    for hessian, noise in zip(hessians, noises, strict=True):
        moved = np.linalg.solve(hessian, rows.T).T
        spread += np.einsum("nd,nd->n", moved @ noise, moved) / len(hessians) ** 2
    held = np.square(posterior.margin_std(rows))
    told = held > 0
    ratio = float((spread[told] / held[told]).mean()) if told.any() else 1.0
    return float(np.sqrt(ratio)) if ratio > 0 else 1.0


def evidence_precision(curvature: Floats, weight: ArrayLike) -> float:
    """Return the prior precision a that makes the labels most probable at a trained weight (d,).

    MacKay's fixed point (1992): a = g / |w|^2, where g = sum of l / (l + a) over the eigenvalues l of the curvature
    counts the directions that the labels have settled.
    """
    spectrum = np.linalg.eigvalsh(curvature).clip(min=0.0)
    square = max(float(np.square(np.asarray(weight, dtype=np.float64)).sum()), 1e-12)
    precision = len(spectrum) / square
    for _ in range(FIXED_POINT_STEPS):
        precision = max(float((spectrum / (spectrum + precision)).sum()) / square, LEAST_PRECISION)
    return precision


def information(inputs: NDArray[np.float32], first: ArrayLike, second: ArrayLike, curvature: Floats) -> Floats:
    """Return sum_i c_i d_i d_i^T with d_i = inputs[first_i] - inputs[second_i], (d, d), from inputs (u, d)."""
    one, other = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    total = np.zeros((inputs.shape[1], inputs.shape[1]))
    for part in parts(len(one)):
        difference = inputs[one[part]].astype(np.float64) - inputs[other[part]]
        difference *= np.sqrt(curvature[part, np.newaxis])
        total += difference.T @ difference
    return total


def logistic_slope(margins: ArrayLike) -> Floats:
    """Return sigma'(margin), the variance of a label that is right with probability sigma(margin); at most 1/4."""
    decay = np.exp(-np.abs(np.asarray(margins, dtype=np.float64)))
    return np.asarray(decay / np.square(1.0 + decay))


def probability(margins: ArrayLike, margin_std: ArrayLike) -> Floats:
    """Return the probability that side 1 is better, averaged over the weights: sigma(m / sqrt(1 + pi s^2 / 8)).

    MacKay's approximation (1992) of the integral of the logistic function over a normal margin.
    """
    margin, deviation = np.asarray(margins, dtype=np.float64), np.asarray(margin_std, dtype=np.float64)
    return np.asarray(1.0 / (1.0 + np.exp(-margin / np.sqrt(1.0 + np.pi * np.square(deviation) / 8.0))))


def parts(rows: int) -> Iterator[slice]:
    """Yield slices of so many rows at once that what is computed of them stays small."""
    for start in range(0, rows, ROWS_AT_ONCE):
        yield slice(start, start + ROWS_AT_ONCE)
