"""Assign prompts to splits: by content, so no prompt is in two splits and no prompt moves when data grows."""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate


class Splits:
    """Splits with their shares and a seed; `shares` maps names, in any order, to shares that add up to 1."""

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        ordered = sorted(shares.items())
        self._seed = seed
        self._names = [name for name, _share in ordered]
        self._edges = list(accumulate(share for _name, share in ordered[:-1]))

    def of(self, prompt_hash: str) -> str:
        """Return the split of a prompt."""
        digest = hashlib.sha256(f"{self._seed}:{prompt_hash}".encode()).digest()
        return self._names[bisect_right(self._edges, int.from_bytes(digest[:8]) / 2**64)]


def split_of(prompt_hash: str, splits: Mapping[str, float], seed: int) -> str:
    """Return the split of one prompt; see `Splits` for many."""
    return Splits(splits, seed).of(prompt_hash)
