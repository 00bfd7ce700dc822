"""How sure a head is: by hand, against autograd's Hessian, and in the saved folder."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.test_heads_learn_preferences import fit, labeled
from worker.core.features import FeatureCache
from worker.core.scoring import Scorer
from worker.core.training.certainty import laplace_of
from worker.core.training.objective import batch_loss
from worker.core.training.recipe import Recipe
from worker.core.uncertainty import Laplace, information, laplace, logistic_slope, probability

RNG = np.random.default_rng(11)
PAIRS = dataclasses.replace(
    labeled(RNG.normal(3, 2, size=(24, 3)), [-3, 2, 1, -1, 3, -2, 1, -1, 2, 2, -1, 3]),
    share_1=RNG.uniform(size=12).astype(np.float32),
)


def test_one_pair_by_hand() -> None:
    # x = 15 and 5 around centre 10, scale 5: z = 1 and -1, so d = 2; curvature 1/4 and decay 3 give H = 4/4 + 3 = 4
    found = information(np.array([[1.0], [-1.0]], dtype=np.float32), [0], [1], np.array([0.25])) + 3 * np.eye(1)
    assert found.tolist() == [[4.0]]
    sure = laplace(found, np.array([10.0]), np.array([5.0]))
    assert sure is not None
    # the scaled weight has deviation 1/2, the raw one 1/10
    assert sure.std([[10.0], [15.0], [0.0]]).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert sure.margin_std([[10.0]]).tolist() == pytest.approx([1.0])
    # sigma'(0) = 1/4, sigma'(ln 3) = 3/16
    assert sure.fisher([[10.0], [10.0]], [0.0, np.log(3)]).tolist() == pytest.approx([1 / 4, 3 / 16])


def test_a_direction_without_bound_has_no_distribution() -> None:
    assert laplace(np.zeros((2, 2)), np.zeros(2), np.ones(2)) is None


def test_slope_and_probability_at_their_ends() -> None:
    assert logistic_slope([0.0, 1e4, -1e4]).tolist() == [0.25, 0.0, 0.0]
    # without spread the logistic function itself; with much of it, one half
    assert probability([np.log(3), 1.0], [0.0, 1e9]).tolist() == pytest.approx([0.75, 0.5])


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(weight_decay=0.1),
        Recipe(weight_decay=0.1, objective="margin_bradley_terry"),
        Recipe(weight_decay=0.1, objective="soft_bradley_terry"),
        Recipe(weight_decay=0.1, objective="robust_bradley_terry", flip_rate=0.2),
    ],
    ids=lambda recipe: recipe.objective,
)
def test_the_curvature_is_that_of_the_objective(recipe: Recipe, tmp_path: Path) -> None:
    head = fit(tmp_path, recipe, PAIRS)
    found = laplace_of(recipe, head, PAIRS, None)
    assert found is not None
    x = torch.from_numpy(PAIRS.features.astype(np.float64))
    spread = x.std(dim=0, correction=0) * 3**0.5

    def posterior(weight: torch.Tensor) -> torch.Tensor:
        rewards = x / spread @ weight
        sides = rewards[PAIRS.first, None], rewards[PAIRS.second, None]
        loss = batch_loss(recipe, ("reward",), *sides, PAIRS, np.arange(12))
        return 12 * (loss + 0.05 * weight.square().sum())

    weight = torch.from_numpy(head.weight[0].astype(np.float64)) * spread
    hessian = torch.autograd.functional.hessian(posterior, weight)
    covariance = (torch.linalg.inv(hessian) / spread[:, None] / spread).numpy()
    mine = found.factor.T @ found.factor
    np.testing.assert_allclose(mine / np.trace(mine), covariance / np.trace(covariance), rtol=2e-3, atol=1e-6)


def test_a_regression_is_as_sure_as_bayesian_linear_regression(tmp_path: Path) -> None:
    x = PAIRS.features.astype(np.float64)
    said = (x @ [1.0, -0.5, 0.2] + RNG.normal(0, 0.5, size=24)).reshape(12, 2, 1).astype(np.float32)
    rated = dataclasses.replace(PAIRS, ratings=said, attributes=("helpfulness",))
    recipe = Recipe(objective="regression", weight_decay=1e-3, epochs=500)
    head = fit(tmp_path, recipe, rated)
    found = laplace_of(recipe, head, rated, None)
    assert found is not None
    z = (x - x.mean(axis=0)) / (x.std(axis=0) * 3**0.5)
    noise = np.square(head.rewards(PAIRS.features) - said.ravel()).mean()
    covariance = np.linalg.inv((z.T @ z + 24 * 1e-3 / 2 * np.eye(3)) / noise)
    sizes = found.std(x) / np.sqrt(np.einsum("nd,de,ne->n", z, covariance, z))
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-3)
    assert sizes[0] == pytest.approx(np.sqrt(24 / 21), rel=0.02)  # three weights of 24 ratings are fitted


def test_more_labels_make_it_surer_and_extrapolation_less_sure(tmp_path: Path) -> None:
    recipe = Recipe(weight_decay=0.01)
    many = labeled(np.tile(PAIRS.features, (9, 1)), list(PAIRS.preference) * 9)
    few_std, many_std = (_found(recipe, pairs, tmp_path).std(PAIRS.features) for pairs in (PAIRS, many))
    # nine times the evidence, and that three weights are fitted to it matters less
    np.testing.assert_allclose(many_std, few_std / 3 * np.sqrt((108 / 105) / (12 / 9)), rtol=0.1)
    beyond = dataclasses.replace(recipe, initialisation="7", extrapolation=1.5)
    start = fit(tmp_path, recipe, PAIRS)
    head = fit(tmp_path, beyond, PAIRS, initial=start)
    plain = dataclasses.replace(beyond, extrapolation=1.0)
    trained = laplace_of(plain, fit(tmp_path, plain, PAIRS, initial=start), PAIRS, start)
    stretched = laplace_of(beyond, head, PAIRS, start)
    assert trained is not None
    assert stretched is not None
    np.testing.assert_allclose(stretched.std(PAIRS.features), 1.5 * trained.std(PAIRS.features), rtol=1e-3)


def test_without_decay_nothing_is_claimed(tmp_path: Path) -> None:
    recipe = Recipe(weight_decay=0.0)
    assert laplace_of(recipe, fit(tmp_path, recipe, PAIRS), PAIRS, None) is None


@pytest.mark.parametrize(("objective", "votes"), [("bradley_terry", 1), ("soft_bradley_terry", 5)])
def test_nine_intervals_of_ten_hold_what_unlimited_labels_would_say(objective: str, votes: int, tmp_path: Path) -> None:
    """Pairs and labels are drawn from known rewards; very many pairs with exact shares are what they tend to."""
    rng, width = np.random.default_rng(5), 24
    spread = np.linspace(0.1, 1.5, width)
    truth = rng.normal(size=width) / 3
    recipe = Recipe(objective=objective, weight_decay=0.02)

    def trained(objective: str, pairs: int, votes: int | None) -> tuple[Any, Any]:
        features = rng.normal(size=(2 * pairs, width)) * spread
        share = 1 / (1 + np.exp((features[1::2] - features[0::2]) @ truth))
        said = share if votes is None else rng.binomial(votes, share) / votes
        made = labeled(features, list(np.where(said > 0.5, -1, 1)))
        made = dataclasses.replace(made, share_1=said.astype(np.float32))
        chosen = dataclasses.replace(recipe, objective=objective)
        head = fit(tmp_path, chosen, made)
        return head, laplace_of(chosen, head, made, None)

    unlimited, _ = trained("soft_bradley_terry", 8000, None)
    apart = rng.normal(size=(2000, width)) * spread * np.sqrt(2)
    covered = []
    for _ in range(8):
        head, sure = trained(objective, 300, votes)
        error = np.abs(apart @ (head.weight[0] - unlimited.weight[0]))
        covered.append(error < 1.645 * sure.margin_std(apart))
    assert 0.86 < np.mean(covered) < 0.94


def test_a_saved_model_says_how_sure_it_is(
    make_run: Callable[..., Path],
    train: Callable[..., tuple[int, list[dict[str, Any]]]],
    cache: FeatureCache,
) -> None:
    texts = [("why is red blue", "good clear"), ("why is red blue", "bad vague")]
    sure, unsure = make_run("sure"), make_run("unsure", weight_decay=0.0)
    train(sure)
    train(unsure)
    scorer = Scorer.load(sure / "model")
    rewards, deviations = scorer.score_with_uncertainty(texts, cache)
    assert deviations is not None
    assert rewards.tobytes() == scorer.score(texts, cache).tobytes()
    assert ((deviations > 0) & np.isfinite(deviations)).all()
    assert json.loads((sure / "model" / "tiebreak.json").read_text())["uncertainty"]["method"] == "laplace"
    assert Scorer.load(unsure / "model").score_with_uncertainty(texts, cache)[1] is None


def _found(recipe: Recipe, pairs: Any, tmp_path: Path) -> Laplace:
    found = laplace_of(recipe, fit(tmp_path, recipe, pairs), pairs, None)
    assert found is not None
    return found
