"""A cache of backbone features on disk, so that no text goes through a backbone twice."""

import fcntl
import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from worker.core.backbone import Backbone, Features, Texts
from worker.core.conversation import ChatPrompt, content_hash

logger = logging.getLogger(__name__)

BUSY_SECONDS = 60.0
KEYS_PER_QUERY = 500
CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

Result = TypeVar("Result")
# done, total, hits, computed
OnProgress = Callable[[int, int, int, int], None]


def feature_key(revision: str, prompt: str, response: str, *, turns: bool = False) -> str:
    """Return the key of a vector: what it was computed from and by what.

    The turns of a prompt count where decoders read them; a prompt that is one text has the same key for everyone.
    """
    if isinstance(prompt, ChatPrompt) and turns:
        return content_hash(revision, *(part for turn in prompt.turns for part in turn), response)
    return content_hash(revision, prompt, response)


class FeatureCache:
    """Float32 vectors by content hash in one SQLite file, shared by several processes on one machine.

    Write-ahead logging lets readers and a writer work at once and survives SIGKILL; the file must be on a
    local disk. Each vector carries a checksum; a damaged one counts as absent. A damaged file is moved aside
    and a new one is begun: a cache may be lost, never wrong. Open it in the process and thread that use it.
    """

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path, self._busy_seconds = path, busy_seconds
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = self._open()

    def get_many(self, keys: Sequence[str]) -> dict[str, Features]:
        """Return the vectors that are there, by key; one query per 500 keys."""
        return self._healing(lambda: self._get_many(keys))

    def put_many(self, vectors: Mapping[str, Features]) -> None:
        """Store vectors in one transaction; a key that is there already is overwritten."""
        rows = [(bytes.fromhex(key), _packed(vector)) for key, vector in vectors.items()]
        self._healing(lambda: self._put_many(rows))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _get_many(self, keys: Sequence[str]) -> dict[str, Features]:
        found: dict[str, Features] = {}
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = [bytes.fromhex(key) for key in keys[start : start + KEYS_PER_QUERY]]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, vector FROM features WHERE key IN ({marks})"  # noqa: S608 question marks only
            for key, blob in self._connection.execute(query, part):
                vector = _unpacked(blob)
                if vector is not None:
                    found[key.hex()] = vector
        return found

    def _put_many(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO features (key, vector) VALUES (?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        """Open or create the file, under a lock, so that only one process moves a damaged file aside."""
        with self._lock():
            try:
                connection = _connect(self.path, self._busy_seconds)
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
                self._move_aside(error)
                connection = _connect(self.path, self._busy_seconds)
            self._inode = self.path.stat().st_ino
        return connection

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with self.path.with_name(self.path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self.path.with_name(f"{self.path.name}.corrupt-{time.time_ns()}")
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        logger.warning(
            "The feature cache %s was damaged (%s). It is now %s; a new one is begun.",
            self.path,
            error,
            aside,
        )

    def _healing(self, action: Callable[[], Result]) -> Result:
        """Run an action; when the file turns out damaged, begin a new one and run it again."""
        try:
            return action()
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise
            self._connection.close()
            with self._lock():
                # Another process may have moved the file aside already; its new one is not ours to move.
                if self.path.exists() and self.path.stat().st_ino == self._inode:
                    self._move_aside(error)
            self._connection = self._open()
        return action()


def cached_features(
    backbone: Backbone,
    cache: FeatureCache,
    pairs: Sequence[Texts],
    batch_tokens: int = 8192,
    on_progress: OnProgress | None = None,
) -> tuple[Features, int, int]:
    """Return the features of (prompt, response) pairs (n, d), the number of hits, and of computed ones.

    Equal pairs count once. Each batch is stored as soon as it is computed, so a killed run loses one batch.
    With everything cached the backbone's weights are never loaded.
    """
    turns = backbone.pooling == "last"
    keys = [feature_key(backbone.revision, prompt, response, turns=turns) for prompt, response in pairs]
    texts = dict(zip(keys, pairs, strict=True))
    found = cache.get_many(list(texts))
    missing = [key for key in texts if key not in found]
    hits, total = len(found), len(texts)
    report = on_progress or (lambda done, total, hits, computed: None)
    report(hits, total, hits, 0)

    def store(rows: list[int], vectors: Features) -> None:
        batch = {missing[row]: vector for row, vector in zip(rows, vectors, strict=True)}
        cache.put_many(batch)
        found.update(batch)
        report(len(found), total, hits, len(found) - hits)

    if missing:
        backbone.features([texts[key] for key in missing], batch_tokens, on_batch=store)
    if not pairs:
        return np.empty((0, 0), dtype=np.float32), 0, 0
    return np.stack([found[key] for key in keys]), hits, len(missing)


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_seconds)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    # The low byte is the primary code; "locked" and "full" are DatabaseErrors too and must not cost anyone
    # the cache.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in CORRUPT


def _packed(vector: Features) -> bytes:
    values = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return zlib.crc32(values).to_bytes(4, "little") + values


def _unpacked(blob: bytes) -> Features | None:
    if len(blob) < 8 or zlib.crc32(blob[4:]) != int.from_bytes(blob[:4], "little"):
        return None
    return np.frombuffer(blob, dtype="<f4", offset=4)
