"""The objectives, against values worked out by hand and identities of the paper."""

import math
from collections.abc import Callable

import pytest
import torch

from worker.core.losses import (
    bradley_terry_loss,
    conservative_bradley_terry_loss,
    margin_bradley_terry_loss,
    masked_regression_loss,
    noisy_bradley_terry_loss,
    robust_bradley_terry_loss,
    scaled_bradley_terry_loss,
    soft_bradley_terry_loss,
)

LN2, LN3 = math.log(2), math.log(3)
# sigmoid(ln 3) = 3/4 and sigmoid(-ln 3) = 1/4
CHOSEN = torch.tensor([LN3, 0.0, 1.0])
REJECTED = torch.tensor([0.0, LN3, 1.0])
GENERATOR = torch.Generator().manual_seed(0)
RANDOM = torch.randn(2, 50, generator=GENERATOR)


def test_bradley_terry_by_hand() -> None:
    # -ln(3/4), -ln(1/4), -ln(1/2); their mean is ln(32/3) / 3
    assert bradley_terry_loss(CHOSEN, REJECTED).item() == pytest.approx(math.log(32 / 3) / 3)


def test_margin_bradley_terry_by_hand() -> None:
    # the gap ln 3 less the margin ln 3 is 0: -ln(1/2); the gap 0 less ln 3: -ln(1/4)
    chosen, rejected = torch.tensor([LN3, 0.0]), torch.tensor([0.0, 0.0])
    loss = margin_bradley_terry_loss(chosen, rejected, torch.tensor([LN3, LN3]))
    assert loss.item() == pytest.approx((LN2 + 2 * LN2) / 2)


def test_scaled_bradley_terry_by_hand() -> None:
    # 1 * -ln(3/4), 2 * -ln(1/4), 3 * -ln(1/2), divided by the number of pairs
    expected = (math.log(4 / 3) + 2 * math.log(4) + 3 * LN2) / 3
    loss = scaled_bradley_terry_loss(CHOSEN, REJECTED, torch.tensor([1.0, 2.0, 3.0]))
    assert loss.item() == pytest.approx(expected)


def test_masked_regression_by_hand() -> None:
    predicted = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = torch.tensor([[2.0, math.nan], [1.0, -100.0]])
    loss = masked_regression_loss(predicted, target, torch.tensor([[True, False], [True, False]]))
    assert loss.item() == pytest.approx((1 + 4) / 2)
    loss.backward()
    assert predicted.grad is not None
    # d/dp of (p - y)^2 / 2 cells; masked cells have no gradient, not even NaN
    assert predicted.grad.tolist() == [[-1.0, 0.0], [2.0, 0.0]]


def test_regression_with_everything_masked_is_zero() -> None:
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    assert masked_regression_loss(torch.ones(2, 2), torch.full((2, 2), math.nan), nothing).item() == 0.0


def test_a_scale_of_one_is_the_regular_loss() -> None:
    ones = torch.ones(50)
    assert scaled_bradley_terry_loss(*RANDOM, ones).item() == pytest.approx(bradley_terry_loss(*RANDOM).item())


def test_a_margin_of_zero_is_the_regular_loss() -> None:
    zeros = torch.zeros(50)
    assert margin_bradley_terry_loss(*RANDOM, zeros).item() == pytest.approx(bradley_terry_loss(*RANDOM).item())


def test_a_scale_of_zero_is_no_loss() -> None:
    assert scaled_bradley_terry_loss(*RANDOM, torch.zeros(50)).item() == 0.0


def test_scaling_by_strength_is_repeating_a_pair() -> None:
    # view (i) of the paper: m = 2 is the pair twice; the code divides by the pairs there are, here 1 against 2
    chosen, rejected = torch.tensor([0.3]), torch.tensor([-0.2])
    twice = bradley_terry_loss(chosen.repeat(2), rejected.repeat(2)) * 2
    assert scaled_bradley_terry_loss(chosen, rejected, torch.tensor([2.0])).item() == pytest.approx(twice.item())


@pytest.mark.parametrize("gap", [-1e4, 1e4])
def test_extreme_gaps_stay_finite(gap: float) -> None:
    chosen = torch.tensor([gap], requires_grad=True)
    loss = bradley_terry_loss(chosen, torch.zeros(1))
    loss.backward()
    assert loss.item() == pytest.approx(max(0.0, -gap))
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(-1.0 if gap < 0 else 0.0)


def test_soft_labels_by_hand() -> None:
    # gap ln 3 with 2 of 3 voters for response 1: -2/3 ln(3/4) - 1/3 ln(1/4); gap 0: ln 2 whatever the votes
    expected = (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(4) + LN2) / 2
    loss = soft_bradley_terry_loss(torch.tensor([LN3, 1.0]), torch.tensor([0.0, 1.0]), torch.tensor([2 / 3, 0.2]))
    assert loss.item() == pytest.approx(expected)


def test_a_unanimous_vote_is_the_regular_loss_of_that_side() -> None:
    assert soft_bradley_terry_loss(*RANDOM, torch.ones(50)).item() == pytest.approx(bradley_terry_loss(*RANDOM).item())
    for_second = soft_bradley_terry_loss(*RANDOM, torch.zeros(50)).item()
    assert for_second == pytest.approx(bradley_terry_loss(RANDOM[1], RANDOM[0]).item())


def test_a_tie_pulls_both_rewards_together_and_is_content_there() -> None:
    rewards = torch.tensor([LN3, 0.0]), torch.tensor([0.0, 0.0])
    gaps = [side.clone().requires_grad_() for side in rewards]
    soft_bradley_terry_loss(gaps[0], gaps[1], torch.full((2,), 0.5)).backward()
    assert gaps[0].grad is not None
    # d/dr_1 = sigmoid(gap) - q over 2 pairs: (3/4 - 1/2) / 2, and 0 where the gap is 0
    assert gaps[0].grad.tolist() == pytest.approx([0.125, 0.0])


@pytest.mark.parametrize("loss", [conservative_bradley_terry_loss, robust_bradley_terry_loss, noisy_bradley_terry_loss])
def test_without_flips_the_noise_aware_losses_are_the_regular_one(loss: Callable[..., torch.Tensor]) -> None:
    assert loss(*RANDOM, 0.0).item() == pytest.approx(bradley_terry_loss(*RANDOM).item())


def test_the_conservative_loss_is_least_at_the_gap_that_predicts_the_flips() -> None:
    # one label in four is wrong, so the best probability is 3/4, at gap ln 3, where the loss is the entropy of 1/4
    chosen = torch.tensor([LN3], requires_grad=True)
    loss = conservative_bradley_terry_loss(chosen, torch.zeros(1), 0.25)
    loss.backward()
    assert loss.item() == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_the_robust_loss_is_unbiased_over_flipped_labels() -> None:
    # Lemma 3.1 of arXiv 2403.00409: E over flips of the robust loss = the regular loss of the true label
    chosen, rejected = RANDOM
    mean = 0.8 * robust_bradley_terry_loss(chosen, rejected, 0.2) + 0.2 * robust_bradley_terry_loss(
        rejected, chosen, 0.2
    )
    assert mean.item() == pytest.approx(bradley_terry_loss(chosen, rejected).item(), rel=1e-5)
    # gap 0 alone: (-(1 - e) + e) ln(1/2) / (1 - 2e) = ln 2
    assert robust_bradley_terry_loss(torch.zeros(1), torch.zeros(1), 0.2).item() == pytest.approx(LN2)


def test_the_noisy_likelihood_by_hand_and_its_bounded_pull() -> None:
    # gap ln 3 at e = 1/4: -ln(3/4 * 3/4 + 1/4 * 1/4) = -ln(5/8)
    assert noisy_bradley_terry_loss(torch.tensor([LN3]), torch.zeros(1), 0.25).item() == pytest.approx(math.log(8 / 5))
    chosen = torch.tensor([-40.0], requires_grad=True)
    loss = noisy_bradley_terry_loss(chosen, torch.zeros(1), 0.25)
    loss.backward()
    # the model is sure that the label is wrong: it pays ln 4 and is left alone
    assert loss.item() == pytest.approx(math.log(4))
    assert chosen.grad is not None
    assert abs(chosen.grad.item()) < 1e-6
