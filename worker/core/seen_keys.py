"""Remember millions of keys in sixteen bytes each, and look up a batch of them at once."""

import numpy as np
from numpy.typing import NDArray

MISSING = -1
Numbers = NDArray[np.int64]


class SeenKeys:
    """A map from 64-bit keys to values of 0 or more; a key that is added twice keeps its first value.

    Sorted runs that double in length, as in a log-structured merge tree: adding n keys in batches costs O(n log n), a
    look-up one binary search per run.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Numbers, Numbers]] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._runs)

    def find(self, keys: Numbers) -> Numbers:
        """Return the values of these keys, MISSING where one is not there; all of shape (n,)."""
        found = np.full(len(keys), MISSING, dtype=np.int64)
        for known, values in reversed(self._runs):  # older runs are in front and win
            places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            hit = known[places] == keys
            found[hit] = values[places[hit]]
        return found

    def add(self, keys: Numbers, values: Numbers) -> None:
        """Add keys with their values, both of shape (n,)."""
        if not len(keys):
            return
        run = _first_of_each(keys, values)
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            older = self._runs.pop()
            run = _first_of_each(np.concatenate([older[0], run[0]]), np.concatenate([older[1], run[1]]))
        self._runs.append(run)


def _first_of_each(keys: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    kept, first = np.unique(keys, return_index=True)
    return kept, values[first]
