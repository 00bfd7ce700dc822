"""No text goes through a backbone twice, and a damaged cache costs time, never a wrong vector."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from worker.core.backbone import Backbone
from worker.core.features import FeatureCache, cached_features, feature_key

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [("why", "good"), ("why", "bad"), ("how is the sea", "clear kind"), ("why", "good")]
KEYS = [feature_key("r", "p", str(number)) for number in range(1200)]
VECTORS = {key: np.full(8, number, dtype=np.float32) for number, key in enumerate(KEYS)}


def test_vectors_come_back_as_they_went_in(cache: FeatureCache) -> None:
    vectors = {key: np.random.default_rng(1).normal(size=384).astype(np.float32) for key in KEYS[:3]}
    cache.put_many(vectors)
    found = cache.get_many([*KEYS[:3], KEYS[5]])
    assert set(found) == set(vectors)
    for key, vector in vectors.items():
        assert found[key].dtype == np.float32
        np.testing.assert_array_equal(found[key], vector)


def test_more_keys_than_one_query_holds(cache: FeatureCache) -> None:
    cache.put_many(VECTORS)
    found = cache.get_many(KEYS)
    assert [float(found[key][0]) for key in KEYS] == list(range(1200))


def test_the_key_depends_on_backbone_prompt_and_response() -> None:
    keys = {feature_key(*parts) for parts in [("r", "p", "s"), ("q", "p", "s"), ("r", "ps", ""), ("r", "", "ps")]}
    assert len(keys) == 4


def test_equal_pairs_are_computed_once_and_known_ones_not_at_all(encoder_folder: Path, cache: FeatureCache) -> None:
    first, hits, computed = cached_features(Backbone(encoder_folder, "mean", 48), cache, TEXTS)
    assert (hits, computed) == (0, 3)
    np.testing.assert_array_equal(first[0], first[3])

    fresh = Backbone(encoder_folder, "mean", 48)
    seen: list[tuple[int, int, int, int]] = []
    second, hits, computed = cached_features(fresh, cache, TEXTS, on_progress=lambda *event: seen.append(event))
    assert (hits, computed) == (3, 0)
    assert seen == [(3, 3, 3, 0)]
    assert not fresh.is_loaded
    np.testing.assert_array_equal(first, second)


def test_only_new_texts_reach_the_backbone(encoder_folder: Path, cache: FeatureCache) -> None:
    backbone = Backbone(encoder_folder, "mean", 48)
    cached_features(backbone, cache, TEXTS)
    vectors, hits, computed = cached_features(backbone, cache, [*TEXTS, ("what", "wrong")])
    assert (hits, computed) == (3, 1)
    np.testing.assert_allclose(vectors[-1], backbone.features([("what", "wrong")])[0], atol=1e-6)


def test_a_batch_is_stored_before_the_next_one_is_computed(encoder_folder: Path, cache: FeatureCache) -> None:
    class Enough(Exception):
        pass

    def stop(done: int, total: int, hits: int, computed: int) -> None:
        if computed == 2:
            raise Enough

    backbone = Backbone(encoder_folder, "mean", 48)
    with pytest.raises(Enough):
        cached_features(backbone, cache, TEXTS, batch_tokens=1, on_progress=stop)
    _, hits, computed = cached_features(backbone, cache, TEXTS, batch_tokens=1)
    assert (hits, computed) == (2, 1)


def test_no_texts_are_no_features(encoder_folder: Path, cache: FeatureCache) -> None:
    vectors, hits, computed = cached_features(Backbone(encoder_folder, "mean", 48), cache, [])
    assert (len(vectors), hits, computed) == (0, 0, 0)


def test_a_file_that_is_no_database_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "features.sqlite"
    path.write_bytes(b"not a database, " * 100)
    with caplog.at_level(logging.WARNING), FeatureCache(path) as cache:
        cache.put_many({KEYS[0]: VECTORS[KEYS[0]]})
        assert set(cache.get_many(KEYS)) == {KEYS[0]}
    assert "was damaged" in caplog.text
    (aside,) = tmp_path.glob("features.sqlite.corrupt-*")
    assert aside.read_bytes().startswith(b"not a database")


def test_a_file_damaged_in_the_middle_is_rebuilt_while_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "features.sqlite"
    with FeatureCache(path) as cache:
        cache.put_many(VECTORS)
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)  # the first page, with the schema, stays whole
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING), FeatureCache(path) as cache:
        assert cache.get_many(KEYS) == {}
        cache.put_many(VECTORS)
        assert len(cache.get_many(KEYS)) == len(KEYS)
    assert "was damaged" in caplog.text
    assert len(list(tmp_path.glob("features.sqlite.corrupt-*"))) == 1


def test_a_vector_with_a_flipped_bit_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    with FeatureCache(path) as cache:
        cache.put_many({KEYS[0]: VECTORS[KEYS[0]], KEYS[1]: VECTORS[KEYS[1]]})
    with sqlite3.connect(path) as connection:
        blob = bytearray(
            connection.execute("SELECT vector FROM features WHERE key = ?", [bytes.fromhex(KEYS[0])]).fetchone()[0]
        )
        blob[7] ^= 1
        connection.execute("UPDATE features SET vector = ? WHERE key = ?", [bytes(blob), bytes.fromhex(KEYS[0])])
    connection.close()
    with FeatureCache(path) as cache:
        assert set(cache.get_many(KEYS[:2])) == {KEYS[1]}


def test_a_locked_file_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    with FeatureCache(path, busy_seconds=0.05) as cache:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            cache.put_many({KEYS[0]: VECTORS[KEYS[0]]})
        other.close()
        cache.put_many({KEYS[0]: VECTORS[KEYS[0]]})
    assert list(tmp_path.glob("*.corrupt-*")) == []


WRITER = """
import sys
from pathlib import Path
import numpy as np
from worker.core.features import FeatureCache, feature_key
name, count = sys.argv[2], int(sys.argv[3])
with FeatureCache(Path(sys.argv[1])) as cache:
    for number in range(count):
        cache.put_many({feature_key("r", name, str(number * 10 + n)): np.full(64, n, np.float32) for n in range(10)})
        print(number, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_processes_write_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    writers = [writer(path, name, 40) for name in ("a", "b", "c")]
    assert [process.wait(timeout=60) for process in writers] == [0, 0, 0]
    for process in writers:
        assert process.stdout is not None
        process.stdout.close()
    keys = [feature_key("r", name, str(number)) for name in ("a", "b", "c") for number in range(400)]
    with FeatureCache(path) as cache:
        assert len(cache.get_many(keys)) == 1200


def test_a_killed_writer_leaves_whole_batches_and_a_usable_file(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    process = writer(path, "a", 1_000_000)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 30:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    process.stdout.close()
    with FeatureCache(path) as cache:
        found = cache.get_many([feature_key("r", "a", str(number)) for number in range(100_000)])
        assert len(found) >= 310
        assert len(found) % 10 == 0
        cache.put_many({KEYS[0]: VECTORS[KEYS[0]]})
    assert list(tmp_path.glob("*.corrupt-*")) == []
