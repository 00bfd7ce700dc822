"""A model folder scores responses with cached features, and two folders are compared on the same pairs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.core.conftest import pair_row
from worker.core.evaluation import evaluate_folder, held_out_pair, judge_folder, run_benchmark
from worker.core.features import FeatureCache
from worker.core.pairs import PairsError, read_pairs
from worker.core.reward_benchmarks import BENCHMARKS
from worker.core.scoring import Scorer
from worker.core.training.save import ModelFolderError


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


def frozen(number: int, **changes: Any) -> dict[str, Any]:
    """A row of a snapshot's format `annotations`."""
    row = pair_row(number)
    votes = [("ann", row["preference"]), ("bob", "neither"), ("cem", 0)]
    return {
        "external_id": row["id"],
        "prompt_hash": row["prompt_key"],
        "messages": row["messages"],
        "responses": [{"text": row["response_1"]}, {"text": row["response_2"]}],
        "metadata": {"domain": "tides"},
        "consensus": {"preference": row["preference"], "status": "agreed"},
        "annotations": [{"annotator": name, "preference": preference} for name, preference in votes],
        **changes,
    }


def test_a_version_is_judged_on_all_pairs_and_compared_on_those_that_neither_knows(
    make_run: Any, train: Any, cache: FeatureCache
) -> None:
    good, bad = make_run("good"), make_run("bad", train=[flipped(pair_row(number)) for number in range(20)])
    train(good)
    train(bad)
    pairs = [pair for number in range(30, 42) if (pair := held_out_pair(frozen(number))) is not None]
    judged = judge_folder(
        good / "model",
        pairs=pairs,
        controls=pairs[:3],
        cache=cache,
        against=bad / "model",
        comparable=[number >= 4 for number in range(12)],
    )
    assert judged.card is not None
    assert (judged.card["n"], judged.card["annotators"]["all"]["n"]) == (12, 12)
    assert judged.comparison is not None
    assert (judged.comparison["n"], judged.comparison["fixed"]) == (8, 8)
    assert judged.controls == {"n": 3, "left_out": 0, "accuracy": 1.0, "wrong": [], "lost": []}
    back = judge_folder(
        bad / "model", pairs=[], controls=pairs[:3], cache=cache, against=good / "model", controls_learned=4
    )
    assert (back.card, back.comparison) == (None, None)
    assert back.controls is not None
    assert (back.controls["lost"], back.controls["left_out"]) == ([pair.id for pair in pairs[:3]], 4)


def test_a_frozen_row_becomes_a_pair_to_judge_by() -> None:
    pair = held_out_pair(frozen(3))
    assert pair is not None
    assert (pair.preference, pair.domain, pair.votes) == (1, "tides", (("ann", 1), ("cem", 0)))
    excluded = held_out_pair(frozen(3, consensus={"preference": 1, "status": "excluded"}, metadata={"domain": [1]}))
    assert excluded is not None
    assert (excluded.preference, excluded.domain) == (0, "")
    silent = [{"annotator": "ann", "preference": "neither"}]
    nobody = frozen(3, consensus={"preference": "neither", "status": "neither"}, annotations=silent)
    assert held_out_pair(nobody) is None


def test_a_benchmark_is_run_on_a_model_folder(make_run: Any, train: Any, cache: FeatureCache) -> None:
    run = make_run()
    train(run)
    row = {
        "prompt": "why is the sea",
        "chosen": ["good clear"],
        "rejected": ["bad vague", "bad rude"],
        "subset": "Math",
    }
    items = BENCHMARKS["reward-bench-2"].read(
        enumerate([row, row | {"chosen": ["bad vague"], "rejected": ["good clear"]}])
    )
    figures = run_benchmark(run / "model", "reward-bench-2", items, cache)
    assert (figures["n"], figures["overall"]) == (2, 0.5)


def test_a_model_whose_rewards_are_no_numbers_is_not_measured(make_run: Any, train: Any, cache: FeatureCache) -> None:
    run = make_run()
    train(run)
    from safetensors.numpy import load_file, save_file

    head = run / "model" / "head" / "head.safetensors"
    save_file({name: values * np.float32("nan") for name, values in load_file(head).items()}, head)
    pair = held_out_pair(frozen(3))
    assert pair is not None
    with pytest.raises(ModelFolderError, match="no numbers"):
        judge_folder(run / "model", pairs=[pair], controls=[], cache=cache)


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
        (pair_row(1, preference="neither"), r"1 of 2 rows have no valid response \(preference \"neither\": pair-1\)"),
    ],
)
def test_a_broken_row_is_named(row: Any, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(pair_row(0)) + "\n" + (row if isinstance(row, str) else json.dumps(row)) + "\n")
    with pytest.raises(PairsError, match=sentence):
        read_pairs(path)
