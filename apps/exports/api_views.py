"""REST: snapshots and their files."""

from pathlib import PurePosixPath

from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import ListView
from apps.core.errors import NotFound
from apps.core.file_replies import StoredFile, file_reply
from apps.exports import services
from apps.exports.models import Snapshot
from apps.exports.serializers import ManifestSerializer, NewSnapshotSerializer, SnapshotSerializer
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.projects.access import SEES_RESULTS, get_owned, get_project

NDJSON = "application/x-ndjson"
RANGE_HEADERS = [
    OpenApiParameter(name, str, OpenApiParameter.HEADER) for name in ("Range", "If-Range", "If-None-Match")
]


class SnapshotList(ListView):
    """The snapshots of a project, for managers and researchers."""

    serializer_class = SnapshotSerializer

    def get_queryset(self) -> QuerySet[Snapshot]:
        """Return the snapshots of the project."""
        return get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS).snapshots.defer("manifest")

    @extend_schema(request=NewSnapshotSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Freeze a dataset and start the job that writes its files, in every format."""
        project = get_project(request.user, slug, *SEES_RESULTS)
        body = NewSnapshotSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        snapshot = services.start_snapshot(project=project, body=body.validated_data, created_by=request.user)
        return accepted(job=snapshot.job, created=snapshot)


class SnapshotDetail(APIView):
    """One snapshot."""

    @extend_schema(responses=ManifestSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return the manifest of a snapshot: counts, hashes and files."""
        snapshot = get_owned(request.user, Snapshot.objects.select_related("job"), id, *SEES_RESULTS)
        return Response(ManifestSerializer(snapshot).data)


class SnapshotFile(APIView):
    """A file of a snapshot."""

    @extend_schema(
        operation_id="snapshots_files_retrieve",
        parameters=RANGE_HEADERS,
        responses={
            (200, NDJSON): OpenApiResponse(OpenApiTypes.BINARY, description="The file, one JSON object per line."),
            (206, NDJSON): OpenApiResponse(OpenApiTypes.BINARY, description="The part that `Range` asks for."),
            304: OpenApiResponse(description="You have it: `If-None-Match` names its ETag."),
        },
    )
    def get(self, request: SignedInRequest, id: str, export_format: str, file: str) -> HttpResponseBase:
        """Stream the rows of one split in one format (`{split}.jsonl`); the ETag is the SHA-256 of the manifest."""
        snapshot = get_owned(request.user, Snapshot.objects.all(), id, *SEES_RESULTS)
        name = PurePosixPath(file)
        if name.suffix in {".parquet", ".csv"}:
            raise NotFound(f"This version writes JSON lines only; ask for {name.with_suffix('.jsonl')}.")
        if name.suffix != ".jsonl":
            raise NotFound(f"The snapshot has no file {export_format}/{file}.")
        stream, entry = services.open_file(snapshot=snapshot, export_format=export_format, split=name.stem)
        stored = StoredFile(stream=stream, size=entry["bytes"], sha256=entry["sha256"], content_type=NDJSON)
        return file_reply(request._request, stored)
