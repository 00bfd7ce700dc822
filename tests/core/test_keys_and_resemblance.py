"""Keys that were seen, texts that resemble each other, and word runs of a benchmark."""

import numpy as np

from worker.core.contamination import Benchmark
from worker.core.near_duplicates import NearDuplicates, words_of
from worker.core.seen_keys import MISSING, SeenKeys

WORDS = [f"word{number}" for number in range(200)]


def test_keys_keep_their_first_value_over_many_batches():
    dice, seen, expected = np.random.default_rng(0), SeenKeys(), {}
    for batch in range(40):
        keys = dice.integers(-500, 500, size=50)
        seen.add(keys, np.full(50, batch))
        for key in keys.tolist():
            expected.setdefault(key, batch)
    asked = np.arange(-510, 510)
    assert seen.find(asked).tolist() == [expected.get(key, MISSING) for key in asked.tolist()]
    assert len(seen) < 2000


def test_the_nearest_text_is_found_with_about_its_similarity():
    near = NearDuplicates()
    changed = [*WORDS[:100], "other", *WORDS[101:]]  # 5 of 196 shingles differ: Jaccard 191 / 201 = 0.95
    signatures = [near.signature(" ".join(words)) for words in (WORDS, list(reversed(WORDS)))]
    near.add(np.stack(signatures), np.array([70, 80]))
    found, other = near.find(np.stack([near.signature(" ".join(changed)), near.signature("nothing of the kind")]))
    assert other is None
    assert found is not None
    assert found.number == 70
    assert abs(found.similarity - 0.95) < 0.1


def test_texts_looked_up_together_find_each_other():
    near = NearDuplicates()
    first, second = near.find(np.stack([near.signature(" ".join(WORDS))] * 2))
    assert first is None
    assert (second.place, second.similarity) == (0, 1.0)


def test_thirteen_words_in_a_row_are_a_match_and_twelve_are_not():
    benchmark = Benchmark(["nothing", " ".join(WORDS[:30])])
    assert benchmark.match("Before, " + ", ".join(WORDS[5:18]).upper() + "; after") == 1
    assert benchmark.match("before " + " ".join(WORDS[5:17]) + " after") is None
    assert (benchmark.match("Nothing!"), benchmark.match("nothing else"), benchmark.match("")) == (0, None, None)
    assert words_of("It's 5–6 °C_now") == ["it", "s", "5", "6", "c", "now"]
