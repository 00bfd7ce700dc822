"""What the card of a model says of its figures, and what it does not say."""

from typing import Any

from worker.core.metrics import evaluate_pairs
from worker.core.training.model_card import held_out_figures, model_card
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
