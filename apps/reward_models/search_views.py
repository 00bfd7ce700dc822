"""Pages of recipe searches: start one, watch it, use what it found."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.requests import PageRequest
from apps.core.errors import AppError, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.jobs.services import live_queues
from apps.projects.access import SEES_RESULTS, get_membership
from apps.projects.models import Project
from apps.reward_models.forms import SearchForm
from apps.reward_models.models import RecipeSearch
from apps.reward_models.search_chart import chart_of
from apps.reward_models.searches import start_search, trials_of, use_recipe
from worker.core.training.search import best_trial

STOP_POLLING = 286


@signed_in
@require_GET
def recipe_search(request: PageRequest, slug: str, search_id: int) -> HttpResponse:
    """Show what a search has measured so far, as a plot and a table; polled while it runs."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    search = _found(membership.project, search_id)
    best = best_trial(search.trials)
    context: dict[str, Any] = {
        "membership": membership,
        "search": search,
        "job": search.job,
        "planned": len(trials_of(search)),
        "trials": [(number, trial, number == best) for number, trial in enumerate(search.trials)],
        "fields": list(search.trials[0]["changes"]) if search.trials else [],
        "chart": chart_of(search.trials),
        "asleep": [] if search.job.finished or search.job.queue in live_queues() else [search.job.queue],
    }
    status = STOP_POLLING if request.htmx and search.job.finished else 200
    return render_page(request, "reward_models/recipe_search.html", "live", context, status=status)


@signed_in
@require_POST
def start(request: PageRequest, slug: str) -> HttpResponse:
    """Start a search around the project's recipe, with the grid of the form or the default one."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    form = SearchForm(request.POST)
    if not form.is_valid():
        for field, errors in form.errors.items():
            messages.error(request, f"{form.fields[field].label}: {' '.join(map(str, errors))}")
        return redirect("reward-models", slug)
    try:
        search = start_search(project=membership.project, created_by=membership.user, **form.chosen())
    except AppError as refused:
        messages.error(request, " ".join([refused.detail, *(error.detail for error in refused.errors)]))
        return redirect("reward-models", slug)
    return redirect("recipe-search", slug, search.pk)


@signed_in
@require_POST
def use(request: PageRequest, slug: str, search_id: int, trial: int) -> HttpResponse:
    """Start a training with the recipe of a trial."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    search = _found(membership.project, search_id)
    try:
        run = use_recipe(search=search, trial=trial, created_by=membership.user)
    except AppError as refused:
        messages.error(request, refused.detail)
        return redirect("recipe-search", slug, search_id)
    return redirect("training-run", slug, run.pk)


def _found(project: Project, search_id: int) -> RecipeSearch:
    searches = RecipeSearch.objects.select_related("project", "job__created_by", "snapshot")
    search = searches.filter(project=project, pk=search_id).first()
    if search is None:
        raise NotFound(_("There is no such recipe search in this project."))
    return search
