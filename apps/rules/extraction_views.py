"""Pages of extractions with a language model: start one, and read every step of it. For managers and researchers."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.requests import PageRequest
from apps.core.errors import AppError, InvalidInput, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.jobs.services import live_queues
from apps.projects.access import SEES_RESULTS, get_membership, is_id
from apps.projects.models import Membership
from apps.rules.extraction import asked_of, start_reading
from apps.rules.extraction_forms import ExtractionForm
from apps.rules.models import RuleExtraction, RuleSet
from apps.rules.verification import start_verification

PAGE = 50
STOP_POLLING = 286


@signed_in
@require_http_methods(["GET", "POST"])
def extractions(request: PageRequest, slug: str) -> HttpResponse:
    """List the extractions and start one."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    form, status = ExtractionForm(request.POST or None, user=membership.user), 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                made = start_reading(
                    project=membership.project,
                    endpoint=form.cleaned_data["endpoint"],
                    selection=form.selection(),
                    seed=form.cleaned_data["seed"],
                    created_by=membership.user,
                )
                return redirect("rule-extraction", slug, made.pk)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
            except AppError as refused:
                form.add_error(None, refused.detail)
    rows = _extractions(membership).select_related("job", "rule_set").order_by("-id")[:PAGE]
    context = {"membership": membership, "form": form, "extractions": rows}
    return render(request, "rules/extractions.html", context, status=status)


@signed_in
@require_GET
def extraction(request: PageRequest, slug: str, extraction_id: int) -> HttpResponse:
    """Show one extraction with its steps; polled while it is at work."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _extraction(membership, extraction_id)
    items = (
        shown.items.select_related("comparison")
        .order_by("number")
        .only("number", "error", "attempts", "candidates", "read_from", "comparison__external_id")
    )
    context = {
        "membership": membership,
        "extraction": shown,
        "job": shown.job,
        "asleep": set() if shown.job.finished else {shown.job.queue} - live_queues(),
        "page": Paginator(items, PAGE).get_page(request.GET.get("page")),
        "merges": shown.merges.order_by("level", "number"),
    }
    status = STOP_POLLING if request.htmx and shown.job.finished else 200
    return render_page(request, "rules/extraction.html", "live", context, status=status)


@signed_in
@require_GET
def item(request: PageRequest, slug: str, extraction_id: int, place: int) -> HttpResponse:
    """Show what the model made of one comparison: its reasoning, its answer, the candidates."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _extraction(membership, extraction_id)
    pairs = shown.items.select_related("comparison__prompt", "comparison__response_1", "comparison__response_2")
    found = pairs.filter(number=place).first() if is_id(str(place)) else None
    if found is None:
        raise NotFound(_("There is no such comparison in this extraction."))
    context = {"membership": membership, "extraction": shown, "item": found, "asked": asked_of(found)}
    return render(request, "rules/extraction_item.html", context)


@signed_in
@require_POST
def verify(request: PageRequest, slug: str, version: int) -> HttpResponse:
    """Check every response against the read rules of a version."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    rule_set = (
        RuleSet.objects.filter(project=membership.project, version=version).first() if is_id(str(version)) else None
    )
    if rule_set is None:
        raise NotFound(_("There is no such version of the rules."))
    try:
        endpoint, asked = request.POST.get("endpoint", ""), request.POST.get("repetitions", "1")
        repetitions = int(asked) if is_id(asked) else 0
        job = start_verification(
            rule_set=rule_set, endpoint=endpoint, created_by=membership.user, repetitions=repetitions
        )
        return redirect("job", slug, job.pk)
    except AppError as refused:
        messages.error(request, refused.detail)
    return redirect("rule-extractions", slug)


def _extractions(membership: Membership) -> Any:
    return RuleExtraction.objects.filter(project=membership.project, origin=RuleSet.Origin.LANGUAGE_MODEL).defer(
        "labels"
    )


def _extraction(membership: Membership, extraction_id: int) -> RuleExtraction:
    rows = _extractions(membership).select_related("job__created_by", "rule_set")
    found: RuleExtraction | None = rows.filter(pk=extraction_id).first() if is_id(str(extraction_id)) else None
    if found is None:
        raise NotFound(_("There is no such extraction in this project."))
    return found
