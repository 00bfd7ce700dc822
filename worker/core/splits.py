"""Assign prompts to splits: by content, so no prompt is in two splits and no prompt moves when data grows."""

import hashlib
from collections.abc import Mapping


def split_of(prompt_hash: str, splits: Mapping[str, float], seed: int) -> str:
    """Return the split of a prompt; `splits` maps names, in any order, to shares that add up to 1."""
    digest = hashlib.sha256(f"{seed}:{prompt_hash}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    edge = 0.0
    for name, share in sorted(splits.items()):
        edge += share
        if place < edge:
            return name
    return name
