"""What a rule states: a measured property that prefers one response of a pair, or a sentence for a language model.

The statement is what decides a verdict. Its hash is the same wherever the same statement stands, so what was found out
about it is found again whatever set or version it is in.
"""

import hashlib
import json
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.rules.properties import PROPERTIES

MORE, LESS = "more", "less"
WANTS = (MORE, LESS)
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class MeasuredRule:
    """A rule over a property: a response satisfies it that has at least (`more`) or less than (`less`) the threshold.

    In a pair, a `relative` rule prefers the response that has more (or less), whatever the threshold; another rule
    prefers the response that satisfies it where the other one does not.
    """

    name: str
    wants: str
    threshold: float
    relative: bool

    def __post_init__(self) -> None:
        if self.name not in PROPERTIES:
            raise ValueError(f"property: there is no property {self.name!r}")
        if self.wants not in WANTS:
            raise ValueError(f"wants: expected {MORE!r} or {LESS!r}")
        if isinstance(self.threshold, bool) or not isinstance(self.threshold, int | float):
            raise ValueError("threshold: expected a number")
        if not isfinite(self.threshold) or abs(self.threshold) > 1e12:
            raise ValueError("threshold: expected a number between -1e12 and 1e12")
        if not isinstance(self.relative, bool):
            raise ValueError("relative: expected true or false")

    @classmethod
    def from_parameters(cls, name: str, parameters: dict[str, Any]) -> "MeasuredRule":
        """Return the rule that a property and stored parameters make; raise ValueError `field: what is wrong`."""
        unknown = set(parameters) - {"wants", "threshold", "relative"}
        if unknown:
            raise ValueError(f"parameters: there is no parameter {sorted(unknown)[0]!r}")
        missing = {"wants", "threshold", "relative"} - set(parameters)
        if missing:
            raise ValueError(f"{sorted(missing)[0]}: this parameter is missing")
        return cls(name, parameters["wants"], parameters["threshold"], parameters["relative"])

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what is stored beside the property's name."""
        return {"wants": self.wants, "threshold": self.threshold, "relative": self.relative}

    @property
    def text(self) -> str:
        """Return the rule as a sentence for people."""
        measured, more = PROPERTIES[self.name], self.wants == MORE
        return measured.preferred(more=more) if self.relative else measured.bounded(self.threshold, more=more)

    @property
    def statement_hash(self) -> str:
        """Return the hash of property and parameters."""
        return _hash("programmatic", self.name, self.wants, float(self.threshold), self.relative)

    def verdicts(self, values: Floats) -> tuple[Bools, Bools]:
        """Return which responses satisfy it, and to which it applies (n,): a NaN is a value that does not exist."""
        applies = ~np.isnan(values)
        high = np.greater_equal(values, self.threshold, where=applies, out=np.zeros(values.shape, dtype=np.bool_))
        return applies & (high if self.wants == MORE else ~high), applies

    def votes(self, first: Floats, second: Floats) -> NDArray[np.int8]:
        """Return what it prefers in each pair (m,): −1 response 1, 1 response 2, 0 neither."""
        if self.relative:
            apart = np.nan_to_num(second - first, nan=0.0)
            return (np.sign(apart) * (1 if self.wants == MORE else -1)).astype(np.int8)
        (yes_1, applies_1), (yes_2, applies_2) = self.verdicts(first), self.verdicts(second)
        return np.where(applies_1 & applies_2, yes_2.astype(np.int8) - yes_1.astype(np.int8), 0).astype(np.int8)


def sentence_hash(text: str) -> str:
    """Return the hash of a sentence that a language model reads: spaces and the case of letters do not matter."""
    return _hash("language_model", " ".join(text.split()).casefold())


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
