"""A model folder scores responses with cached features, and two folders are compared on the same pairs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.core.conftest import pair_row
from worker.core.evaluation import compare_folders, evaluate_folder
from worker.core.features import FeatureCache
from worker.core.pairs import Pair, PairsError, read_pairs
from worker.core.scoring import Scorer
from worker.core.training.save import ModelFolderError

HELD_OUT = [pair_row(number) for number in range(30, 42)]


def pairs_of(tmp_path: Path, rows: list[dict[str, Any]]) -> list[Pair]:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_pairs(path)


def flipped(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"preference": -row["preference"]}


def test_scores_order_responses_and_come_in_the_order_asked_for(make_run: Any, train: Any, cache: FeatureCache) -> None:
    run = make_run()
    train(run)
    texts = [("why is the moon", "good clear"), ("why is the moon", "bad vague"), ("how", "good clear")]
    scorer = Scorer.load(run / "model")
    scores = scorer.score(texts, cache)
    assert scores.dtype == np.float32
    assert scores[0] > scores[1]
    np.testing.assert_array_equal(scorer.score(texts[::-1], cache), scores[::-1])
    assert len(scorer.score([], cache)) == 0


def test_known_texts_are_scored_without_loading_the_backbone(make_run: Any, train: Any, cache: FeatureCache) -> None:
    run = make_run()
    train(run)
    texts = [("why", "good"), ("why", "bad")]
    first = Scorer.load(run / "model").score(texts, cache)
    (run / "model" / "model.safetensors").unlink()
    seen: list[tuple[int, int, int, int]] = []
    again = Scorer.load(run / "model")
    np.testing.assert_array_equal(again.score(texts, cache, lambda *event: seen.append(event)), first)
    assert seen == [(2, 2, 2, 0)]
    assert not again.backbone.is_loaded


def test_scoring_uses_the_features_of_training(make_run: Any, train: Any, tmp_path: Path) -> None:
    run = make_run()
    train(run)
    rows = [json.loads(line) for line in (run / "validation_scores.jsonl").read_text().splitlines()]
    seen: list[tuple[int, int, int, int]] = []
    with FeatureCache(tmp_path / "cache.sqlite") as cache:  # the one of make_run
        pairs = read_pairs(run / "validation.jsonl")
        result = evaluate_folder(run / "model", pairs, cache, lambda *event: seen.append(event))
    assert seen == [(4, 4, 4, 0)]
    assert [float(reward) for reward in result.reward_1] == [row["reward_1"] for row in rows]
    assert [float(reward) for reward in result.reward_2] == [row["reward_2"] for row in rows]
    assert result.metrics == json.loads((run / "metrics.json").read_text())["validation"]


def test_versions_share_a_backbone_in_memory(make_run: Any, train: Any, cache: FeatureCache) -> None:
    one, two = make_run("one"), make_run("two", seed=1)
    train(one)
    train(two)
    first = Scorer.load(one / "model")
    first.score([("why", "good")], cache)
    second = Scorer.load(two / "model")
    assert second.backbone is first.backbone
    assert second.head.weight.tobytes() != first.head.weight.tobytes() or second.recipe.seed == 1


def test_a_comparison_says_which_model_is_better(
    make_run: Any, train: Any, cache: FeatureCache, tmp_path: Path
) -> None:
    good, bad = make_run("good"), make_run("bad", train=[flipped(pair_row(number)) for number in range(20)])
    train(good)
    train(bad)
    pairs = pairs_of(tmp_path, HELD_OUT)
    card = compare_folders(bad / "model", good / "model", pairs, cache)
    assert card is not None
    assert card["candidate_accuracy"] > 0.9
    assert card["current_accuracy"] < 0.1
    assert card["probability_better"] == 1.0
    assert card["candidate"] == evaluate_folder(good / "model", pairs, cache).metrics
    assert card["n"] == card["current"]["n"] == 12
    assert compare_folders(bad / "model", good / "model", [], cache) is None


def test_a_warm_start_needs_the_same_features(make_run: Any, train: Any) -> None:
    first = make_run("first")
    train(first)
    start = {"initial_model": str(first / "model")}
    code, events = train(make_run("second", settings=start, initialisation="v1", max_tokens=48))
    assert code == 1
    assert "trained on other features" in events[-1]["message"]
    code, events = train(make_run("third", settings=start, initialisation="v1"))
    assert code == 0
    assert events[-1]["metrics"]["validation"]["accuracy"] == 1.0


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, make_run: Any, train: Any) -> None:
    with pytest.raises(ModelFolderError, match="not a model folder"):
        Scorer.load(tmp_path)
    run = make_run()
    train(run)
    manifest = json.loads((run / "model" / "tiebreak.json").read_text())
    (run / "model" / "tiebreak.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ModelFolderError, match="format 99"):
        Scorer.load(run / "model")
    (run / "model" / "tiebreak.json").write_text(json.dumps(manifest))
    shutil.rmtree(run / "model" / "head")
    with pytest.raises(ModelFolderError, match="not a model folder"):
        Scorer.load(run / "model")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{", r"pairs.jsonl, line 2: not JSON"),
        ("[]", r"line 2: a row is a JSON object"),
        (pair_row(1, id=7), r"line 2: id must be text, not 7"),
        (pair_row(1, preference=True), r"line 2: preference must be"),
        (pair_row(1, preference=None), r"line 2: preference must be"),
        (pair_row(1, preference=1.5), r"line 2: preference must be"),
        (pair_row(1, messages="why"), r"line 2: messages must be a list"),
        (pair_row(1, messages=[]), r"line 2: A prompt needs at least one message"),
        (pair_row(1, ratings=[{"helpfulness": 4}]), r"line 2: ratings must be null or two objects"),
        (pair_row(1, ratings=[{"helpfulness": "4"}, {}]), r"line 2: the rating helpfulness must be a number"),
        (pair_row(1, preference=0), r"1 of 2 rows have no better response .*pair-1"),
        (pair_row(1, preference=0.0), r"1 of 2 rows have no better response"),
        (pair_row(1, preference="neither"), r"1 of 2 rows have no better response"),
    ],
)
def test_a_broken_row_is_named(row: Any, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(pair_row(0)) + "\n" + (row if isinstance(row, str) else json.dumps(row)) + "\n")
    with pytest.raises(PairsError, match=sentence):
        read_pairs(path)
