"""Rows in batches: the next one is read and checked in a thread while PostgreSQL checks and commits the current one."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from apps.imports.duplicates import Look, Looks
from apps.imports.rows import BadRow, ImportedPair
from apps.imports.shapes import Unit
from apps.prompts.models import canonical_json
from worker.core.seen_keys import Numbers

BATCH = 2000


@dataclass
class Batch:
    """Checked rows: comparisons and refused rows with their lines, and the line of the last row.

    `ids`, `prompts` and `contents` are numbers that two pairs share when their external id, their prompt, or all that
    they say is the same.
    `read_next` begins to prepare the next batch; best called when this thread is about to wait for the database for
    long, since the two threads share one interpreter.
    """

    pairs: list[tuple[int, ImportedPair]]
    refused: list[tuple[int, BadRow]]
    ids: Numbers
    prompts: Numbers
    contents: Numbers
    looks: Looks
    rows: int
    last_line: int
    read_next: Callable[[], None] = lambda: None


def batches_of(units: Iterator[Unit], *, split: str | None, look: Look) -> Iterator[Batch]:
    """Yield batches; each is prepared in a thread while the caller waits for the database to store the one before."""

    def prepare() -> Batch | None:
        pairs: list[tuple[int, ImportedPair]] = []
        refused: list[tuple[int, BadRow]] = []
        rows = line = 0
        for line, unit in islice(units, BATCH):
            rows += 1
            if isinstance(unit, BadRow):
                refused.append((line, unit))
            else:
                pairs += [(line, pair) for pair in unit]
        if split is not None:
            for _, pair in pairs:
                pair.metadata = {"split": split, **pair.metadata}
        return _batch(pairs, refused, look(pairs), rows, line) if rows else None

    coming: list[Future[Batch | None]] = []

    def read_next() -> None:
        if not coming:
            coming.append(reader.submit(prepare))

    with ThreadPoolExecutor(1, thread_name_prefix="import") as reader:
        read_next()
        while (batch := coming.pop().result()) is not None:
            batch.read_next = read_next
            yield batch
            read_next()


def spelled(pair: ImportedPair) -> str:
    """Return a pair's metadata in their one spelling."""
    return canonical_json(pair.metadata) if pair.metadata else "{}"


def _batch(
    pairs: list[tuple[int, ImportedPair]], refused: list[tuple[int, BadRow]], looks: Looks, rows: int, line: int
) -> Batch:
    count = len(pairs)
    ids = np.fromiter((hash(pair.external_id) for _, pair in pairs), dtype=np.int64, count=count)
    prompts = np.fromiter((hash(pair.prompt_hash) for _, pair in pairs), dtype=np.int64, count=count)
    contents = np.fromiter((_content_key(pair) for _, pair in pairs), dtype=np.int64, count=count)
    return Batch(pairs, refused, ids, prompts, contents, looks, rows, line)


def _content_key(pair: ImportedPair) -> int:
    """Return a number of 63 bits that two rows share when their content is the same."""
    said = (pair.prompt_hash, pair.hashes, pair.reference, spelled(pair), pair.gold, pair.models)
    return hash(said) & 0x7FFFFFFFFFFFFFFF
