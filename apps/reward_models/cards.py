"""The model card of a version: its own manifest, and everything it was measured on."""

import json
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from apps.core.artifacts import artifact_storage
from apps.core.errors import NotFound
from apps.reward_models.models import Evaluation, RewardModel
from worker.core.training.model_card import Figures, benchmark_figures, held_out_figures, model_card

CARD, MANIFEST = "README.md", "tiebreak.json"


def write_card(*, folder: Path, result: dict[str, Any], data: dict[str, Any]) -> None:
    """Replace the card of a model's folder by one with the figures of its held-out evaluation."""
    if result["card"] is None:
        return
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    figures = held_out_figures(manifest["snapshot"], result)
    (folder / CARD).write_text(model_card(manifest, figures, data=data), encoding="utf-8")


def card_of(model: RewardModel) -> str:
    """Return the card of a version with the latest figures of each benchmark; NotFound where it has no manifest."""
    if MANIFEST not in model.files:
        raise NotFound(_("The version has no manifest, so there is no card of it."))
    with artifact_storage().open(f"{model.folder}/{MANIFEST}") as stream:
        manifest = json.loads(stream.read())
    measured = [each for each in latest_evaluations(model) if each.result.get("card", True)]
    return model_card(
        manifest, [figures for evaluation in measured for figures in _figures(evaluation)], data=model.snapshot.manifest
    )


def latest_evaluations(model: RewardModel) -> list[Evaluation]:
    """Return the newest evaluation of each benchmark and each content, held-out prompts first."""
    of_each = model.evaluations.order_by("benchmark", "content_hash", "-id").distinct("benchmark", "content_hash")
    newest = of_each.select_related("against")
    return sorted(newest, key=lambda each: (each.benchmark != Evaluation.Benchmark.HELD_OUT, -each.pk))


def _figures(evaluation: Evaluation) -> tuple[Figures, ...]:
    if evaluation.benchmark == Evaluation.Benchmark.HELD_OUT:
        return held_out_figures(evaluation.content_hash, evaluation.result)
    title = str(evaluation.get_benchmark_display())
    return (benchmark_figures(title, evaluation.benchmark, evaluation.content_hash, evaluation.result),)
