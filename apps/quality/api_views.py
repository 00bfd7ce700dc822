"""REST: the quality of a project's labels."""

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.projects.access import SEES_RESULTS, get_project
from apps.quality.serializers import ProjectQualitySerializer
from apps.quality.services import project_quality


class QualityDetail(APIView):
    """Agreement, bias and annotators; for managers and researchers.

    Not for reviewers: they label too, and in a small project a figure about somebody is that person's answer.
    """

    @extend_schema(operation_id="projects_quality_retrieve", responses=ProjectQualitySerializer)
    def get(self, request: SignedInRequest, slug: str) -> Response:
        """Return the figures of a project's labels, computed within the last minute. For managers and researchers."""
        project = get_project(request.user, slug, *SEES_RESULTS)
        return Response(ProjectQualitySerializer(project_quality(project=project)).data)
