"""Home, the project page, and the list of comparisons."""

from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from apps.accounts.requests import PageRequest
from apps.core.counts import LongPaginator
from apps.core.errors import NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.labeling.forms import preference_sentence
from apps.labeling.models import Annotation, Consensus, QueueItem
from apps.labeling.oversight import answers_open_to, marked_unsafe, nobody_left, remarks
from apps.labeling.oversight_forms import unsafe_responses, worded
from apps.labeling.services import my_counts
from apps.pages import figures
from apps.projects.access import ANY_ROLE, LABELS, OVERSEES, SEES_RESULTS, get_membership, is_id
from apps.projects.models import Membership, Project
from apps.prompts.models import Comparison
from apps.reward_models.models import RetrainPolicy
from apps.signals.models import Scorer, Signal
from worker.core.consensus import Status

PAGE = 50
STOP_POLLING = 286
STATUSES = [status.value for status in Status]
NOBODY_LEFT = "nobody_left"
"""A state to look for that no queue item has by itself: see `apps.labeling.oversight.nobody_left`."""


@signed_in
@require_GET
def home(request: PageRequest) -> HttpResponse:
    """List my projects with what waits for me in each."""
    memberships = Membership.objects.filter(user=request.user).select_related("project").order_by("project__name")
    labeled = [membership.project_id for membership in memberships if membership.role in LABELS]
    waiting = figures.waiting_for(request.user, [each.project for each in memberships if each.role in LABELS])
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
        waiting = figures.waiting_for(membership.user, [membership.project])[membership.project.pk]
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
        "flags": figures.flag_count(shown) if membership.role in OVERSEES else 0,
    }
    return render_page(request, "pages/project.html", "live", context)


# --- Comparisons ---


@signed_in
@require_GET
def comparisons(request: PageRequest, slug: str) -> HttpResponse:
    """List comparisons with their state and consensus."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    project = membership.project
    rows = Comparison.objects.filter(project=project)
    chosen = {name: request.GET.get(name, "").strip() for name in ("state", "consensus", "external_id", "cohort")}
    if chosen["state"] in QueueItem.State.values:
        rows = rows.filter(queue_item__state=chosen["state"])
    if chosen["state"] == NOBODY_LEFT:
        rows = rows.filter(nobody_left(project))
    if chosen["consensus"] in STATUSES:
        rows = rows.filter(consensus__status=chosen["consensus"])
    if is_id(chosen["cohort"]):
        rows = rows.filter(queue_item__cohort=int(chosen["cohort"]))
    external_id = chosen["external_id"].replace("\x00", "")
    if external_id:
        exact = rows.filter(external_id=external_id)  # by the index; to look into every id takes a while
        rows = exact if exact.exists() else rows.filter(external_id__icontains=external_id)
    page = LongPaginator(rows.order_by("pk").values_list("pk", flat=True), PAGE).get_page(request.GET.get("page"))
    shown = Comparison.objects.filter(pk__in=list(page)).select_related("prompt", "queue_item", "consensus")
    context = {
        "membership": membership,
        "page": page,
        "comparisons": shown.defer("reference", "metadata").order_by("pk"),
        "states": [*QueueItem.State.choices, (NOBODY_LEFT, _("Escalated, and nobody is left"))],
        "statuses": [(status.value, Consensus.WORDS[status]) for status in Status],
        "cohorts": project.cohorts.order_by("name"),
        "chosen": chosen,
        "oversees": membership.role in OVERSEES,
    }
    return render_page(request, "pages/comparisons.html", "results", context)


@signed_in
@require_GET
def comparison(request: PageRequest, slug: str, comparison_id: int) -> HttpResponse:
    """Show one comparison in canonical order with every annotation and what they add up to.

    A reviewer sees the texts, and what others answered only where they cannot be asked (any more) themselves.
    """
    membership = get_membership(request.user, slug, *SEES_RESULTS, *OVERSEES)
    rows = Comparison.objects.select_related("prompt", "response_1", "response_2", "queue_item__cohort", "consensus")
    project = membership.project
    shown = rows.filter(project=project, pk=comparison_id).first()
    if shown is None:
        raise NotFound(_("There is no such comparison in this project."))
    said = worded(remarks(project=project, comparison_ids=[shown.pk]), project.protocol)
    context = {
        "membership": membership,
        "comparison": shown,
        "responses": [(1, shown.response_1, "", None), (2, shown.response_2, "", None)],
        "oversees": membership.role in OVERSEES,
        "item": shown.queue_item,
        "remarks": said,
        "is_flagged": any(skip.flagged_at for skip, _reason in said),
        "unsafe": unsafe_responses(marked_unsafe(membership=membership, comparison_ids=[shown.pk])),
    }
    sees_results = membership.role in SEES_RESULTS
    if sees_results:
        context |= _rewards(project, shown)
    if sees_results or rows.filter(answers_open_to(membership), pk=shown.pk).exists():
        context |= _answers(project, shown)
    return render(request, "pages/comparison.html", context)


def _rewards(project: Project, shown: Comparison) -> dict[str, Any]:
    """Return who wrote the responses, their rewards, if there is a scorer, and what the baselines measured."""
    scorers = list(project.scorers.filter(Q(orders_queue=True) | Q(kind=Scorer.Kind.LENGTH)).order_by("name"))
    pair = [shown.response_1_id, shown.response_2_id]
    values: dict[int, dict[int, float]] = {each.pk: {} for each in scorers}
    if scorers:
        signals = Signal.objects.filter(scorer__in=scorers, response__in=pair)
        for scorer_id, response_id, value in signals.values_list("scorer_id", "response_id", "value"):
            values[scorer_id][response_id] = value
    scorer = next((each for each in scorers if each.orders_queue), None)
    rewards = values[scorer.pk] if scorer else {}
    sides = ((1, shown.response_1, shown.model_1), (2, shown.response_2, shown.model_2))
    rewarded = [(label, response, model, rewards.get(response.pk)) for label, response, model in sides]
    return {
        "sees_results": True,
        "scorer": scorer,
        "responses": rewarded,
        "baselines": [
            (each.name, *map(values[each.pk].get, pair)) for each in scorers if values[each.pk] and each != scorer
        ],
    }


def _answers(project: Project, shown: Comparison) -> dict[str, Any]:
    """Return the annotations, which of them were kept, and what they add up to."""
    annotations = Annotation.objects.current().filter(comparison=shown).select_related("annotator", "guideline_version")
    consensus = getattr(shown, "consensus", None)
    kept = set(consensus.kept) if consensus else set()
    return {
        "sees_answers": True,
        "consensus": consensus,
        "verdict": preference_sentence(consensus.preference) if consensus and consensus.status == "agreed" else "",
        "attributes": project.protocol.attributes,
        "annotations": [
            (annotation, annotation.pk in kept, preference_sentence(annotation.vote))
            for annotation in annotations.order_by("submitted_at", "id")
        ],
    }
