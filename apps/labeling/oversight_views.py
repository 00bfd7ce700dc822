"""Pages of those who watch over the queue: flags, leaving out and putting back, cohorts."""

from dataclasses import dataclass, field

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.requests import PageRequest
from apps.core.counts import counted
from apps.core.errors import InvalidInput, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.labeling import cohorts as services
from apps.labeling.models import Annotation, Assignment, Cohort
from apps.labeling.oversight import KINDS, close_comparison, marked_unsafe, put_back, remarks, reported
from apps.labeling.oversight_forms import CohortChangeForm, CohortForm, unsafe_responses, worded
from apps.projects.access import OVERSEES, get_membership, is_id
from apps.projects.models import Membership, Project
from apps.prompts.models import Comparison

PAGE = 25
MAX_AT_ONCE = 500


# --- Flags ---


@dataclass
class Reported:
    """A comparison with what people reported about it."""

    comparison: Comparison
    flags: list[tuple[Assignment, str]] = field(default_factory=list)
    unsafe: list[tuple[Annotation, list[int]]] = field(default_factory=list)

    @property
    def is_flagged(self) -> bool:
        """Say whether somebody calls it invalid, and nobody has put it back since."""
        return any(skip.flagged_at for skip, _reason in self.flags)


@signed_in
@require_GET
def flags(request: PageRequest, slug: str) -> HttpResponse:
    """List what was flagged, closed, marked as unsafe or skipped with a note."""
    membership = get_membership(request.user, slug, *OVERSEES)
    kind = request.GET.get("kind", "")
    kind = kind if kind in KINDS else "flagged"
    page = Paginator(reported(membership=membership, kind=kind), PAGE).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "kind": kind,
        "kinds": KINDS.items(),
        "page": page,
        "rows": _reported(membership, list(page)),
    }
    return render_page(request, "labeling/oversight/flags.html", "results", context)


def _reported(membership: Membership, ids: list[int]) -> list[Reported]:
    """Return the comparisons with what was said of them, in this order (three queries)."""
    found = Comparison.objects.filter(pk__in=ids).select_related("prompt", "queue_item").defer("reference", "metadata")
    rows = {comparison.pk: Reported(comparison) for comparison in found}
    project = membership.project
    for skip, reason in worded(remarks(project=project, comparison_ids=ids), project.protocol):
        rows[skip.comparison_id].flags.append((skip, reason))
    for annotation, numbers in unsafe_responses(marked_unsafe(membership=membership, comparison_ids=ids)):
        rows[annotation.comparison_id].unsafe.append((annotation, numbers))
    return [rows[pk] for pk in ids]


# --- Leaving out and putting back ---


@signed_in
@require_POST
def close(request: PageRequest, slug: str) -> HttpResponse:
    """Leave out the comparisons that were chosen."""
    membership = get_membership(request.user, slug, *OVERSEES)
    chosen = _chosen(request, membership.project)
    reason = request.POST.get("reason", "")
    try:
        closed = sum([close_comparison(comparison=each, actor=membership.user, reason=reason) for each in chosen])
    except InvalidInput as refused:
        messages.error(request, refused.errors[0].detail)
        return _back(request, slug)
    text = ngettext("%(count)s comparison is closed.", "%(count)s comparisons are closed.", closed)
    _say(request, text % {"count": closed}, chosen)
    return _back(request, slug)


@signed_in
@require_POST
def reopen(request: PageRequest, slug: str) -> HttpResponse:
    """Put the comparisons that were chosen back into the queue."""
    membership = get_membership(request.user, slug, *OVERSEES)
    chosen = _chosen(request, membership.project)
    changed = sum([put_back(comparison=each, actor=membership.user) for each in chosen])
    text = ngettext(
        "%(count)s comparison is in the queue again.", "%(count)s comparisons are in the queue again.", changed
    )
    _say(request, text % {"count": changed}, chosen)
    return _back(request, slug)


def _chosen(request: PageRequest, project: Project) -> list[Comparison]:
    ids = [each for each in request.POST.getlist("comparison") if is_id(each)][:MAX_AT_ONCE]
    rows = Comparison.objects.filter(project=project, pk__in=ids).select_related("project")
    return list(rows.defer("reference", "metadata").order_by("pk"))


def _say(request: PageRequest, text: str, chosen: list[Comparison]) -> None:
    if chosen:
        messages.success(request, text)
    else:
        messages.error(request, _("Choose at least one comparison."))


def _back(request: PageRequest, slug: str) -> HttpResponse:
    """Go back to the page of this site that the form names, or to the flags."""
    target = request.POST.get("next", "")
    local = target.startswith("/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    return redirect(target if local else reverse("flags", args=[slug]))


# --- Cohorts ---


@signed_in
@require_http_methods(["GET", "POST"])
def cohorts(request: PageRequest, slug: str) -> HttpResponse:
    """List the cohorts and make one."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    project = membership.project
    people = services.labeling_members(project)
    form, status = CohortForm(request.POST or None, people=people), 200
    if request.method == "POST":
        if form.is_valid():
            try:
                made = services.create_cohort(project=project, actor=membership.user, **form.values())
                messages.success(request, _("The cohort %(name)s is made.") % {"name": made.name})
                return redirect("cohorts", slug)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
        status = 422
    rows = list(project.cohorts.prefetch_related("members").order_by("name"))
    labeling = {person.pk for person in people}
    progress = counted(
        f"cohorts-{project.pk}-{len(rows)}",
        lambda: services.cohort_progress(rows),
        size=lambda found: sum(each.total for each in found.values()),
    )
    shown = [(row, progress.get(row.pk), len(labeling & {person.pk for person in row.members.all()})) for row in rows]
    context = {"membership": membership, "form": form, "cohorts": shown, "needed": project.protocol.annotators}
    return render(request, "labeling/oversight/cohorts.html", context, status=status)


@signed_in
@require_http_methods(["GET", "POST"])
def cohort(request: PageRequest, slug: str, cohort_id: int) -> HttpResponse:
    """Show one cohort and change it."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    shown = _cohort(membership.project, cohort_id)
    initial = {"name": shown.name, "members": list(shown.members.values_list("username", flat=True))}
    people = services.labeling_members(membership.project)
    form, status = CohortChangeForm(request.POST or None, people=people, initial=initial), 200
    if request.method == "POST":
        if form.is_valid():
            try:
                services.change_cohort(cohort=shown, actor=membership.user, **form.values())
                messages.success(request, _("The cohort is changed."))
                return redirect("cohort", slug, shown.pk)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
        status = 422
    context = {
        "membership": membership,
        "cohort": shown,
        "form": form,
        "progress": counted(
            f"cohort-{shown.pk}",
            lambda: services.cohort_progress([shown])[shown.pk],
            size=lambda found: found.total,
        ),
    }
    return render(request, "labeling/oversight/cohort.html", context, status=status)


@signed_in
@require_POST
def remove_cohort(request: PageRequest, slug: str, cohort_id: int) -> HttpResponse:
    """Delete a cohort; its comparisons are everybody's again."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    removed = _cohort(membership.project, cohort_id)
    services.delete_cohort(cohort=removed, actor=membership.user)
    messages.success(request, _("The cohort %(name)s is deleted.") % {"name": removed.name})
    return redirect("cohorts", slug)


def _cohort(project: Project, cohort_id: int) -> Cohort:
    found = project.cohorts.filter(pk=cohort_id).first() if is_id(str(cohort_id)) else None
    if found is None:
        raise NotFound(_("There is no such cohort in this project."))
    return found
