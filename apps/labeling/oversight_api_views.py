"""REST: flags, leaving out and putting back, cohorts."""

from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import Filter, ListView
from apps.labeling import cohorts, oversight
from apps.labeling.models import Assignment, Cohort, QueueItem
from apps.labeling.oversight_serializers import (
    CloseSerializer,
    CohortChangesSerializer,
    CohortSerializer,
    FlagSerializer,
    NewCohortSerializer,
    OverseenSerializer,
)
from apps.projects.access import OVERSEES, Role, get_owned, get_project
from apps.prompts.models import Comparison


class FlagList(ListView):
    """The comparisons that people called invalid, or gave back with a note; for managers and reviewers."""

    serializer_class = FlagSerializer
    filters = {
        "state": Filter("comparison__queue_item__state", choices=QueueItem.State.values),
        "external_id": Filter("comparison__external_id"),
    }

    def get_queryset(self) -> QuerySet[Assignment]:
        """Return the flags and notes of the project."""
        project = get_project(self.request.user, self.kwargs["slug"], *OVERSEES)
        skips = Assignment.objects.filter(project=project, state=Assignment.State.SKIPPED)
        telling = skips.filter(Q(flagged_at__isnull=False) | ~Q(skip_note=""))
        return telling.select_related("annotator", "comparison__queue_item")


class ComparisonClose(APIView):
    """Leaving a comparison out."""

    @extend_schema(request=CloseSerializer, responses=OverseenSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Hand it out no more and count it as no label; closing twice changes nothing. For managers and reviewers."""
        comparison = _comparison(request, slug, id)
        body = CloseSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        oversight.close_comparison(comparison=comparison, actor=request.user, **body.validated_data)
        return Response(OverseenSerializer(QueueItem.objects.get(pk=comparison.pk)).data)


class ComparisonPutBack(APIView):
    """Putting a comparison back into the queue."""

    @extend_schema(request=None, responses=OverseenSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Hand it out again and forget the flags raised so far. For managers and reviewers."""
        comparison = _comparison(request, slug, id)
        oversight.put_back(comparison=comparison, actor=request.user)
        return Response(OverseenSerializer(QueueItem.objects.get(pk=comparison.pk)).data)


class CohortList(ListView):
    """The cohorts of a project: people who get a batch of comparisons that nobody else gets. For managers."""

    serializer_class = CohortSerializer
    progress: dict[int, cohorts.CohortProgress] = {}

    def get_queryset(self) -> QuerySet[Cohort]:
        """Return the cohorts with their people."""
        project = get_project(self.request.user, self.kwargs["slug"], Role.MANAGER)
        return project.cohorts.prefetch_related("members")

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return a page, and count its comparisons (one query)."""
        page = super().paginate_queryset(queryset)
        self.progress = cohorts.cohort_progress(page or [])
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """Add the progress of the page."""
        return {**super().get_serializer_context(), "progress": self.progress}

    @extend_schema(request=NewCohortSerializer, responses={201: CohortSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Give comparisons to named people: at least as many as the protocol asks for each. For managers."""
        project = get_project(request.user, slug, Role.MANAGER)
        body = NewCohortSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        cohort = cohorts.create_cohort(project=project, actor=request.user, **body.values())
        return Response(_shown(cohort), status=status.HTTP_201_CREATED)


class CohortDetail(APIView):
    """One cohort; for managers."""

    @extend_schema(responses=CohortSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return a cohort with its people and its progress."""
        return Response(_shown(_cohort(request, id)))

    @extend_schema(request=CohortChangesSerializer, responses=CohortSerializer)
    def patch(self, request: SignedInRequest, id: str) -> Response:
        """Change its name or people, and let comparisons come or go; live leases stay with whoever holds them."""
        cohort = _cohort(request, id)
        body = CohortChangesSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(_shown(cohorts.change_cohort(cohort=cohort, actor=request.user, **body.values())))

    @extend_schema(responses={204: None})
    def delete(self, request: SignedInRequest, id: str) -> Response:
        """Delete it; everybody may get its comparisons from now on."""
        cohorts.delete_cohort(cohort=_cohort(request, id), actor=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _comparison(request: SignedInRequest, slug: str, id: str) -> Comparison:
    project = get_project(request.user, slug, *OVERSEES)
    rows = Comparison.objects.filter(project=project).defer("reference", "metadata")
    return get_owned(request.user, rows, id, *OVERSEES)


def _cohort(request: SignedInRequest, id: str) -> Cohort:
    return get_owned(request.user, Cohort.objects.all(), id, Role.MANAGER)


def _shown(cohort: Cohort) -> dict[str, Any]:
    context = {"progress": cohorts.cohort_progress([cohort])}
    return dict(CohortSerializer(cohort, context=context).data)
