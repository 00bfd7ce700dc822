"""What labels ask of a model: which pairs an objective can learn from, what it predicts, and the loss of a batch."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.core import losses
from worker.core.pairs import Pair
from worker.core.training.recipe import HELPFULNESS, Recipe

REWARD = "reward"
# A tie is a soft label of 1/2 for these, and nothing to a regression; the others need a better side.
TAKES_TIES = ("soft_bradley_terry", "conservative_bradley_terry", "regression")
STRONGEST = 3


class TrainingError(Exception):
    """Training cannot start or go on; the message says why."""


@dataclass(frozen=True)
class Labels:
    """What people said about pairs, as arrays.

    `preference` (n,) is -3...3, negative where response 1 is better; `share_1` (n,) the share of voters who prefer
    response 1; `ratings` (n, 2, k) the means of both sides, NaN where unrated, of the k `attributes`.
    """

    preference: NDArray[np.int64]
    share_1: NDArray[np.float32]
    ratings: NDArray[np.float32]
    attributes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.preference)


def labels_of(pairs: Sequence[Pair]) -> Labels:
    """Return the labels of pairs as arrays."""
    attributes = tuple(sorted({name for pair in pairs for side in pair.ratings or () for name in side}))
    ratings = np.full((len(pairs), 2, len(attributes)), np.nan, dtype=np.float32)
    for number, pair in enumerate(pairs):
        for side, rated in enumerate(pair.ratings or ()):
            for name, rating in rated.items():
                ratings[number, side, attributes.index(name)] = rating
    return Labels(
        preference=np.array([pair.preference for pair in pairs], dtype=np.int64),
        share_1=np.array([pair.share_1 for pair in pairs], dtype=np.float32),
        ratings=ratings,
        attributes=attributes,
    )


def pairs_to_learn(recipe: Recipe, pairs: Sequence[Pair]) -> tuple[list[Pair], dict[str, int]]:
    """Return the pairs that the recipe's objective can learn from, and how many were left out, by reason.

    With `pairs_from="ratings"` preference and strength come from the ratings: the baseline of HelpSteer2
    (arXiv 2406.08673, section 4.3), which the collected preferences are measured against.
    """
    left_out: Counter[str] = Counter()
    kept: list[Pair] = []
    derived = recipe.pairs_from == "ratings"
    for pair in pairs:
        if (derived or recipe.objective == "regression") and not any(pair.ratings or ()):
            left_out["without ratings"] += 1
            continue
        if derived:
            pair = replace(pair, preference=preference_of_ratings(pair), votes=())
        if pair.preference == 0 and recipe.objective not in TAKES_TIES:
            left_out["tie"] += 1
            continue
        kept.append(pair)
    return kept, dict(left_out)


def preference_of_ratings(pair: Pair) -> int:
    """Return the preference that the ratings imply: the difference of the rounded helpfulness, at most 3 either way.

    Where helpfulness is not rated, of the means over the attributes that both sides have; 0 where they have none.
    """
    side_1, side_2 = pair.ratings or ({}, {})
    common = side_1.keys() & side_2.keys()
    names = {HELPFULNESS} & common or common
    if not names:
        return 0
    first, second = (int(np.floor(sum(side[name] for name in names) / len(names) + 0.5)) for side in (side_1, side_2))
    return max(-STRONGEST, min(STRONGEST, second - first))


def outputs_of(recipe: Recipe, train: Labels) -> tuple[str, ...]:
    """Return what the model predicts: one reward, or for regression each attribute that is asked for and rated."""
    if recipe.objective != "regression":
        return (REWARD,)
    rated = [name for column, name in enumerate(train.attributes) if not np.isnan(train.ratings[:, :, column]).all()]
    outputs = tuple(name for name in rated if not recipe.attributes or name in recipe.attributes)
    if not outputs:
        wanted = f" of {', '.join(recipe.attributes)}" if recipe.attributes else ""
        raise TrainingError(f"The objective is regression, but no training pair has ratings{wanted}.")
    return outputs


def batch_loss(
    recipe: Recipe,
    outputs: tuple[str, ...],
    rewards_1: Tensor,
    rewards_2: Tensor,
    labels: Labels,
    rows: NDArray[np.int64],
) -> Tensor:
    """Return the recipe's mean loss of the pairs `rows` (b,) from both sides' outputs (b, k)."""
    device = rewards_1.device
    if recipe.objective == "regression":
        target = torch.from_numpy(labels.ratings[rows][:, :, _columns(outputs, labels)]).to(device)
        return losses.masked_regression_loss(torch.stack([rewards_1, rewards_2], dim=1), target, ~target.isnan())
    reward_1, reward_2 = rewards_1[:, 0], rewards_2[:, 0]
    share_1 = torch.from_numpy(labels.share_1[rows]).to(device)
    preference = torch.from_numpy(labels.preference[rows]).to(device)
    if recipe.objective == "soft_bradley_terry":
        return losses.soft_bradley_terry_loss(reward_1, reward_2, share_1)
    if recipe.objective == "conservative_bradley_terry":
        smoothed = 0.5 - preference.sign() * (0.5 - recipe.flip_rate)  # a tie stays 1/2
        return losses.soft_bradley_terry_loss(reward_1, reward_2, smoothed)
    chosen = torch.where(preference > 0, reward_2, reward_1)
    rejected = torch.where(preference > 0, reward_1, reward_2)
    if recipe.objective == "bradley_terry":
        return losses.bradley_terry_loss(chosen, rejected)
    if recipe.objective == "robust_bradley_terry":
        return losses.robust_bradley_terry_loss(chosen, rejected, recipe.flip_rate)
    if recipe.objective == "noisy_bradley_terry":
        return losses.noisy_bradley_terry_loss(chosen, rejected, recipe.flip_rate)
    strengths = [recipe.strength_map[abs(int(value))] for value in labels.preference[rows]]
    strength = torch.tensor(strengths, dtype=reward_1.dtype, device=device)
    if recipe.objective == "margin_bradley_terry":
        return losses.margin_bradley_terry_loss(chosen, rejected, strength)
    return losses.scaled_bradley_terry_loss(chosen, rejected, strength)


def loss_weight(recipe: Recipe, outputs: tuple[str, ...], labels: Labels, rows: NDArray[np.int64]) -> int:
    """Return over how many pairs, or rated cells, `batch_loss` averages.

    The loss of a step of several batches is sum(weight * loss) / sum(weight).
    """
    if recipe.objective != "regression":
        return len(rows)
    return int((~np.isnan(labels.ratings[rows][:, :, _columns(outputs, labels)])).sum())


def _columns(outputs: tuple[str, ...], labels: Labels) -> list[int]:
    return [labels.attributes.index(output) for output in outputs]
