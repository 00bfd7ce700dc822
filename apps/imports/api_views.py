"""REST: imports."""

import io
import json
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import ListView
from apps.core.errors import FieldError, InvalidInput
from apps.imports import services
from apps.imports.models import Import
from apps.imports.reports import FORMATS, report_of
from apps.imports.serializers import FileSerializer, ImportSerializer, ItemsSerializer
from apps.imports.undoing import start_undo
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.projects.access import SEES_RESULTS, Role, get_owned, get_project


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
        """Import comparisons: a file, the items of the body, an upload, or a dataset of the hub. For managers."""
        project = get_project(request.user, slug, Role.MANAGER)
        common: dict[str, Any] = {"project": project, "created_by": request.user}
        if str(request.content_type).startswith(MultiPartParser.media_type):
            form = FileSerializer(data=request.data)
            form.is_valid(raise_exception=True)
            given, file = form.validated_data, form.validated_data["file"]
            common |= {"options": given["options"], "benchmarks": given.get("benchmarks")}
            made = services.start_import(file_name=file.name, stream=file, **common)
        else:
            body = ItemsSerializer(data=request.data)
            body.is_valid(raise_exception=True)
            given = body.validated_data
            common |= {"options": given["options"], "benchmarks": _lines(given.get("benchmark_prompts"))}
            if "upload" in given:
                made = services.start_import_of_upload(upload_id=given["upload"], **common)
            elif "dataset" in given:
                made = services.start_import_of_dataset(dataset=dict(given["dataset"]), **common)
            else:
                made = services.start_import_of_items(items=given["items"], **common)
        return accepted(job=made.job, created=made)


class ImportDetail(APIView):
    """One import."""

    @extend_schema(responses=ImportSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return an import with its options, counts and job; for managers and researchers of its project."""
        made = get_owned(request.user, Import.objects.select_related("job"), id, *SEES_RESULTS)
        return Response(ImportSerializer(made).data)


class ImportReport(APIView):
    """What there is to say about the rows of an import."""

    @extend_schema(
        parameters=[OpenApiParameter("format", enum=list(FORMATS), description="jsonl (default) or csv.")],
        responses={(200, "application/x-ndjson"): OpenApiTypes.STR, (200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: SignedInRequest, id: str) -> StreamingHttpResponse:
        """Stream every refused row, duplicate and contradiction, in the order of the file."""
        made = get_owned(request.user, Import.objects.all(), id, *SEES_RESULTS)
        wanted = request.query_params.get("format", "jsonl")
        if wanted not in FORMATS:
            sentence = f"Use one of {', '.join(FORMATS)}."
            raise InvalidInput(sentence, [FieldError("/format", sentence)])
        return report_of(made, wanted)


class ImportUndo(APIView):
    """Take an import back."""

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Delete the comparisons an import made; 409 when one of them has labels or was seen. For managers."""
        made = get_owned(request.user, Import.objects.select_related("job"), id, Role.MANAGER)
        return accepted(job=start_undo(made=made).undo_job, created=made)


def _lines(prompts: list[str] | None) -> Any:
    """Return benchmark prompts as the file that they would come in."""
    if prompts is None:
        return None
    return io.BytesIO(b"".join(json.dumps({"prompt": prompt}).encode() + b"\n" for prompt in prompts))
