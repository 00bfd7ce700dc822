"""The model card of a version: its own manifest, and everything it was measured on."""

import json
from pathlib import Path
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import override

from apps.core.artifacts import artifact_storage
from apps.core.errors import NotFound
from apps.reward_models.code_version import code_version
from apps.reward_models.models import Evaluation, RewardModel
from apps.reward_models.plots import margins_of, reliability_of
from worker.core.reward_benchmarks import BENCHMARKS
from worker.core.training.card_data import Making
from worker.core.training.model_card import Figures, benchmark_figures, held_out_figures, model_card

CARD, MANIFEST = "README.md", "tiebreak.json"
PLOTS = {"reliability": "plots/reliability.svg", "margins": "plots/margins.svg"}
STYLE = (
    "svg{background:#fff;font:10px sans-serif}text{fill:#555}.grid{stroke:#ddd}.loss{fill:none;stroke:#777}"
    ".accuracy{fill:none;stroke:#1d5fb4;stroke-width:2}.accuracy-dot{fill:#1d5fb4}.wrong{fill:#b3261e}"
)
"""A file by itself has no style sheet of the page."""


def write_card(
    *,
    folder: Path,
    result: dict[str, Any],
    data: dict[str, Any],
    parent: RewardModel | None,
    against: RewardModel | None,
) -> None:
    """Replace the card of a model's folder by one that says how it was made, with its held-out figures and plots."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    measured = result["card"] is not None
    figures = held_out_figures(manifest["snapshot"], result) if measured else ()
    plots = _draw(folder, result["card"]) if measured else []
    making = _making(parent, against if result["comparison"] else None, code_version())
    (folder / CARD).write_text(model_card(manifest, figures, plots, data=data, making=making), encoding="utf-8")


def card_of(model: RewardModel) -> str:
    """Return the card of a version with the latest figures of each benchmark; NotFound where it has no manifest."""
    if MANIFEST not in model.files:
        raise NotFound(_("The version has no manifest, so there is no card of it."))
    with artifact_storage().open(f"{model.folder}/{MANIFEST}") as stream:
        manifest = json.loads(stream.read())
    measured = [each for each in latest_evaluations(model) if each.result.get("card", True)]
    plots = [path for path in PLOTS.values() if path in model.files]
    figures = [figures for evaluation in measured for figures in _figures(evaluation)]
    compared = [each.against for each in measured if each.result.get("comparison")]
    making = _making(model.parent, next(iter(compared), None), model.code_version)
    return model_card(manifest, figures, plots, data=model.snapshot.manifest, making=making)


def latest_evaluations(model: RewardModel) -> list[Evaluation]:
    """Return the newest evaluation of each benchmark and each content, held-out prompts first."""
    of_each = model.evaluations.order_by("benchmark", "content_hash", "-id").distinct("benchmark", "content_hash")
    newest = of_each.select_related("against")
    return sorted(newest, key=lambda each: (each.benchmark != Evaluation.Benchmark.HELD_OUT, -each.pk))


def _making(parent: RewardModel | None, against: RewardModel | None, code: str) -> Making:
    return Making(parent.version if parent else None, against.version if against else None, code)


def _draw(folder: Path, card: dict[str, Any]) -> list[str]:
    """Write the plots of the version's page as files, the same bytes for the same figures; return their paths."""
    drawn = []
    with override("en"):
        shown = {"reliability": reliability_of(card["calibration"]), "margins": margins_of(card["margins"])}
        for name, plot in shown.items():
            if plot is not None:
                context = {name: plot, "style": format_html("<style>{}</style>", STYLE)}
                text = render_to_string(f"reward_models/partials/{name}_plot.html", context)
                (folder / PLOTS[name]).parent.mkdir(exist_ok=True)
                (folder / PLOTS[name]).write_text(text.strip() + "\n", encoding="utf-8")
                drawn.append(PLOTS[name])
    return drawn


def _figures(evaluation: Evaluation) -> tuple[Figures, ...]:
    if evaluation.benchmark == Evaluation.Benchmark.HELD_OUT:
        return held_out_figures(evaluation.content_hash, evaluation.result)
    return (benchmark_figures(BENCHMARKS[evaluation.benchmark], evaluation.content_hash, evaluation.result),)
