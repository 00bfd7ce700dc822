"""Reward models: versions, training runs, and when they are made and used."""

import json
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.requests import PageRequest
from apps.core.errors import AppError, Conflict, InvalidInput, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.jobs.models import Job
from apps.jobs.services import live_queues
from apps.projects.access import SEES_RESULTS, get_membership
from apps.projects.models import Membership, Project
from apps.reward_models.cards import CARD, card_of, latest_evaluations
from apps.reward_models.chart import chart_of
from apps.reward_models.evaluations import start_evaluation
from apps.reward_models.forms import EvaluationForm, PolicyForm, QueueForm, SearchForm
from apps.reward_models.models import RecipeSearch, RewardModel, TrainingRun
from apps.reward_models.promotion import promote, roll_back
from apps.reward_models.services import (
    MIN_LABELS,
    current_model,
    policy_of,
    resume_training,
    save_policy,
    start_training,
    trainable_labels,
)
from apps.reward_models.version_page import benchmark_part, version_page
from apps.signals.services import run_scorer, set_queue
from worker.core.metrics import FEW_PROMPTS

RUNS_SHOWN = 10
STOP_POLLING = 286


@signed_in
@require_GET
def reward_models(request: PageRequest, slug: str) -> HttpResponse:
    """Show versions, runs and settings."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    return _page(request, membership)


@signed_in
@require_GET
def training_run(request: PageRequest, slug: str, run_id: int) -> HttpResponse:
    """Show one run with its chart; polled while it trains."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    runs = TrainingRun.objects.select_related("job", "snapshot", "reward_model", "created_by")
    run = runs.filter(project=membership.project, pk=run_id).first()
    if run is None:
        raise NotFound(_("There is no such training run in this project."))
    asleep = [] if run.job.finished or run.job.queue in live_queues() else [run.job.queue]
    context = {
        "membership": membership,
        "run": run,
        "job": run.job,
        "recipe": [(name, json.dumps(value)) for name, value in run.recipe.items()],
        "chart": chart_of(run.history),
        "pairs": _pairs_of(run),
        "overlong": _last(run, "overlong"),
        "asleep": asleep,
    }
    status = STOP_POLLING if request.htmx and run.job.finished else 200
    return render_page(request, "reward_models/training_run.html", "live", context, status=status)


@signed_in
@require_POST
def start(request: PageRequest, slug: str) -> HttpResponse:
    """Start a training with the project's recipe."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    try:
        run = start_training(project=membership.project, created_by=membership.user)
    except (Conflict, InvalidInput) as refused:
        messages.error(request, refused.detail)
        return redirect("project", slug)
    return redirect("training-run", slug, run.pk)


@signed_in
@require_POST
def resume(request: PageRequest, slug: str, run_id: int) -> HttpResponse:
    """Take up a training that failed or was cancelled."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    run = TrainingRun.objects.filter(project=membership.project, pk=run_id).first()
    if run is None:
        raise NotFound(_("There is no such training run in this project."))
    try:
        resume_training(run=run, created_by=membership.user)
    except Conflict as refused:
        messages.error(request, refused.detail)
    return redirect("training-run", slug, run.pk)


@signed_in
@require_POST
def score(request: PageRequest, slug: str) -> HttpResponse:
    """Score what the current version has not scored yet."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    model = current_model(membership.project)
    if model is None:
        messages.error(request, _("There is no current reward model to score with; train one first."))
    else:
        run_scorer(scorer=model.scorer, created_by=membership.user)
        messages.success(request, _("Responses without a reward are being scored."))
    return redirect("project", slug)


@signed_in
@require_POST
def promote_version(request: PageRequest, slug: str, model_id: int) -> HttpResponse:
    """Make a version the current one."""
    return _decided(request, slug, model_id, promote, _("Version %(number)s is the current one now."))


@signed_in
@require_POST
def roll_back_version(request: PageRequest, slug: str, model_id: int) -> HttpResponse:
    """Make the version current again that this one replaced."""
    return _decided(request, slug, model_id, roll_back, _("Version %(number)s was taken back."))


def _decided(request: PageRequest, slug: str, model_id: int, decide: Callable[..., Job], said: str) -> HttpResponse:
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    model = _version(membership, model_id)
    try:
        decide(model=model, actor=membership.user)
        messages.success(request, said % {"number": model.version})
    except Conflict as refused:
        messages.error(request, refused.detail)
    return redirect("reward-models", slug)


@signed_in
@require_GET
def version(request: PageRequest, slug: str, model_id: int) -> HttpResponse:
    """Show one version: figures, evidence, lineage; its benchmarks are polled while one is measured."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    model = _version(membership, model_id)
    if request.htmx and not request.htmx.boosted:
        part = benchmark_part(model, latest_evaluations(model))
        context = {"membership": membership, "model": model, **part}
        status = 200 if part["measuring"] else STOP_POLLING
        return render_page(request, "reward_models/version.html", "live", context, status=status)
    return _version_page(request, membership, model)


@signed_in
@require_GET
def model_card(request: PageRequest, slug: str, model_id: int) -> HttpResponse:
    """Give the model card as a file."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    model = _version(membership, model_id)
    response = HttpResponse(card_of(model), content_type="text/markdown; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{CARD}"'
    return response


@signed_in
@require_POST
def evaluate(request: PageRequest, slug: str, model_id: int) -> HttpResponse:
    """Start measuring a version."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    model = _version(membership, model_id)
    form = EvaluationForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            start_evaluation(model=model, created_by=membership.user, **form.source())
            return redirect("reward-model", slug, model.pk)
        except InvalidInput as refused:
            form.add_error(None, refused.detail)
    return _version_page(request, membership, model, form=form, status=422)


@signed_in
@require_POST
def policy(request: PageRequest, slug: str) -> HttpResponse:
    """Change when the project retrains and what it promotes."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    form = PolicyForm(request.POST, instance=policy_of(membership.project))
    if form.is_valid():
        try:
            save_policy(project=membership.project, actor=membership.user, **form.cleaned_data)
            messages.success(request, _("The retrain policy is saved."))
            return redirect("reward-models", slug)
        except AppError as refused:
            for error in refused.errors:
                form.add_error("recipe", error.detail)
    return _page(request, membership, policy_form=form, status=422)


@signed_in
@require_POST
def queue_settings(request: PageRequest, slug: str) -> HttpResponse:
    """Change in which order pairs are handed out."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    form = QueueForm(request.POST, instance=Project.objects.get(pk=membership.project.pk))
    if not form.is_valid():
        return _page(request, membership, queue_form=form, status=422)
    set_queue(project=membership.project, actor=membership.user, **form.cleaned_data)
    messages.success(request, _("The queue is changed."))
    return redirect("reward-models", slug)


def _version(membership: Membership, model_id: int) -> RewardModel:
    versions = RewardModel.objects.select_related(
        "scorer", "parent", "current_when_made", "snapshot", "training_run", "project"
    )
    model = versions.filter(project=membership.project, pk=model_id).first()
    if model is None:
        raise NotFound(_("There is no such reward model in this project."))
    return model


def _version_page(
    request: PageRequest,
    membership: Membership,
    model: RewardModel,
    *,
    form: EvaluationForm | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "membership": membership,
        "form": form or EvaluationForm(),
        **version_page(model, current_model(membership.project)),
    }
    return render_page(request, "reward_models/version.html", "live", context, status=status)


def _page(
    request: PageRequest,
    membership: Membership,
    *,
    policy_form: PolicyForm | None = None,
    queue_form: QueueForm | None = None,
    status: int = 200,
) -> HttpResponse:
    project = membership.project
    runs = TrainingRun.objects.filter(project=project).select_related("job", "reward_model", "created_by")
    versions = RewardModel.objects.filter(project=project).select_related("parent", "snapshot", "training_run")
    newest_first = list(versions.order_by("-version"))
    serves = any(model.state == RewardModel.State.CURRENT for model in newest_first)
    context: dict[str, Any] = {
        "membership": membership,
        "versions": newest_first,
        "few": FEW_PROMPTS,
        "runs": runs.defer("history").order_by("-id")[:RUNS_SHOWN],
        "searches": _searches(project),
        "search_form": SearchForm(),
        "labels": trainable_labels(project),
        "min_labels": MIN_LABELS,
        "rewards_address": request.build_absolute_uri(f"/rm/{project.slug}") if serves else None,
        "policy_form": policy_form or PolicyForm(instance=policy_of(project)),
        "queue_form": queue_form or QueueForm(instance=project),
    }
    return render(request, "reward_models/reward_models.html", context, status=status)


def _searches(project: Project) -> QuerySet[RecipeSearch]:
    searches = RecipeSearch.objects.filter(project=project).select_related("job", "created_by")
    return searches.defer("recipe", "grid").order_by("-id")[:RUNS_SHOWN]


def _last(run: TrainingRun, event: str) -> dict[str, Any] | None:
    """Return the last event of a kind that the training reported."""
    return next((said for said in reversed(run.history) if said["event"] == event), None)


def _pairs_of(run: TrainingRun) -> dict[str, Any] | None:
    """Return how many pairs the run learns from and is judged on, and what was left out of either, in words."""
    said = _last(run, "pairs")
    if said is None:
        return None
    reasons = {
        "tie": _("ties"),
        "neither valid": _("neither response valid"),
        "no consensus": _("no consensus"),
        "without ratings": _("without ratings"),
    }

    def in_words(split: str) -> list[tuple[str, int]]:
        return [(str(reasons.get(name, name)), count) for name, count in said["left_out"][split].items()]

    return {**said, "left_out_of_train": in_words("train"), "left_out_of_validation": in_words("validation")}
