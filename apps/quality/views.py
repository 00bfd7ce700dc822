"""Pages of a project's label quality."""

import csv

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from apps.accounts.requests import PageRequest
from apps.core.errors import NotFound
from apps.core.signed_in import signed_in
from apps.core.spreadsheets import formula_safe
from apps.projects.access import SEES_RESULTS, get_membership
from apps.quality import tables
from apps.quality.services import annotator_table, project_quality

PAGE = 50


@signed_in
@require_GET
def quality(request: PageRequest, slug: str) -> HttpResponse:
    """Show agreement, bias and annotators."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    found = project_quality(project=membership.project)
    page = Paginator(found.annotators, PAGE).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "quality": found,
        "stages": [found.agreement[stage] for stage in tables.STAGES],
        "share_rows": tables.share_rows(found.agreement),
        "coefficient_rows": tables.coefficient_rows(found.agreement),
        "attributes": {attribute.name: attribute.label for attribute in membership.project.protocol.attributes},
        "columns": tables.COLUMNS,
        "page": page,
        "annotators": tables.annotator_rows(list(page)),
        "remarked": tables.remarked(found.annotators),
    }
    return render(request, "quality/quality.html", context)


@signed_in
@require_GET
def annotator(request: PageRequest, slug: str, annotator_id: int) -> HttpResponse:
    """Show one person's figures beside those of all the others."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    found = project_quality(project=membership.project)
    person = found.annotator(annotator_id)
    if person is None:
        raise NotFound(_("This person has not answered anything in this project."))
    context = {
        "membership": membership,
        "quality": found,
        "person": person,
        "remarks": [tables.REMARKS[name] for name in person["remarks"]],
        "rows": tables.person_rows(person, found.annotators),
        "preferences": tables.preference_rows(person, found.annotators),
    }
    return render(request, "quality/annotator.html", context)


@signed_in
@require_GET
def annotators_csv(request: PageRequest, slug: str) -> HttpResponse:
    """Return the table of annotators as CSV that no spreadsheet runs."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    found = project_quality(project=membership.project)
    reply = HttpResponse(content_type="text/csv; charset=utf-8")
    reply.headers["Content-Disposition"] = f'attachment; filename="{slug}-annotators.csv"'
    writer = csv.writer(reply)
    for row in annotator_table(found.annotators):
        writer.writerow([formula_safe(cell) if isinstance(cell, str) else cell for cell in row])
    return reply
