"""The miner on real labels, next to the length baseline. Of UKPConvArg1 and the humour pairs, where they are."""

from pathlib import Path

import pytest

from benchmarks.rules import measured, shuffled

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "most", "seed"), [("humour_train.jsonl", 3000, 0), ("ukpconvarg1_train_1.jsonl", 2000, 0)]
)
def test_rules_follow_people_as_well_as_length_does_and_say_how_sure_that_is(name, most, seed):
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there")
    pairs = measured(DATA / name, most)
    found = pairs.mined(seed)
    assert 1 <= len(found.rules) <= 12
    assert len({rule.name for rule in found.rules}) == len(found.rules)
    assert found.accuracy.interval[0] > 0.5  # held-out pairs of texts that no rule was found on
    assert found.gain[1] <= 0.0 <= found.gain[2] or found.gain[0] > 0  # not told apart from length, or better
    assert shuffled(pairs.first, pairs.second, pairs.labels(seed)) <= 5
