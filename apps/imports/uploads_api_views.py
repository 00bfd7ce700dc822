"""REST: resumable uploads, tus 1.0.0 (https://tus.io/protocols/resumable-upload): core, creation, termination."""

import base64
import binascii
from collections.abc import Mapping
from typing import IO, Any, cast

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.parsers import BaseParser
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.errors import AppError, Conflict, FieldError, InvalidInput, NotFound
from apps.imports.models import Upload
from apps.imports.serializers import UploadSerializer
from apps.imports.uploads import append, create_upload, delete_upload
from apps.projects.access import Role, get_project, is_id

VERSION = "1.0.0"
MAX_DIGITS = 15
PIECE = "application/offset+octet-stream"


class OtherVersion(AppError):
    """The client speaks another version of tus."""

    status = 412
    title = "Precondition failed"


class WrongKind(AppError):
    """A piece must say that it is one."""

    status = 415
    title = "Unsupported media type"


class PieceParser(BaseParser):
    """Hand the body on as the stream that it is."""

    media_type = PIECE

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the stream."""
        return stream


class TusView(APIView):
    """What every answer of tus says, and every request must."""

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Refuse another version of the protocol."""
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS" and hasattr(self, request.method.lower()):
            # First what everything asks: a stranger learns nothing of the protocol.
            if "id" in kwargs:
                _upload(request, **kwargs)
            else:
                get_project(request.user, kwargs["slug"], Role.MANAGER)
            if (said := request.headers.get("Tus-Resumable")) != VERSION:
                raise OtherVersion(f"Send the header Tus-Resumable: {VERSION}, not {said!r}.")

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the protocol's headers."""
        finished = super().finalize_response(request, response, *args, **kwargs)
        finished["Tus-Resumable"] = finished["Tus-Version"] = VERSION
        return finished

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Say what this server can do."""
        get_project(request.user, kwargs["slug"], Role.MANAGER)
        headers = {"Tus-Extension": "creation,termination", "Tus-Max-Size": str(settings.IMPORT_MAX_BYTES)}
        return Response(status=status.HTTP_204_NO_CONTENT, headers=headers)


_TUS = OpenApiParameter("Tus-Resumable", str, OpenApiParameter.HEADER, required=True, enum=[VERSION])


class UploadList(TusView):
    """Files on their way in."""

    @extend_schema(
        parameters=[
            _TUS,
            OpenApiParameter("Upload-Length", int, OpenApiParameter.HEADER, required=True),
            OpenApiParameter("Upload-Metadata", str, OpenApiParameter.HEADER, description="filename, base64."),
        ],
        request=None,
        responses={201: UploadSerializer},
    )
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Announce a file; the reply's Location is where its pieces go. For managers."""
        project = get_project(request.user, slug, Role.MANAGER)
        upload = create_upload(
            project=project,
            file_name=_metadata(request.headers.get("Upload-Metadata", "")).get("filename", "upload"),
            length=_number(request, "Upload-Length"),
            created_by=request.user,
        )
        location = request.build_absolute_uri(f"{request.path}{upload.pk}/")
        headers = {"Location": location, "Upload-Offset": "0"}
        return Response(UploadSerializer(upload).data, status=status.HTTP_201_CREATED, headers=headers)


class UploadDetail(TusView):
    """One file on its way in. For managers."""

    parser_classes = (PieceParser,)

    def head(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Say how much of the file has arrived."""
        upload = _upload(request, slug, id)
        headers = {"Upload-Length": str(upload.length), "Cache-Control": "no-store"}
        return Response(headers={**headers, "Upload-Offset": str(upload.offset)})

    @extend_schema(
        parameters=[_TUS, OpenApiParameter("Upload-Offset", int, OpenApiParameter.HEADER, required=True)],
        request={PIECE: OpenApiTypes.BINARY},
        responses={204: OpenApiResponse(description="Kept; Upload-Offset says where the next piece begins.")},
    )
    def patch(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Send a piece of the file, from the offset where it ends so far; 409 at any other."""
        upload = _upload(request, slug, id)
        if str(request.content_type).partition(";")[0].strip() != PIECE:
            raise WrongKind(f"Send the piece as {PIECE}.")
        offset = _number(request, "Upload-Offset")
        if offset != upload.offset:
            raise Conflict(f"The file goes on at {upload.offset}.")
        upload = append(upload=upload, offset=offset, stream=cast(IO[bytes], request._request))
        return Response(status=status.HTTP_204_NO_CONTENT, headers={"Upload-Offset": str(upload.offset)})

    @extend_schema(parameters=[_TUS], responses={204: None})
    def delete(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Give the upload up and forget what has arrived."""
        delete_upload(upload=_upload(request, slug, id))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _upload(request: SignedInRequest, slug: str, id: str) -> Upload:
    project = get_project(request.user, slug, Role.MANAGER)
    upload = Upload.objects.filter(project=project, pk=id).first() if is_id(id) else None
    if upload is None:
        raise NotFound("There is no such upload in this project.")
    return upload


def _number(request: SignedInRequest, header: str) -> int:
    digits = request.headers.get(header, "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS):
        sentence = f"Expected a number of bytes in the header {header}."
        raise InvalidInput(sentence, [FieldError(f"/{header}", sentence)])
    return int(digits)


def _metadata(header: str) -> dict[str, str]:
    """Return tus's metadata: pairs of a key and a value in base64."""
    found = {}
    for entry in header.split(","):
        key, _, value = entry.strip().partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            continue
    return found
