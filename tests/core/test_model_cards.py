"""What the card of a model says of its figures, and what it does not say."""

from typing import Any

import pytest
import yaml

from worker.core.metrics import evaluate_pairs
from worker.core.reward_benchmarks import BENCHMARKS
from worker.core.training.card_data import Making
from worker.core.training.model_card import benchmark_figures, held_out_figures, model_card
from worker.core.training.recipe import Recipe


def manifest(**changes: Any) -> dict[str, Any]:
    known = {
        "recipe": Recipe().to_dict(),
        "recipe_hash": "r" * 64,
        "feature_revision": "f",
        "outputs": ["reward"],
        "loader": "sentence-transformers",
        "snapshot": "s" * 64,
        "metrics": {"validation": None},
    }
    return known | changes


def judged(*, controls: dict[str, Any] | None = None, **card: Any) -> dict[str, Any]:
    return {"card": {"accuracy": 0.75, "n": 40, "prompts": 40, **card}, "controls": controls}


def test_a_card_tells_of_control_pairs_only_what_was_not_learned() -> None:
    known = {"n": 12, "left_out": 93, "accuracy": 0.875, "wrong": [], "lost": []}
    said = model_card(manifest(), held_out_figures("s", judged(controls=known)))
    assert (
        "Control pairs that were not trained on (12; 93 that were trained on are left out) | accuracy | 0.875 |" in said
    )
    learned = {**known, "n": 0, "accuracy": None}
    measured_long_ago = {name: value for name, value in known.items() if name != "left_out"}
    for controls in (None, learned, measured_long_ago):
        assert "Control pairs" not in model_card(manifest(), held_out_figures("s", judged(controls=controls)))


def test_a_card_warns_of_few_prompts() -> None:
    measured = evaluate_pairs([0.0] * 10, [1.0] * 10, [1] * 10, [str(at) for at in range(10)], [1] * 10, [2] * 10)
    assert measured is not None
    for prompts, warned in ((9, True), (10, False)):
        said = model_card(manifest(metrics={"validation": {**measured, "prompts": prompts}}))
        assert ("fewer than 10 prompts" in said) is warned


def test_a_card_carries_the_plain_figures_of_calibration() -> None:
    plain = {"nll": 0.642, "brier": 0.2, "ece": 0.1}
    scaled = {"temperature": 1.5, "nll": 0.6, "brier": 0.19, "ece": 0.05, "raw": plain}
    (fitted,) = held_out_figures("s", judged(calibration=scaled))
    assert (fitted.metrics["nll"], fitted.metrics["nll_with_temperature"]) == (0.642, 0.6)
    (few,) = held_out_figures("s", judged(calibration={**scaled, **plain, "temperature": None}))
    assert (few.metrics["nll"], few.metrics["temperature"], few.metrics["nll_with_temperature"]) == (0.642, None, None)


def test_a_card_says_that_a_search_chose_the_recipe_on_the_same_prompts() -> None:
    chosen_on = {"search": "7", "trials": 9, "prompts": 12, "same_recipe": False}
    (figures,) = held_out_figures("s", judged() | {"chosen_on": chosen_on})
    assert figures.name.endswith("on 12 of which a search chose the recipe out of 9")


def result_of(counts: dict[str, int]) -> dict[str, Any]:
    sections = [{"name": name, "n": n, "score": 1.0, "interval": None} for name, n in counts.items()]
    known = BENCHMARKS["reward-bench"].sections
    missing = [name for name in known if name not in counts]
    return {"overall": 1.0, "n": sum(counts.values()), "sections": sections, "missing": missing}


@pytest.mark.parametrize(
    ("counts", "name", "kind"),
    [
        (
            {"Other": 1},
            "A file in the format of RewardBench: 1 row, without Chat, Chat Hard, Safety, Reasoning",
            "tiebreak-file-like-reward-bench",
        ),
        (
            {"Chat": 1, "Chat Hard": 1, "Safety": 1, "Reasoning": 1},
            "A file in the format of RewardBench: 4 rows",
            "tiebreak-file-like-reward-bench",
        ),
        (
            {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1431},
            "RewardBench: 2,985 rows",
            "reward-bench",
        ),
    ],
)
def test_a_model_index_names_a_benchmark_only_where_all_its_rows_are_there(
    counts: dict[str, int], name: str, kind: str
) -> None:
    card = model_card(manifest(), [benchmark_figures(BENCHMARKS["reward-bench"], "d" * 64, result_of(counts))])
    (entry,) = yaml.safe_load(card.split("---\n")[1])["model-index"][0]["results"]
    assert entry["dataset"] == {"name": name, "type": kind, "revision": "d" * 64}
    assert ("not to be compared with published figures" in card) is (kind != "reward-bench")


@pytest.mark.parametrize(
    ("initialisation", "making", "lines"),
    [
        ("scratch", None, ["- starts from scratch"]),
        ("regression", None, ["- starts from scratch, by a regression on helpfulness first"]),
        ("39", None, ["- starts from the weights of the version of id 39"]),
        (
            "39",
            Making(start=12, compared_with=3, code_version="0.1.0+abc"),
            [
                "- starts from the weights of version 12 (id 39)",
                "- compared with version 3 on held-out prompts",
                "- code `0.1.0+abc`",
            ],
        ),
        ("scratch", Making(None, None, ""), ["- starts from scratch"]),
    ],
)
def test_a_card_says_what_is_known_of_the_making(initialisation: str, making: Making | None, lines: list[str]) -> None:
    recipe = {**Recipe().to_dict(), "initialisation": initialisation}
    card = model_card(manifest(recipe=recipe), making=making)
    said = card.partition("## Training\n\n")[2].partition("\n- recipe")[0]
    assert said.splitlines() == lines


SNAPSHOT = {
    "figures": {
        "comparisons": 1200,
        "labels": 3100,
        "imported_labels": 100,
        "annotators": 2,
        "labels_per_comparison": {"1": 7, "3": 1000},
    },
    "protocol": {"settings": {"annotators": 3, "max_annotators": 5, "spread_limit": 2}},
    "comparisons": {"train": 960, "validation": 240},
}


def test_a_card_says_where_the_model_comes_from() -> None:
    card = model_card(manifest(), data=SNAPSHOT)
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["base_model"], front["base_model_relation"]) == ("sentence-transformers/all-MiniLM-L6-v2", "finetune")
    assert (front["license"], front["datasets"]) == ("other", ["tiebreak-snapshot-" + "s" * 16])
    for words in (
        "3,100 labels by 2 people on 1,200 comparisons; 100 labels were imported",
        "train 960, validation 240",
        "asks for 3 people, and for up to 5",
        "Labels come from 2 people",
        "7 comparisons have one label",
        "Nothing was measured on held-out prompts.",
    ):
        assert words in card, words


@pytest.mark.parametrize(
    ("backbone", "named"), [("Qwen/Qwen3-0.6B", True), ("/models/mine", False), ("../a/b", False), ("./a", False)]
)
def test_a_folder_of_this_machine_is_no_base_model(backbone: str, named: bool) -> None:
    recipe = {**Recipe().to_dict(), "backbone": backbone}
    front = yaml.safe_load(model_card(manifest(recipe=recipe)).split("---\n")[1])
    assert front.get("base_model") == (backbone if named else None)
    assert "People and their labels" not in model_card(manifest(recipe=recipe), data={"schema": 1})


def test_a_card_of_the_default_export_warns_of_loaders_that_would_draw_a_head_at_random() -> None:
    assert "no `AutoModelForSequenceClassification`" in model_card(manifest())
    assert "is no `Auto" not in model_card(manifest(loader="transformers"))
