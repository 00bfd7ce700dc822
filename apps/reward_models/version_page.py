"""What the page of one version shows, put together from its evaluations and decisions."""

import json
from typing import Any

from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.jobs.models import Job
from apps.projects.models import Project
from apps.prompts.models import Comparison
from apps.reward_models.cards import latest_evaluations
from apps.reward_models.models import Evaluation, RewardModel
from apps.reward_models.plots import margins_of, reliability_of
from apps.reward_models.promotion import version_before
from worker.core.metrics import FEW_PROMPTS
from worker.core.reward_benchmarks import BENCHMARKS
from worker.core.scorecard import LENGTH_RATIOS, OTHER_DOMAINS

FLIPS_SHOWN, DECISIONS_SHOWN, JOBS_SHOWN = 20, 10, 5
STRENGTHS = {1: _("slightly better"), 2: _("better"), 3: _("much better")}


def version_page(model: RewardModel, current: RewardModel | None) -> dict[str, Any]:
    """Return the context of a version's page: figures, evidence, lineage and what is being measured."""
    evaluations = latest_evaluations(model)
    held_out = next((each for each in evaluations if each.benchmark == Evaluation.Benchmark.HELD_OUT), None)
    result = held_out.result if held_out else {"card": None, "controls": None, "comparison": None}
    card = result["card"]
    return {
        "model": model,
        "current": current,
        "held_out": held_out,
        "card": card,
        "few": FEW_PROMPTS,
        "some_few": any(row["prompts"] < FEW_PROMPTS for row in _rows_with_intervals(card)),
        "groups": _groups(card) if card else [],
        "reliability": reliability_of(card["calibration"]) if card else None,
        "margins": margins_of(card["margins"]) if card else None,
        "bias": _bias(card) if card else None,
        "controls": _with_links(model.project, result["controls"], ("lost", "wrong")),
        "chosen_on": result.get("chosen_on"),
        "comparison": result["comparison"],
        "is_fresh": held_out is not None and held_out.against == current and current != model,
        "flips": _flips(model.project, result["comparison"]),
        "decisions": model.decisions.select_related("against", "decided_by").order_by("-id")[:DECISIONS_SHOWN],
        "before": version_before(model) if model == current else None,
        "recipe": [(name, json.dumps(value)) for name, value in model.recipe.items()],
        **benchmark_part(model, evaluations),
    }


def benchmark_part(model: RewardModel, evaluations: list[Evaluation]) -> dict[str, Any]:
    """Return the benchmarks of a version, each with the published set it is of, and the jobs that measure it."""
    jobs = Job.objects.filter(project=model.project_id, kind="evaluation", inputs__reward_model=str(model.pk))
    newest = list(jobs.order_by("-id")[:JOBS_SHOWN])
    under_way = [job for job in newest if not job.finished]
    return {
        "benchmarks": [
            (each, BENCHMARKS[each.benchmark].published_set(each.result))
            for each in evaluations
            if each.benchmark != Evaluation.Benchmark.HELD_OUT
        ],
        "jobs": under_way or [job for job in newest[:1] if job.state == Job.State.FAILED],
        "measuring": bool(under_way),
    }


def _groups(card: dict[str, Any]) -> list[tuple[str | Promise, list[dict[str, Any]]]]:
    """Return the figures by domain, strength and length with names for people."""
    groups = card["groups"]
    domains = [{**row, "label": _domain(row["name"])} for row in groups["domain"]]
    strengths = [{**row, "label": STRENGTHS[row["name"]]} for row in groups["strength"]]
    lengths = [{**row, "label": _ratio(row["name"])} for row in groups["length"]]
    named = [(_("Domain"), domains), (_("Preference"), strengths), (_("Longer by"), lengths)]
    return [(title, rows) for title, rows in named if len(rows) > 1 or rows is strengths]


def _rows_with_intervals(card: dict[str, Any] | None) -> list[dict[str, Any]]:
    if card is None:
        return []
    people = card["annotators"]
    tables = [*card["groups"].values(), people["each"], [people.get("others")]]
    return [row for rows in tables for row in rows if row and row["interval"]]


def _domain(name: str) -> str | Promise:
    return _("other domains") if name == OTHER_DOMAINS else name or _("no domain")


def _ratio(at_least: float) -> str | Promise:
    """Return a bucket of lengths in words: how many times as long the longer response is."""
    starts = (1.0, *LENGTH_RATIOS)
    at = starts.index(at_least)
    low = number_format(f"{at_least:g}")
    if at + 1 == len(starts):
        return _("%(low)s times and more") % {"low": low}
    return _("%(low)s to %(high)s times") % {"low": low, "high": number_format(f"{starts[at + 1]:g}")}


def _bias(card: dict[str, Any]) -> dict[str, Any] | None:
    """Return by what the odds of a response twice as long are multiplied, from the log-odds of its length."""
    found = card["length_bias"]
    if found is None:
        return None
    return {
        name: {"odds": 2 ** part["coefficient"], "interval": [2**end for end in part["interval"]]} if part else None
        for name, part in (("choice", found["choice"]), ("label", found["label"]))
    }


def _flips(project: Project, comparison: dict[str, Any] | None) -> list[dict[str, Any]]:
    shown = comparison["flips"][:FLIPS_SHOWN] if comparison else []
    links = _links(project, [flip["id"] for flip in shown])
    return [{**flip, "pk": links.get(flip["id"])} for flip in shown]


def _with_links(project: Project, controls: dict[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    if controls is None:
        return None
    links = _links(project, [each for name in names for each in controls[name][:FLIPS_SHOWN]])
    told = {name: [(each, links.get(each)) for each in controls[name][:FLIPS_SHOWN]] for name in names}
    return {**controls, **told, "lost_count": len(controls["lost"])}


def _links(project: Project, external_ids: list[str]) -> dict[str, int]:
    """Return the ids of comparisons by their external ids; one that was taken out has none."""
    if not external_ids:
        return {}
    found = Comparison.objects.filter(project=project, external_id__in=external_ids)
    return dict(found.values_list("external_id", "pk"))
