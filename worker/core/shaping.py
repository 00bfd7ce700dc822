"""Bounded, centred forms of raw rewards: derived when they are asked for, never stored.

The comparison of these in RL is "Reward Shaping to Mitigate Reward Hacking in RLHF" (PAR, arXiv 2502.18770); formulas
and pitfalls as in its code. What a shaper compares with is frozen: statistics of a version, or references of the same
prompt that the same version has scored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import exp, isfinite, log1p, tanh
from statistics import NormalDist
from typing import Any

Shape = Callable[[float, "Statistics | None", Sequence[float]], float]
UPPER_QUANTILE = NormalDist().inv_cdf(0.85)  # 1.03643
"""Standard deviations above the mean at which a normal distribution's 85th percentile lies."""


class Needs(StrEnum):
    """What a shaper compares a reward with."""

    NOTHING = "nothing"
    STATISTICS = "statistics"
    REFERENCES = "references"


@dataclass(frozen=True)
class Statistics:
    """What the rewards of a fixed set of responses add up to; `std` is the population's. Raises ValueError."""

    n: int
    mean: float
    std: float
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError("Statistics of rewards need at least two responses.")
        if not all(isfinite(value) for value in (self.mean, self.std, self.minimum, self.maximum)):
            raise ValueError("Statistics of rewards are finite numbers.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Statistics":
        """Read what `to_dict` wrote; other keys are left alone."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)

    @property
    def upper(self) -> float:
        """Return the 85th percentile of a normal distribution with this mean and deviation."""
        return self.mean + UPPER_QUANTILE * self.std


def standardise(value: float, statistics: Statistics) -> float:
    """Return (r - mean) / std. Raise ValueError when all rewards were the same."""
    if statistics.std == 0:
        raise ValueError("All rewards behind the statistics are the same, so they have no scale to divide by.")
    return (value - statistics.mean) / statistics.std


def min_max(value: float, statistics: Statistics) -> float:
    """Return (r - min) / (max - min): 0 to 1 within what was seen, beyond for rewards beyond. Raise ValueError."""
    spread = statistics.maximum - statistics.minimum
    if spread == 0:
        raise ValueError("All rewards behind the statistics are the same, so they have no scale to divide by.")
    return (value - statistics.minimum) / spread


def clip(value: float, statistics: Statistics) -> float:
    """Return r, held between mean - std and mean + std."""
    return min(max(value, statistics.mean - statistics.std), statistics.mean + statistics.std)


def log_sigmoid_centred(value: float, statistics: Statistics) -> float:
    """Return log sigmoid(r - r85), r85 the 85th percentile of a normal distribution; never above 0."""
    return log_sigmoid(value - statistics.upper)


def preference_as_reward(value: float, references: Sequence[float]) -> float:
    """Return the mean of σ(value − reference): under Bradley–Terry, how likely it beats a reference (PAR, section C.1).

    It is the mean of sigmoids, not the sigmoid of the mean. Raise ValueError without references.
    """
    if not references:
        raise ValueError("A reward is shaped against at least one reference.")
    return sum(sigmoid(value - reference) for reference in references) / len(references)


@dataclass(frozen=True)
class Shaper:
    """A named shape: what it needs, and its formula in words."""

    name: str
    needs: Needs
    formula: str
    shape: Shape


def _against(shape: Callable[[float, Statistics], float]) -> Shape:
    def shaped(value: float, statistics: Statistics | None, references: Sequence[float]) -> float:
        if statistics is None:
            raise ValueError("There are no statistics to shape rewards with.")
        return shape(value, statistics)

    return shaped


SHAPERS: dict[str, Shaper] = {
    shaper.name: shaper
    for shaper in (
        Shaper("none", Needs.NOTHING, "r", lambda value, statistics, references: value),
        Shaper("standardise", Needs.STATISTICS, "(r − mean) / std", _against(standardise)),
        Shaper("min_max", Needs.STATISTICS, "(r − min) / (max − min)", _against(min_max)),
        Shaper("clip", Needs.STATISTICS, "r within mean ± std", _against(clip)),
        Shaper("log_sigmoid_centred", Needs.STATISTICS, "log σ(r − mean − 1.03643 std)", _against(log_sigmoid_centred)),
        Shaper("tanh", Needs.NOTHING, "tanh(r)", lambda value, statistics, references: tanh(value)),
        Shaper(
            "par",
            Needs.REFERENCES,
            "mean of σ(r − reference)",
            lambda value, statistics, references: preference_as_reward(value, references),
        ),
    )
}
_OTHER_NAMES = {
    "standardize": "standardise",
    "meanstd": "standardise",
    "minmax": "min_max",
    "lsc": "log_sigmoid_centred",
    "log_sigmoid_centered": "log_sigmoid_centred",
    "preference_as_reward": "par",
}


def find_shaper(name: str) -> Shaper:
    """Return the shaper of this name, however it is spelt; raise ValueError that lists the names."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    found = SHAPERS.get(_OTHER_NAMES.get(plain, plain))
    if found is None:
        raise ValueError(f"There is no shaping {name[:40]!r}; known are {', '.join(SHAPERS)}.")
    return found


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x) without overflow."""
    if x >= 0:
        return 1 / (1 + exp(-x))
    grown = exp(x)
    return grown / (1 + grown)


def log_sigmoid(x: float) -> float:
    """Return log σ(x); where σ(x) is too small for a float, still right."""
    return -log1p(exp(-x)) if x >= 0 else x - log1p(exp(x))
