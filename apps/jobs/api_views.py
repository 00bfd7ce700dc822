"""REST: jobs."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import Filter, ListView
from apps.jobs import services
from apps.jobs.kinds import KINDS
from apps.jobs.models import Job
from apps.jobs.serializers import AcceptedSerializer, JobSerializer
from apps.projects.access import SEES_RESULTS, get_owned, get_project


def accepted(*, job: Job | None, created: Any = None) -> Response:
    """Return 202 with the job, and the id of the row created for it if there is one."""
    body = {"id": None if created is None else created.pk, "job": job}
    return Response(AcceptedSerializer(body).data, status=status.HTTP_202_ACCEPTED)


class ProjectJobList(ListView):
    """The jobs of a project, for managers and researchers."""

    serializer_class = JobSerializer
    filters = {"kind": Filter("kind", choices=tuple(KINDS)), "state": Filter("state", choices=Job.State.values)}

    def get_queryset(self) -> QuerySet[Job]:
        """Return the jobs of the project."""
        return get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS).jobs.all()

    def get_serializer_context(self) -> dict[str, Any]:
        """Add the queues that a worker listens to."""
        return {**super().get_serializer_context(), "live_queues": services.live_queues()}


class JobDetail(APIView):
    """One job."""

    @extend_schema(responses=JobSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return a job with its progress; for managers and researchers of its project."""
        job = get_owned(request.user, Job.objects.all(), id, *SEES_RESULTS)
        return Response(JobSerializer(job, context={"live_queues": services.live_queues()}).data)


class JobCancel(APIView):
    """Stop a job."""

    @extend_schema(request=None, responses=JobSerializer)
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Cancel a job; a worker that has it stops at its next heartbeat. 409 when it has ended already."""
        job = get_owned(request.user, Job.objects.all(), id, *SEES_RESULTS)
        return Response(JobSerializer(services.cancel(job=job)).data)
