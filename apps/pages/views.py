"""Home, the project page, and the list of comparisons."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from apps.accounts.requests import PageRequest
from apps.core.errors import NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.labeling.forms import preference_sentence
from apps.labeling.models import Annotation, QueueItem
from apps.labeling.services import my_counts
from apps.pages import figures
from apps.projects.access import ANY_ROLE, LABELS, SEES_RESULTS, get_membership
from apps.projects.models import Membership, Project
from apps.prompts.models import Comparison
from apps.reward_models.models import RetrainPolicy
from apps.signals.models import Scorer, Signal
from worker.core.consensus import Status

PAGE = 50
STOP_POLLING = 286
STATUSES = [status.value for status in Status]


@signed_in
@require_GET
def home(request: PageRequest) -> HttpResponse:
    """List my projects with what waits for me in each."""
    memberships = Membership.objects.filter(user=request.user).select_related("project").order_by("project__name")
    labeled = [membership.project_id for membership in memberships if membership.role in LABELS]
    waiting = figures.waiting_for(request.user, labeled)
    others = Project.objects.none()
    if request.user.is_superuser:
        others = Project.objects.exclude(memberships__user=request.user).order_by("name")
    context = {"memberships": memberships, "labeled": labeled, "waiting": waiting, "others": others}
    return render(request, "pages/home.html", context)


@signed_in
@require_GET
def project(request: PageRequest, slug: str) -> HttpResponse:
    """Show the project to those who run it, and one's own part of it to annotators and reviewers."""
    membership = get_membership(request.user, slug, *ANY_ROLE)
    if membership.role not in SEES_RESULTS:
        mine = my_counts(project=membership.project, annotator=membership.user)
        waiting = figures.waiting_for(membership.user, [membership.project.pk]).get(membership.project.pk, 0)
        return render(request, "pages/my_part.html", {"membership": membership, "mine": mine, "waiting": waiting})
    shown = membership.project
    context: dict[str, Any] = {"membership": membership, **figures.live_block(shown)}
    if request.htmx:
        status = 200 if context["unfinished"] else STOP_POLLING
        return render_page(request, "pages/project.html", "live", context, status=status)
    context |= {
        "annotators": figures.annotator_rows(shown),
        "policy": RetrainPolicy.objects.filter(project=shown).first(),
        "guideline": shown.current_guideline(),
    }
    return render_page(request, "pages/project.html", "live", context)


# --- Comparisons ---


@signed_in
@require_GET
def comparisons(request: PageRequest, slug: str) -> HttpResponse:
    """List comparisons with their state and consensus."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    rows = Comparison.objects.filter(project=membership.project)
    state, status = request.GET.get("state", ""), request.GET.get("consensus", "")
    if state in QueueItem.State.values:
        rows = rows.filter(queue_item__state=state)
    if status in STATUSES:
        rows = rows.filter(consensus__status=status)
    if external_id := request.GET.get("external_id", "").strip():
        rows = rows.filter(external_id__icontains=external_id)
    rows = rows.select_related("prompt", "queue_item", "consensus").defer("reference", "metadata").order_by("id")
    context = {
        "membership": membership,
        "page": Paginator(rows, PAGE).get_page(request.GET.get("page")),
        "states": QueueItem.State.choices,
        "statuses": [(value, value.capitalize()) for value in STATUSES],
        "chosen": {"state": state, "consensus": status, "external_id": external_id},
    }
    return render_page(request, "pages/comparisons.html", "results", context)


@signed_in
@require_GET
def comparison(request: PageRequest, slug: str, comparison_id: int) -> HttpResponse:
    """Show one comparison in canonical order with every annotation and what they add up to."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = (
        Comparison.objects.select_related("prompt", "response_1", "response_2", "queue_item", "consensus")
        .filter(project=membership.project, pk=comparison_id)
        .first()
    )
    if shown is None:
        raise NotFound(_("There is no such comparison in this project."))
    annotations = Annotation.objects.current().filter(comparison=shown).select_related("annotator", "guideline_version")
    consensus = getattr(shown, "consensus", None)
    kept = set(consensus.kept) if consensus else set()
    scorer = Scorer.objects.filter(project=membership.project, orders_queue=True).first()
    rewards: dict[int, float] = {}
    if scorer:
        signals = Signal.objects.filter(scorer=scorer, response__in=[shown.response_1_id, shown.response_2_id])
        rewards = dict(signals.values_list("response_id", "value"))
    context = {
        "membership": membership,
        "comparison": shown,
        "consensus": consensus,
        "verdict": preference_sentence(consensus.preference) if consensus and consensus.status == "agreed" else "",
        "responses": [
            (1, shown.response_1, rewards.get(shown.response_1_id)),
            (2, shown.response_2, rewards.get(shown.response_2_id)),
        ],
        "scorer": scorer,
        "attributes": membership.project.protocol.attributes,
        "annotations": [
            (annotation, annotation.pk in kept, preference_sentence(annotation.vote))
            for annotation in annotations.order_by("submitted_at", "id")
        ],
    }
    return render(request, "pages/comparison.html", context)
