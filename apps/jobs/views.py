"""A job's page, and the button that cancels it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.requests import PageRequest
from apps.core.errors import Conflict, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.jobs.models import Job
from apps.jobs.services import cancel as cancel_job
from apps.jobs.services import live_queues
from apps.projects.access import SEES_RESULTS, get_membership
from apps.projects.models import Membership

STOP_POLLING = 286


@signed_in
@require_GET
def job(request: PageRequest, slug: str, job_id: int) -> HttpResponse:
    """Show what a job does, did, or stumbled over; polled while it is unfinished."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _job_of(membership, job_id)
    asleep = [] if shown.finished or shown.queue in live_queues() else [shown.queue]
    status = STOP_POLLING if request.htmx and shown.finished else 200
    context = {"membership": membership, "job": shown, "asleep": asleep}
    return render_page(request, "jobs/job.html", "live", context, status=status)


@signed_in
@require_POST
def cancel(request: PageRequest, slug: str, job_id: int) -> HttpResponse:
    """Cancel an unfinished job."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    try:
        cancel_job(job=_job_of(membership, job_id))
        messages.success(request, _("The job is cancelled."))
    except Conflict as refused:
        messages.error(request, refused.detail)
    return redirect("project", slug)


def _job_of(membership: Membership, job_id: int) -> Job:
    found = Job.objects.select_related("created_by").filter(project=membership.project, pk=job_id).first()
    if found is None:
        raise NotFound(_("There is no such job in this project."))
    return found
