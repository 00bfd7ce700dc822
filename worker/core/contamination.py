"""Find texts that share long word sequences with a benchmark: 13-gram overlap (GPT-3, arXiv 2005.14165, appendix C)."""

from collections.abc import Iterable

import numpy as np

from worker.core.near_duplicates import shingle_hashes, words_of
from worker.core.seen_keys import MISSING, Numbers, SeenKeys

GRAM_WORDS = 13


class Benchmark:
    """The prompts of a benchmark, as the hashes of their runs of thirteen words in lower case, letters and digits only.

    A prompt with fewer words counts where a whole text says the same.
    """

    def __init__(self, prompts: Iterable[str]) -> None:
        self._runs, self._short = SeenKeys(), SeenKeys()
        runs: list[Numbers] = []
        short: list[Numbers] = []
        for number, prompt in enumerate(prompts):
            words = words_of(prompt)
            keys = shingle_hashes(words, GRAM_WORDS).astype(np.int64)
            numbered = np.stack([keys, np.full(len(keys), number, dtype=np.int64)])
            (runs if len(words) >= GRAM_WORDS else short).append(numbered)
        for table, parts in ((self._runs, runs), (self._short, short)):
            if parts:
                table.add(*np.concatenate(parts, axis=1))

    def match(self, text: str) -> int | None:
        """Return the number of the first prompt, from 0, that a text shares a run with; None where it shares none."""
        words = words_of(text)
        table = self._runs if len(words) >= GRAM_WORDS else self._short
        found = table.find(shingle_hashes(words, GRAM_WORDS).astype(np.int64))
        hits = found[found != MISSING]
        return int(hits[0]) if len(hits) else None
