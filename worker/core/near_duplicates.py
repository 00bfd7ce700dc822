"""Find texts that are nearly the same: MinHash over word shingles, with banding (Broder 1997; Leskovec et al., 3)."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.seen_keys import MISSING, Numbers, SeenKeys

SHINGLE_WORDS = 5
BANDS, ROWS = 12, 5
"""Two texts with Jaccard similarity s meet in a band with probability 1 − (1 − s⁵)¹²: 0.99 at 0.8, 0.32 at 0.5."""
SIMILAR = 0.8
_PRIME = np.uint64((1 << 61) - 1)
_WORD = re.compile(r"[^\W_]+")
Signature = NDArray[np.uint32]


@dataclass(frozen=True)
class Match:
    """An earlier text and the estimated Jaccard similarity.

    It is known by the number it was added with, or by its place where it was looked up together with this one.
    """

    similarity: float
    number: int | None = None
    place: int | None = None


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, letters and digits only."""
    return _WORD.findall(text.lower())


def shingle_hashes(words: Sequence[str], size: int) -> NDArray[np.uint64]:
    """Return one hash for each run of `size` words; a shorter text is one run."""
    if not words:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.array([zlib.crc32(word.encode()) for word in words], dtype=np.uint64)
    size = min(size, len(words))
    count = len(words) - size + 1
    mixed = np.full(count, size, dtype=np.uint64)
    for place in range(size):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + hashes[place : place + count]
        mixed ^= mixed >> np.uint64(29)
    return mixed


class NearDuplicates:
    """Texts by their signatures, in 60 + 12 × 16 bytes each."""

    def __init__(self, seed: int = 0) -> None:
        dice = np.random.default_rng(seed)
        self._factors = dice.integers(1, 1 << 63, BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
        self._offsets = dice.integers(0, 1 << 63, BANDS * ROWS, dtype=np.uint64)
        self._bands = [SeenKeys() for _ in range(BANDS)]
        self._blocks: list[tuple[NDArray[np.uint8], Numbers]] = []
        self._starts = [0]

    def signature(self, text: str) -> Signature:
        """Return the MinHash signature of a text, of shape (BANDS × ROWS,)."""
        shingles = np.unique(shingle_hashes(words_of(text), SHINGLE_WORDS))
        if not len(shingles):
            return np.zeros(BANDS * ROWS, dtype=np.uint32)
        mixed = shingles[None, :] * self._factors[:, None] + self._offsets[:, None]
        return (mixed >> np.uint64(32)).min(axis=1).astype(np.uint32)

    def find(self, signatures: NDArray[np.uint32]) -> list[Match | None]:
        """Return the most similar text for each of the (n, BANDS × ROWS) signatures, if one is similar enough.

        Texts that were added count, and those that stand before it in `signatures`.
        """
        best: list[Match | None] = [None] * len(signatures)
        for band, keys in zip(self._bands, self._keys(signatures), strict=True):
            here: dict[int, int] = {}
            for place, (index, key) in enumerate(zip(band.find(keys).tolist(), keys.tolist(), strict=True)):
                if index != MISSING:
                    best[place] = self._better(best[place], signatures[place], index)
                before = here.setdefault(key, place)
                if before != place:
                    best[place] = _nearer(best[place], _similarity(signatures[place], signatures[before]), place=before)
        return best

    def add(self, signatures: NDArray[np.uint32], numbers: Numbers) -> None:
        """Add texts with the numbers by which they are known."""
        start = self._starts[-1]
        indices = np.arange(start, start + len(signatures), dtype=np.int64)
        for band, keys in zip(self._bands, self._keys(signatures), strict=True):
            band.add(keys, indices)
        self._blocks.append((_last_bytes(signatures), numbers))
        self._starts.append(start + len(signatures))

    def _better(self, old: "Match | None", signature: Signature, index: int) -> "Match | None":
        block = int(np.searchsorted(self._starts, index, side="right")) - 1
        signatures, numbers = self._blocks[block]
        offset = index - self._starts[block]
        return _nearer(old, _similarity(signature, signatures[offset]), number=int(numbers[offset]))

    def _keys(self, signatures: NDArray[np.uint32]) -> list[Numbers]:
        bands = signatures.reshape(len(signatures), BANDS, ROWS).astype(np.uint64)
        keys = np.zeros((len(signatures), BANDS), dtype=np.uint64)
        for row in range(ROWS):
            keys = keys * _PRIME + bands[:, :, row]
        return [keys[:, band].astype(np.int64) for band in range(BANDS)]


def _last_bytes(signatures: NDArray[Any]) -> NDArray[np.uint8]:
    return signatures.astype(np.uint8)


def _similarity(signature: Signature, other: Signature | NDArray[np.uint8]) -> float:
    """Estimate the Jaccard similarity from the last byte of each minimum (b-bit MinHash, Li and König 2010)."""
    same = float(np.mean(_last_bytes(signature) == _last_bytes(other)))
    return max(0.0, (same - 1 / 256) / (1 - 1 / 256))


def _nearer(old: Match | None, similarity: float, **which: int) -> Match | None:
    if similarity < SIMILAR or (old is not None and old.similarity >= similarity):
        return old
    return Match(similarity=similarity, **which)
