"""Snapshots: make one, see what is in it, read its card, download its files, compare it with another one."""

import json
from itertools import islice
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.requests import PageRequest
from apps.core.artifacts import artifact_storage
from apps.core.errors import InvalidInput, NotFound
from apps.core.file_replies import file_reply
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.exports import services
from apps.exports.encodings import ENCODINGS
from apps.exports.formats import KNOWN_FORMATS
from apps.exports.forms import SnapshotForm
from apps.exports.models import Snapshot
from apps.jobs.services import live_queues
from apps.labeling.models import Consensus
from apps.projects.access import SEES_RESULTS, get_membership, is_id
from apps.projects.models import Project

PAGE = 20
AT_HAND = (services.BASE_FORMAT, "helpsteer2-preference", "trl-preference")
CHANGES_SHOWN = 200
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
                made = services.start_snapshot(project=membership.project, body=form.body(), created_by=membership.user)
                return redirect("snapshot", slug, made.pk)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
        status = 422
    rows = Snapshot.objects.filter(project=membership.project).select_related("job", "created_by").order_by("-id")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    rows_of_page = [(made, _at_hand(made.manifest)) for made in page]
    context = {"membership": membership, "form": form, "page": page, "rows": rows_of_page}
    return render(request, "exports/snapshots.html", context, status=status)


@signed_in
@require_GET
def snapshot(request: PageRequest, slug: str, snapshot_id: int) -> HttpResponse:
    """Show a snapshot's manifest and files; polled until they are written."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _snapshot_of(membership.project, snapshot_id)
    working = not shown.ready and shown.job is not None and not shown.job.finished
    others = Snapshot.objects.filter(project=membership.project).exclude(content_hash="").exclude(pk=shown.pk)
    context: dict[str, Any] = {
        "membership": membership,
        "snapshot": shown,
        "formats": _formats(shown.manifest),
        "filters": [(name, json.dumps(wanted)) for name, wanted in shown.selection["filters"].items()],
        "others": others.defer("manifest").order_by("-id")[:100] if shown.ready else [],
        "has_card": services.CARD in shown.manifest.get("documents", {}),
        "job": shown.job,
        "working": working,
        "asleep": {shown.job.queue} - live_queues() if working and shown.job else set(),
    }
    status = STOP_POLLING if request.htmx and not working else 200
    return render_page(request, "exports/snapshot.html", "live", context, status=status)


@signed_in
@require_GET
def snapshot_card(request: PageRequest, slug: str, snapshot_id: int) -> HttpResponse:
    """Show the data card, without the front matter that is for programs."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _snapshot_of(membership.project, snapshot_id)
    stored = services.find_document(snapshot=shown, name=services.CARD)
    with artifact_storage().open(stored.name) as stream:
        text = stream.read().decode()
    context = {"membership": membership, "snapshot": shown, "card": text.split("\n---\n", 1)[-1]}
    return render(request, "exports/card.html", context)


@signed_in
@require_GET
def snapshot_diff(request: PageRequest, slug: str, snapshot_id: int) -> HttpResponse:
    """Show what changed from this snapshot to the one that `with` names: every count, the first few changes."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    before, other = _snapshot_of(membership.project, snapshot_id), request.GET.get("with", "")
    after = _snapshot_of(membership.project, int(other) if is_id(other) else 0)
    diff = services.diff_snapshots(before=before, after=after)
    changes = diff.changes()
    first = list(islice(changes, CHANGES_SHOWN))
    for _change in changes:
        pass
    context = {
        "membership": membership,
        "before": before,
        "after": after,
        "changes": first,
        "statuses": Consensus.WORDS,
        "counts": dict(diff.counts),
        "hidden": sum(diff.counts.values()) - diff.counts["unchanged"] - len(first),
    }
    return render(request, "exports/diff.html", context)


@signed_in
@require_GET
def snapshot_file(request: PageRequest, slug: str, snapshot_id: int, export_format: str, file: str) -> HttpResponseBase:
    """Send one file of a snapshot as a download; `document` is the format of what describes it."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _snapshot_of(membership.project, snapshot_id)
    name = f"{slug}-{shown.pk}-{export_format}-{file}"
    if export_format == "document":
        stored = services.find_document(snapshot=shown, name=file)
    else:
        stored = services.find_file(snapshot=shown, export_format=export_format, file=file)
    return file_reply(request, stored.as_download(name))


def _snapshot_of(project: Project, snapshot_id: int) -> Snapshot:
    found = Snapshot.objects.select_related("job", "project").filter(project=project, pk=snapshot_id).first()
    if found is None:
        raise NotFound(_("There is no such snapshot in this project."))
    return found


def _at_hand(manifest: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (format, split, file) of the files that are asked for most, which the list links to."""
    names = [name.partition("/") for name in manifest.get("files", {}) if name.endswith(".jsonl")]
    found = [(name, file.removesuffix(".jsonl"), file) for name, _slash, file in names if name in AT_HAND]
    return sorted(found, key=lambda each: (AT_HAND.index(each[0]), each[1]))


def _formats(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Group the manifest's files by format and split, with what each format leaves out and why."""
    formats: dict[str, dict[str, Any]] = {}
    endings = list(ENCODINGS)
    files = [(*name.partition("/")[::2], entry) for name, entry in manifest.get("files", {}).items()]
    for export_format, file, entry in sorted(files, key=lambda each: endings.index(each[1].partition(".")[2])):
        split, _dot, encoding = file.partition(".")
        group = formats.setdefault(
            export_format,
            {
                "name": export_format,
                "summary": _(KNOWN_FORMATS[export_format].summary) if export_format in KNOWN_FORMATS else "",
                "splits": {},
                "left_out": manifest["left_out"].get(export_format, {}),
            },
        )
        row = group["splits"].setdefault(split, {"name": split, "rows": entry["rows"], "files": []})
        row["files"].append({"name": file, "encoding": encoding, **entry})
    return [
        {**formats[name], "splits": list(formats[name]["splits"].values())}
        for name in sorted(
            formats, key=lambda name: (list(KNOWN_FORMATS).index(name) if name in KNOWN_FORMATS else -1, name)
        )
    ]
