"""REST: snapshots, their files, and what changed between two of them."""

from abc import ABC, abstractmethod
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import ListView
from apps.core.entity_tags import etag_by
from apps.core.file_replies import StoredFile, file_reply
from apps.core.selection import selected_fields
from apps.exports import services
from apps.exports.diff import PARTS
from apps.exports.encodings import ENCODINGS
from apps.exports.models import Snapshot
from apps.exports.serializers import DiffSerializer, ManifestSerializer, NewSnapshotSerializer, SnapshotSerializer
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.projects.access import SEES_RESULTS, get_owned, get_project

RANGE_HEADERS = [
    OpenApiParameter(name, str, OpenApiParameter.HEADER) for name in ("Range", "If-Range", "If-None-Match")
]


def file_responses(*media_types: str) -> dict[Any, OpenApiResponse]:
    """Return what a file may be answered with, for the schema."""
    whole: dict[Any, OpenApiResponse] = {
        (200, kind): OpenApiResponse(
            OpenApiTypes.OBJECT if kind.endswith("+json") else OpenApiTypes.BINARY, description="The file."
        )
        for kind in media_types
    }
    part: dict[Any, OpenApiResponse] = {
        (206, kind): OpenApiResponse(OpenApiTypes.BINARY, description="The part that `Range` asks for.")
        for kind in media_types
    }
    return {
        **whole,
        **part,
        302: OpenApiResponse(description="Where the storage has it, for five minutes, if the server is set up so."),
        304: OpenApiResponse(description="You have it: `If-None-Match` names its ETag."),
    }


class SnapshotList(ListView):
    """The snapshots of a project, for managers and researchers."""

    serializer_class = SnapshotSerializer

    def get_queryset(self) -> QuerySet[Snapshot]:
        """Return the snapshots of the project."""
        return get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS).snapshots.defer("manifest")

    @extend_schema(request=NewSnapshotSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Freeze a dataset and start the job that writes its files: every format, unless some are named."""
        project = get_project(request.user, slug, *SEES_RESULTS)
        body = NewSnapshotSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        snapshot = services.start_snapshot(project=project, body=body.validated_data, created_by=request.user)
        return accepted(job=snapshot.job, created=snapshot)


class SnapshotDetail(APIView):
    """One snapshot."""

    @extend_schema(responses=ManifestSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return the manifest of a snapshot: counts, figures, hashes, files and what they were made with."""
        snapshot = get_owned(request.user, Snapshot.objects.select_related("job"), id, *SEES_RESULTS)
        return Response(ManifestSerializer(snapshot).data)


class StoredFileView(ABC, APIView):
    """A stored file; a subclass says which one."""

    @abstractmethod
    def find(self, request: SignedInRequest, id: str, **names: str) -> StoredFile:
        """Return the file, or raise NotFound."""

    def get(self, request: SignedInRequest, id: str, **names: str) -> HttpResponseBase:
        """Send the file, a part of it, or nothing to who has it."""
        return file_reply(request._request, self.find(request, id, **names))


class SnapshotFile(StoredFileView):
    """A file of a snapshot."""

    def find(self, request: SignedInRequest, id: str, **names: str) -> StoredFile:
        """Return the file of one format, split and encoding."""
        snapshot = get_owned(request.user, Snapshot.objects.all(), id, *SEES_RESULTS)
        return services.find_file(snapshot=snapshot, export_format=names["export_format"], file=names["file"])

    @extend_schema(
        operation_id="snapshots_files_retrieve",
        parameters=RANGE_HEADERS,
        responses=file_responses(*dict.fromkeys(kind.partition(";")[0] for kind in ENCODINGS.values())),
    )
    def get(self, request: SignedInRequest, id: str, **names: str) -> HttpResponseBase:
        """Send the rows of one split in one format (`{split}.jsonl`, `.parquet`, `.csv`, `.jsonl.gz`, `.csv.gz`).

        The ETag is the SHA-256 of the manifest.
        """
        return super().get(request, id, **names)


class SnapshotCard(StoredFileView):
    """The data card of a snapshot."""

    def find(self, request: SignedInRequest, id: str, **names: str) -> StoredFile:
        """Return the card."""
        snapshot = get_owned(request.user, Snapshot.objects.all(), id, *SEES_RESULTS)
        return services.find_document(snapshot=snapshot, name=services.CARD)

    @extend_schema(parameters=RANGE_HEADERS, responses=file_responses("text/markdown"))
    def get(self, request: SignedInRequest, id: str, **names: str) -> HttpResponseBase:
        """Send the data card in Hugging Face's format: how the labels were made, agreement, bias, known limits."""
        return super().get(request, id, **names)


class SnapshotCroissant(StoredFileView):
    """The Croissant description of a snapshot."""

    def find(self, request: SignedInRequest, id: str, **names: str) -> StoredFile:
        """Return the description."""
        snapshot = get_owned(request.user, Snapshot.objects.all(), id, *SEES_RESULTS)
        return services.find_document(snapshot=snapshot, name=services.CROISSANT)

    @extend_schema(parameters=RANGE_HEADERS, responses=file_responses("application/ld+json"))
    def get(self, request: SignedInRequest, id: str, **names: str) -> HttpResponseBase:
        """Send the dataset's description in Croissant (JSON-LD)."""
        return super().get(request, id, **names)


class SnapshotDiff(APIView):
    """What changed between two snapshots."""

    @extend_schema(responses=DiffSerializer)
    def get(self, request: SignedInRequest, id: str, other_id: str) -> HttpResponseBase:
        """Return what changed from this snapshot to the other one: comparisons added, removed, and labeled anew.

        The reply is made while it is sent, in the order of external ids; `counts` come last.
        """
        before, after = (
            get_owned(request.user, Snapshot.objects.all(), each, *SEES_RESULTS) for each in (id, other_id)
        )
        diff = services.diff_snapshots(before=before, after=after)
        wanted = selected_fields(request._request) or PARTS
        tag = etag_by("diff", before.pk, before.content_hash, after.pk, after.content_hash, *sorted(wanted))
        return StreamingHttpResponse(diff.stream(wanted), content_type="application/json", headers={"ETag": tag})
