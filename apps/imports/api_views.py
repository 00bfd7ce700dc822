"""REST: imports."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import ListView
from apps.imports import services
from apps.imports.models import Import
from apps.imports.serializers import FileSerializer, ImportSerializer, ItemsSerializer
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.projects.access import SEES_RESULTS, Role, get_project


class ImportList(ListView):
    """The imports of a project, for managers and researchers."""

    serializer_class = ImportSerializer
    parser_classes = (*GenericAPIView.parser_classes, MultiPartParser)

    def get_queryset(self) -> QuerySet[Import]:
        """Return the imports with their jobs."""
        return get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS).imports.select_related("job")

    @extend_schema(
        request={"application/json": ItemsSerializer, "multipart/form-data": FileSerializer},
        responses={202: AcceptedSerializer},
    )
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Import comparisons from a file or from the items of the body. For managers."""
        project = get_project(request.user, slug, Role.MANAGER)
        if str(request.content_type).startswith(MultiPartParser.media_type):
            upload = FileSerializer(data=request.data)
            upload.is_valid(raise_exception=True)
            file = upload.validated_data["file"]
            made = services.start_import(project=project, file_name=file.name, stream=file, created_by=request.user)
        else:
            body = ItemsSerializer(data=request.data)
            body.is_valid(raise_exception=True)
            made = services.start_import_of_items(
                project=project, items=body.validated_data["items"], created_by=request.user
            )
        return accepted(job=made.job, created=made)
