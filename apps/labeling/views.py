"""The annotator's pages: compare, submit, skip, draft, my work."""

import json
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.requests import PageRequest
from apps.core.errors import AppError, Conflict, InvalidInput
from apps.core.htmx import page_or_partial
from apps.core.signed_in import signed_in
from apps.labeling.forms import AnswerForm, SubmittedRow, answer_body
from apps.labeling.models import Annotation, Assignment, Draft
from apps.labeling.services import (
    get_assignment,
    lease_next,
    my_counts,
    save_draft,
    skip_assignment,
    submit_annotation,
    take_up_again,
)
from apps.projects.access import LABELS, get_membership

PAGE = 50
SHEETS = {"skip", "guideline", "keys"}


# --- Comparing ---


@signed_in
@require_GET
@cache_control(no_store=True)
def queue(request: PageRequest, slug: str) -> HttpResponse:
    """Show the pair that this person holds, or lease the next one: a GET that writes, so that a link is enough."""
    membership = get_membership(request.user, slug, *LABELS)
    assignment = lease_next(project=membership.project, annotator=membership.user, resume=True)
    return _task_or_nothing(request, assignment, slug)


@signed_in
@require_GET
@cache_control(no_store=True)
def assignment(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Show one pair that this person holds."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    if held.state != Assignment.State.LEASED:
        messages.info(request, _("You do not hold that comparison any more."))
        return redirect("my-work", held.project.slug)
    return _task(request, held)


@signed_in
@require_POST
@cache_control(no_store=True)
def submit(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Store the answer and show the next pair; an incomplete answer comes back with what is missing."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    body = answer_body(request.POST, held.project.protocol)
    try:
        submit_annotation(assignment=held, body=body)
    except (InvalidInput, Conflict) as refused:
        return _task(request, held, body=body, refused=refused)
    return _go_on(request, held, _("Saved. Next comparison."))


@signed_in
@require_POST
@cache_control(no_store=True)
def skip(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Give the pair back with a reason and show the next one."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    try:
        skip_assignment(
            assignment=held, reason=request.POST.get("reason", ""), note=request.POST.get("note", "").strip()
        )
    except (InvalidInput, Conflict) as refused:
        return _task(request, held, refused_skip=refused)
    return _go_on(request, held, _("Skipped. Next comparison."))


@signed_in
@require_http_methods(["PUT", "POST"])
@cache_control(no_store=True)
def draft(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Keep what was typed so far (JSON, values in the order shown)."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    try:
        body = json.loads(request.body)
        saved = save_draft(assignment=held, body=body)
    except (ValueError, RecursionError):
        return JsonResponse({"detail": _("A draft must be a JSON object.")}, status=422)
    except AppError as refused:
        return JsonResponse({"detail": refused.detail}, status=refused.status)
    return JsonResponse({"saved_at": saved.updated_at, "held": saved.assignment.state == Assignment.State.LEASED})


def _task_or_nothing(request: PageRequest, held: Assignment | None, slug: str, announce: str = "") -> HttpResponse:
    if held is not None:
        # Read again with everything the page shows, and only for its owner.
        return _task(request, get_assignment(user=request.user, assignment_id=held.pk), announce=announce)
    membership = get_membership(request.user, slug, *LABELS)
    context = {
        "membership": membership,
        "mine": my_counts(project=membership.project, annotator=membership.user),
        "announce": announce,
    }
    return _render(request, "labeling/nothing.html", context)


def _task(
    request: PageRequest,
    held: Assignment,
    *,
    body: dict[str, Any] | None = None,
    refused: AppError | None = None,
    refused_skip: AppError | None = None,
    announce: str = "",
) -> HttpResponse:
    """Show the pair in the order this person sees it; nothing else of it reaches the template."""
    kept = Draft.objects.filter(assignment=held).first()
    if body is None:
        body = kept.body if kept else {}
    *earlier, last = held.comparison.prompt.messages
    first, second = held.comparison.response_1.text, held.comparison.response_2.text
    opened = "skip" if refused_skip else request.GET.get("open", "")
    context = {
        "membership": get_membership(request.user, held.project.slug, *LABELS),
        "assignment_id": str(held.pk),
        "draft_saved_at": kept.updated_at if kept else None,
        "earlier": earlier,
        "last": last,
        "responses": [(1, second if held.swapped else first), (2, first if held.swapped else second)],
        "form": AnswerForm(held.project.protocol, body, refused.errors if refused else ()),
        "refused": refused,
        "refused_skip": refused_skip,
        "skip_reasons": Assignment.SkipReason.choices,
        "guideline": held.guideline_version,
        "raw": "raw" in request.GET,
        "opened": opened if opened in SHEETS else "",
        "announce": announce,
    }
    failure = refused or refused_skip
    response = _render(request, "labeling/compare.html", context, status=failure.status if failure else 200)
    if failure:
        response["HX-Reswap"] = "outerHTML"  # stay where the mistake is: the form's own swap goes to the top
    return response


def _go_on(request: PageRequest, done: Assignment, sentence: str) -> HttpResponse:
    """Answer an htmx request with the next pair at once, and a plain form with a redirect to it."""
    slug = done.project.slug
    if not request.htmx:
        messages.success(request, sentence)
        return redirect("queue", slug)
    membership = get_membership(request.user, slug, *LABELS)
    following = lease_next(project=membership.project, annotator=membership.user, resume=True)
    return _task_or_nothing(request, following, slug, announce=sentence)


def _render(request: PageRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    response = render(request, page_or_partial(request, template, "task"), context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response


# --- My work ---


@signed_in
@require_GET
def my_work(request: PageRequest, slug: str) -> HttpResponse:
    """List what this person submitted, typed and lost the lease of, and skipped."""
    membership = get_membership(request.user, slug, *LABELS)
    mine = Annotation.objects.current().filter(project=membership.project, annotator=membership.user)
    pages = Paginator(mine.select_related("comparison__prompt").order_by("-submitted_at", "-id"), PAGE)
    page = pages.get_page(request.GET.get("page"))
    assignments = Assignment.objects.filter(project=membership.project, annotator=membership.user)
    context = {
        "membership": membership,
        "page": page,
        "rows": [SubmittedRow.of(annotation) for annotation in page],
        "drafts": assignments.filter(state=Assignment.State.EXPIRED, draft__isnull=False)
        .select_related("comparison__prompt", "draft")
        .order_by("-draft__updated_at")[:PAGE],
        "skips": assignments.filter(state=Assignment.State.SKIPPED)
        .select_related("comparison__prompt")
        .order_by("-id")[:PAGE],
    }
    return render(request, "labeling/my_work.html", context)


@signed_in
@require_POST
def take_up(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Lease a pair again whose time ran out, and open it with the draft."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    try:
        take_up_again(assignment=held)
    except Conflict as refused:
        messages.error(request, refused.detail)
        return redirect("my-work", held.project.slug)
    return redirect("assignment", held.pk)
