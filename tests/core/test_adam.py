"""Our Adam takes torch's steps."""

import torch

from worker.core.training.adam import Adam


def test_it_takes_the_steps_of_torch() -> None:
    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs, still = (start.clone().requires_grad_() for _ in range(3))
    adam, peer = Adam([ours, still]), torch.optim.Adam([theirs], lr=0.1)
    for number in range(1, 30):
        for group in peer.param_groups:
            group["lr"] = 0.1 / number
        for weight in (ours, theirs):
            (weight.square() * torch.arange(4.0)).sum().mul(number).backward()
        adam.step(number, 0.1 / number)
        peer.step()
        peer.zero_grad()
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(still, start)
