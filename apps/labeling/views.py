"""The annotator's pages: compare, submit, skip, draft, change, my work."""

import json
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from apps.accounts.requests import PageRequest
from apps.core.errors import AppError, Conflict, InvalidInput
from apps.core.htmx import page_or_partial
from apps.core.signed_in import signed_in
from apps.labeling.forms import AnswerForm, SubmittedRow, answer_body, skip_groups, wording
from apps.labeling.guideline_changes import changed_lines
from apps.labeling.leasing import (
    GuidelineChanged,
    bring_forward,
    lease_ahead,
    lease_next,
    limit_reached,
    release_ahead,
    take_up_again,
)
from apps.labeling.lookup import get_assignment, load_texts
from apps.labeling.models import Annotation, Assignment, Draft, QueueItem, Workload
from apps.labeling.services import (
    MAX_COUNTED,
    accept_guideline,
    changeable_ids,
    guideline_change,
    last_submitted,
    my_counts,
    reopen_annotation,
    save_draft,
    skip_assignment,
    stored_body,
    submit_annotation,
)
from apps.projects.access import LABELS, get_membership
from apps.projects.models import Membership

PAGE = 50
SHEETS = {"skip", "guideline", "keys"}


# --- Comparing ---


@signed_in
@require_GET
@cache_control(no_store=True)
def queue(request: PageRequest, slug: str) -> HttpResponse:
    """Show the pair that this person holds, or lease the next one: a GET that writes, so that a link is enough.

    When the guideline has changed since they last worked with it, what has changed comes first.
    """
    membership = get_membership(request.user, slug, *LABELS)
    who: dict[str, Any] = {"project": membership.project, "annotator": request.user}
    try:
        held = lease_next(**who, resume=True)
    except GuidelineChanged:
        return _guideline_change(request, membership)
    if held is not None:
        return _task(request, held, membership=membership)
    context = {"membership": membership, "mine": my_counts(**who), "limit": limit_reached(**who)}
    return _render(request, "labeling/nothing.html", context)


@signed_in
@require_GET
@cache_control(no_store=True)
def assignment(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Show one pair that this person holds, or whose answer they are changing."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    if held.ahead or (held.state != Assignment.State.LEASED and not held.is_reopened):
        messages.info(request, _("You do not hold that comparison any more."))
        return redirect("my-work", held.project.slug)
    return _task(request, held)


@signed_in
@require_POST
@cache_control(no_store=True)
def submit(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Store the answer and go on to the next pair; an incomplete answer comes back with what is missing."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    counts = not held.is_reopened
    body = answer_body(request.POST, held.project.protocol)
    try:
        submit_annotation(assignment=held, body=body)
    except (InvalidInput, Conflict) as refused:
        return _task(request, held, body=body, refused=refused)
    return _go_on(request, held, _("Saved. Next comparison."), counts=counts)


@signed_in
@require_POST
@cache_control(no_store=True)
def skip(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Give the pair back with a reason and go on to the next one."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    try:
        skip_assignment(
            assignment=held, reason=request.POST.get("reason", ""), note=request.POST.get("note", "").strip()
        )
    except (InvalidInput, Conflict) as refused:
        return _task(request, held, refused_skip=refused)
    return _go_on(request, held, _("Skipped. Next comparison."), counts=False)


@signed_in
@require_http_methods(["PUT", "POST"])
@cache_control(no_store=True)
def draft(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Keep what was typed so far: the page's form, or JSON with values in the order shown."""
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    try:
        is_form = request.method == "POST"
        body = answer_body(request.POST, held.project.protocol) if is_form else json.loads(request.body)
        saved = save_draft(assignment=held, body=body)
    except (ValueError, RecursionError):
        return JsonResponse({"detail": _("A draft must be a JSON object.")}, status=422)
    except AppError as refused:
        return JsonResponse({"detail": refused.detail}, status=refused.status)
    kept = saved.assignment
    is_held = kept.state == Assignment.State.LEASED or kept.is_reopened
    return JsonResponse({"saved_at": saved.updated_at, "held": is_held})


@signed_in
@require_POST
@cache_control(no_store=True)
def following(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Lease the pair after this one unseen, and give its fragment to a script that shows it when the time comes.

    There is none when something else comes first: a changed guideline.
    """
    held = get_assignment(user=request.user, assignment_id=assignment_id)
    ahead = lease_ahead(assignment=held)
    return HttpResponse(status=204) if ahead is None else _task(request, ahead)


@signed_in
@require_POST
def release(request: PageRequest, slug: str) -> HttpResponse:
    """Give back the pair that was leased ahead: the page is being left."""
    membership = get_membership(request.user, slug, *LABELS)
    release_ahead(project=membership.project, annotator=membership.user)
    return HttpResponse(status=204)


@signed_in
@require_POST
def accept(request: PageRequest, slug: str) -> HttpResponse:
    """Note that this person has read what changed in the guideline, and show the next pair."""
    membership = get_membership(request.user, slug, *LABELS)
    number = request.POST.get("number", "")
    known = int(number) if number.isdecimal() and len(number) < 10 else 0
    accept_guideline(project=membership.project, annotator=membership.user, number=known)
    return redirect("queue", slug)


def _guideline_change(request: PageRequest, membership: Membership) -> HttpResponse:
    change = guideline_change(project=membership.project, annotator=request.user)
    if change is None:  # accepted in another tab a moment ago
        return redirect("queue", membership.project.slug)
    lines = changed_lines(change.before.text, change.after.text)
    context = {"membership": membership, "change": change, "lines": lines}
    return _render(request, "labeling/guideline_change.html", context)


def _task(
    request: PageRequest,
    held: Assignment,
    *,
    membership: Membership | None = None,
    body: dict[str, Any] | None = None,
    refused: AppError | None = None,
    refused_skip: AppError | None = None,
) -> HttpResponse:
    """Show the pair in the order this person sees it; nothing else of it reaches the template."""
    membership = membership or get_membership(request.user, held.project.slug, *LABELS)
    load_texts(held)
    kept = None if held.ahead else Draft.objects.filter(assignment=held).first()
    stored = Annotation.objects.filter(assignment=held, is_current=True).first() if held.is_reopened else None
    if body is None:
        body = kept.body if kept else stored_body(stored) if stored else {}
    protocol = held.project.protocol
    *earlier, last = held.comparison.prompt.messages
    first, second = held.comparison.response_1.text, held.comparison.response_2.text
    opened = "skip" if refused_skip else request.GET.get("open", "")
    workload = Workload.objects.filter(project=held.project, annotator=request.user).first() or Workload()
    done_today = workload.submitted_on(timezone.now().date())
    context = {
        "membership": membership,
        "assignment_id": str(held.pk),
        "draft_saved_at": kept.updated_at if kept else None,
        "changes": stored,
        "earlier": earlier,
        "last": last,
        "responses": [(1, second if held.swapped else first), (2, first if held.swapped else second)],
        "form": AnswerForm(protocol, body, refused.errors if refused else ()),
        "refused": refused,
        "refused_skip": refused_skip,
        "skip_groups": skip_groups(protocol),
        "guideline": held.guideline_version,
        "raw": "raw" in request.GET,
        "opened": opened if opened in SHEETS else "",
        "done_today": done_today,
        "done": workload.submitted,
        "can_undo": bool(protocol.undo_minutes and done_today),
    }
    failure = refused or refused_skip
    response = _render(request, "labeling/compare.html", context, status=failure.status if failure else 200)
    if failure:
        response["HX-Reswap"] = "outerHTML"  # stay where the mistake is: the form's own swap goes to the top
    return response


def _go_on(request: PageRequest, done: Assignment, sentence: str, *, counts: bool) -> HttpResponse:
    """Tell the page's script whether the pair it has at hand is the next one; send a plain form to the queue."""
    slug = done.project.slug
    if not request.htmx:
        messages.success(request, sentence)
        return redirect("queue", slug)
    ahead = request.POST.get("ahead", "")
    shown = None
    if ahead.isdecimal() and len(ahead) < 19:
        shown = bring_forward(annotator=request.user, assignment_id=int(ahead))
    event = {"next": str(shown.pk) if shown else "", "says": sentence, "counts": counts}
    return trigger_client_event(
        HttpResponse(status=204), "pair:done", {**event, "queue": reverse("queue", args=[slug])}
    )


def _render(request: PageRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    response = render(request, page_or_partial(request, template, "task"), context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response


# --- Changing one's answer ---


@signed_in
@require_POST
def undo(request: PageRequest, slug: str) -> HttpResponse:
    """Open one's newest submission again, if it can still be changed."""
    membership = get_membership(request.user, slug, *LABELS)
    last = last_submitted(project=membership.project, annotator=membership.user)
    if last is None:
        messages.info(request, _("There is no answer that you could still change."))
        return redirect("queue", slug)
    return _reopen(request, last)


@signed_in
@require_POST
def reopen(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Open a submitted pair again, to change the answer."""
    return _reopen(request, get_assignment(user=request.user, assignment_id=assignment_id))


def _reopen(request: PageRequest, submitted: Assignment) -> HttpResponse:
    try:
        reopen_annotation(assignment=submitted)
    except Conflict as refused:
        messages.error(request, refused.detail)
        return redirect("my-work", submitted.project.slug)
    return redirect("assignment", submitted.pk)


# --- My work ---


@signed_in
@require_GET
def my_work(request: PageRequest, slug: str) -> HttpResponse:
    """List what this person submitted, typed and lost the lease of, and skipped, and how far the project is."""
    membership = get_membership(request.user, slug, *LABELS)
    who: dict[str, Any] = {"project": membership.project, "annotator": membership.user}
    protocol = membership.project.protocol
    mine = Annotation.objects.filter(**who, is_current=True)
    pages = Paginator(mine.select_related("comparison__prompt").order_by("-submitted_at", "-id"), PAGE)
    page = pages.get_page(request.GET.get("page"))
    changeable = changeable_ids(**who)
    assignments = Assignment.objects.filter(**who).select_related("comparison__prompt")
    reasons = {reason.name: wording(reason.label) for reason in protocol.skip_reasons}
    skips = assignments.filter(state=Assignment.State.SKIPPED).order_by("-id")[:PAGE]
    complete = Count("pk", filter=Q(state=QueueItem.State.COMPLETE))
    context = {
        "membership": membership,
        "mine": my_counts(**who),
        "most_counted": MAX_COUNTED,
        "project": QueueItem.objects.filter(project=membership.project).aggregate(total=Count("pk"), complete=complete),
        "page": page,
        "rows": [SubmittedRow.of(annotation, protocol, changeable) for annotation in page],
        "drafts": assignments.filter(state=Assignment.State.EXPIRED, draft__isnull=False)
        .select_related("draft")
        .order_by("-draft__updated_at")[:PAGE],
        "skips": [(skipped, reasons.get(skipped.skip_reason, skipped.skip_reason)) for skipped in skips],
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
