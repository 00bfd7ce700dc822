"""Bring pairs in: hand a source in, look at its first rows, say what its columns mean, run it, undo it."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.requests import PageRequest
from apps.core.errors import Conflict, InvalidInput, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.imports import services
from apps.imports.forms import PlanForm, SourceForm
from apps.imports.models import Finding, Import
from apps.imports.outcomes import COUNTS, notice_of
from apps.imports.reports import FORMATS, report_of
from apps.imports.undoing import start_undo
from apps.jobs.models import Job
from apps.jobs.services import live_queues
from apps.projects.access import SEES_RESULTS, get_membership
from apps.projects.models import Membership, Project

PAGE = 20
SHOWN_FINDINGS = 100
STOP_POLLING = 286
COUNT_WORDS = {
    "created": pgettext_lazy("rows of an import", "created"),
    "updated": pgettext_lazy("rows of an import", "updated"),
    "unchanged": pgettext_lazy("rows of an import", "unchanged"),
    "rejected": pgettext_lazy("rows of an import", "rejected"),
    "excluded": pgettext_lazy("rows of an import", "excluded"),
    "duplicates": pgettext_lazy("rows of an import", "duplicates"),
    "reversed": pgettext_lazy("rows of an import", "reversed"),
    "contradictions": pgettext_lazy("rows of an import", "contradictions"),
    "near_duplicates": pgettext_lazy("rows of an import", "near duplicates"),
    "contaminated": pgettext_lazy("rows of an import", "contaminated"),
}


@signed_in
@require_POST
def import_file(request: PageRequest, slug: str) -> HttpResponse:
    """Keep the file and start the job that reads it, without looking at it first."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    file = request.FILES.get("file")
    if file is None or file.file is None or not file.size:
        messages.error(request, _("Choose a file that is not empty."))
        return redirect("project", slug)
    try:
        made = services.start_import(
            project=membership.project, file_name=file.name or "file", stream=file.file, created_by=membership.user
        )
    except InvalidInput as refused:
        messages.error(request, refused.detail)
        return redirect("project", slug)
    return redirect("job", slug, made.job_id)


@signed_in
@require_http_methods(["GET", "POST"])
def imports(request: PageRequest, slug: str) -> HttpResponse:
    """List the imports; a manager hands in another source, of which nothing is stored before it was looked at."""
    roles = SEES_RESULTS if request.method == "GET" else (Membership.Role.MANAGER,)
    membership = get_membership(request.user, slug, *roles)
    form, status = SourceForm(request.POST or None, request.FILES or None), 200
    if request.method == "POST":
        form, status = SourceForm(request.POST, request.FILES), 422
        if form.is_valid():
            try:
                return redirect("import", slug, _hand_in(membership, form).pk)
            except InvalidInput as refused:
                form.add_error("dataset" if form.cleaned_data.get("dataset") else "file", refused.detail)
    rows = Import.objects.filter(project=membership.project).select_related("job", "preview_job", "created_by")
    page = Paginator(rows.order_by("-id"), PAGE).get_page(request.GET.get("page"))
    return render(
        request, "imports/imports.html", {"membership": membership, "form": form, "page": page}, status=status
    )


@signed_in
@require_http_methods(["GET", "POST"])
def import_page(request: PageRequest, slug: str, import_id: int) -> HttpResponse:
    """Show an import: its first rows and what they mean, then how far it is, then what became of them."""
    roles = SEES_RESULTS if request.method == "GET" else (Membership.Role.MANAGER,)
    membership = get_membership(request.user, slug, *roles)
    made = _import_of(membership.project, import_id)
    form, status = PlanForm(made=made), 200
    if request.method == "POST":
        form, status = PlanForm(request.POST, request.FILES, made=made), 422
        if form.is_valid() and (options := form.options(dry_run=request.POST.get("do") == "dry")) is not None:
            try:
                if request.POST.get("do") == "look":
                    return redirect("import", slug, services.look_again(made=made, options=options).pk)
                benchmarks = form.cleaned_data["benchmarks"]
                return redirect("import", slug, services.go_ahead(made=made, options=options, benchmarks=benchmarks).pk)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
            except Conflict as refused:
                messages.error(request, refused.detail)
                return redirect("import", slug, made.pk)
    context = _shown(membership, made) | {"form": form}
    stops = request.htmx and not context["working"]
    return render_page(request, "imports/import.html", "live", context, status=STOP_POLLING if stops else status)


@signed_in
@require_POST
def undo(request: PageRequest, slug: str, import_id: int) -> HttpResponse:
    """Take an import back, by a job."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    made = _import_of(membership.project, import_id)
    try:
        start_undo(made=made)
        messages.success(request, _("The import is being undone."))
    except Conflict as refused:
        messages.error(request, refused.detail)
    return redirect("import", slug, made.pk)


@signed_in
@require_GET
def report(request: PageRequest, slug: str, import_id: int, wanted: str) -> StreamingHttpResponse:
    """Download what there is to say about the rows."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    made = _import_of(membership.project, import_id)
    if wanted not in FORMATS:
        raise NotFound(_("There is no such report."))
    return report_of(made, wanted)


def _hand_in(membership: Membership, form: SourceForm) -> Import:
    common: dict[str, Any] = {"project": membership.project, "created_by": membership.user, "wait": True}
    given = form.cleaned_data
    if given.get("upload"):
        return services.start_import_of_upload(upload_id=given["upload"], **common)
    if given.get("file"):
        file = given["file"]
        return services.start_import(file_name=file.name or "file", stream=file.file, **common)
    return services.start_import_of_dataset(dataset=form.dataset_body(), **common)


def _shown(membership: Membership, made: Import) -> dict[str, Any]:
    """Return what the page shows: one of the jobs while it works, the preview, or the report."""
    jobs = [made.undo_job, made.job, made.preview_job]
    job = next((job for job in jobs if job is not None and not job.finished), None)
    failed = next((job for job in jobs if job is not None and job.finished and job.error), None)
    latest = next((job for job in jobs if job is not None), None)
    if latest is not None and latest.state == Job.State.CANCELLED:
        failed = latest
    ended = made.job is None or made.job.finished
    always = {"created", "updated", "unchanged", "rejected"}
    counts = [
        (COUNT_WORDS[name], made.counts[name])
        for name in COUNTS
        if made.counts.get(name) or (name in always and name in made.counts)
    ]
    return {
        "membership": membership,
        "import": made,
        "job": job or failed,
        "working": job is not None,
        "planned": made.can_start and made.preview is not None and job is None,
        "asleep": {job.queue} - live_queues() if job else set(),
        "counts": counts,
        "notice": notice_of(made.counts) if made.is_read else "",
        "result": (made.job.result or {}) if made.job is not None else {},
        "findings": made.findings.order_by("line", "id")[:SHOWN_FINDINGS] if job is None else Finding.objects.none(),
        "can_undo": ended and made.first_made is not None and made.undone_at is None and not made.is_dry_run,
        "ran_dry": made.is_dry_run and made.is_read,
    }


def _import_of(project: Project, import_id: int) -> Import:
    rows = Import.objects.select_related("job", "preview_job", "undo_job", "upload", "created_by", "project")
    found = rows.filter(project=project, pk=import_id).first()
    if found is None:
        raise NotFound(_("There is no such import in this project."))
    return found
