"""Hand in a file of pairs."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from apps.accounts.requests import PageRequest
from apps.core.signed_in import signed_in
from apps.imports.services import start_import
from apps.projects.access import get_membership
from apps.projects.models import Membership


@signed_in
@require_POST
def import_file(request: PageRequest, slug: str) -> HttpResponse:
    """Keep the file and start the job that reads it."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    file = request.FILES.get("file")
    if file is None or file.file is None or not file.size:
        messages.error(request, _("Choose a file that is not empty."))
        return redirect("project", slug)
    made = start_import(
        project=membership.project, file_name=file.name or "file", stream=file.file, created_by=membership.user
    )
    return redirect("job", slug, made.job_id)
