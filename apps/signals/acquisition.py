"""Acquisition functions: which pair's label would teach the reward model most. A new one is an entry here.

Each gives a pair a cost, at least 0; the least costly pair is asked about first. Costs are SQL over `margin`, the
absolute difference of the two rewards, and `std`, that difference's standard deviation (1 where the model knows none).
"""

from dataclasses import dataclass

from apps.projects.models import Project


@dataclass(frozen=True)
class Acquisition:
    """A way to value pairs; `needs_spread` asks the worker to say how sure the model is of each margin."""

    cost: str
    needs_spread: bool = False


ACQUISITIONS: dict[str, Acquisition] = {
    # The probability nearest to one half first.
    Project.QueueOrder.UNCERTAIN: Acquisition("margin"),
    # Fisher information of the last layer, sigma'(margin) * d^T H^-1 d (ARM-FI, arXiv 2502.04354): its inverse.
    Project.QueueOrder.FISHER: Acquisition(
        "(2 + exp(least(margin, 300)) + exp(-least(margin, 300))) / greatest(std * std, 1e-12)", needs_spread=True
    ),
    # The largest predicted gap first (the delta selectors of ActiveUltraFeedback, arXiv 2603.09692).
    Project.QueueOrder.HIGH_GAP: Acquisition("1 / (1 + margin)"),
}
"""By the order that a project chooses; an order that is not here is the order of import."""
