"""Snapshots: make one, see what is in it, download its files."""

from typing import Any

from django.core.paginator import Paginator
from django.http import FileResponse, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.requests import PageRequest
from apps.core.errors import InvalidInput, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.exports.forms import SnapshotForm
from apps.exports.models import Snapshot
from apps.exports.services import open_file, start_snapshot
from apps.jobs.services import live_queues
from apps.projects.access import SEES_RESULTS, get_membership
from apps.projects.models import Project

PAGE = 20
STOP_POLLING = 286


@signed_in
@require_http_methods(["GET", "POST"])
def snapshots(request: PageRequest, slug: str) -> HttpResponse:
    """List the snapshots and make one."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    form, status = SnapshotForm(request.POST or None), 200
    if request.method == "POST":
        if form.is_valid():
            try:
                made = start_snapshot(project=membership.project, body=form.body(), created_by=membership.user)
                return redirect("snapshot", slug, made.pk)
            except InvalidInput as refused:
                for error in refused.errors:
                    form.add_error(None, error.detail)
        status = 422
    rows = Snapshot.objects.filter(project=membership.project).select_related("job", "created_by").order_by("-id")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "form": form,
        "page": page,
        "rows": [(made, _formats(made.manifest)) for made in page],
    }
    return render(request, "exports/snapshots.html", context, status=status)


@signed_in
@require_GET
def snapshot(request: PageRequest, slug: str, snapshot_id: int) -> HttpResponse:
    """Show a snapshot's files and what was left out; polled until they are written."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _snapshot_of(membership.project, snapshot_id)
    working = not shown.ready and shown.job is not None and not shown.job.finished
    context: dict[str, Any] = {
        "membership": membership,
        "snapshot": shown,
        "formats": _formats(shown.manifest),
        "job": shown.job,
        "working": working,
        "asleep": {shown.job.queue} - live_queues() if working and shown.job else set(),
    }
    status = STOP_POLLING if request.htmx and not working else 200
    return render_page(request, "exports/snapshot.html", "live", context, status=status)


@signed_in
@require_GET
def snapshot_file(request: PageRequest, slug: str, snapshot_id: int, export_format: str, split: str) -> FileResponse:
    """Stream one file of a snapshot as a download."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _snapshot_of(membership.project, snapshot_id)
    stream, entry = open_file(snapshot=shown, export_format=export_format, split=split)
    response = FileResponse(
        stream,
        as_attachment=True,
        filename=f"{slug}-{shown.pk}-{export_format}-{split}.jsonl",
        content_type="application/x-ndjson",
    )
    response["Content-Length"] = str(entry["bytes"])
    response["ETag"] = f'"{entry["sha256"]}"'
    return response


def _snapshot_of(project: Project, snapshot_id: int) -> Snapshot:
    found = Snapshot.objects.select_related("job").filter(project=project, pk=snapshot_id).first()
    if found is None:
        raise NotFound(_("There is no such snapshot in this project."))
    return found


def _formats(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Group the manifest's files by format, with what each format leaves out and why."""
    formats: dict[str, dict[str, Any]] = {}
    for name, entry in sorted(manifest.get("files", {}).items()):
        export_format, file = name.split("/", 1)
        group = formats.setdefault(
            export_format,
            {"name": export_format, "files": [], "left_out": manifest["left_out"].get(export_format, {})},
        )
        group["files"].append({"split": file.removesuffix(".jsonl"), **entry})
    return list(formats.values())
