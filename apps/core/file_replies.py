"""Serve an immutable stored file: strong ETag, If-None-Match, one Range, Content-Length (RFC 9110, sections 13 and 14).

By default the web server sends it: from the file descriptor where it can (`sendfile`), so that no byte passes through
Python. With FILES_ACCEL_PREFIX nginx does, with FILES_REDIRECT the object storage.
"""

import re
from dataclasses import dataclass, replace
from typing import IO, Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils.encoding import iri_to_uri
from django.utils.http import parse_etags

from apps.core.artifacts import artifact_storage
from apps.core.errors import AppError

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*\Z", re.ASCII)
REDIRECT_SECONDS = 300
"""How long a signed address works: long enough to begin a download, which may then go on."""


class UnsatisfiableRange(AppError):
    """The range asked for lies behind the end of the file."""

    status = 416
    title = "Range not satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes; the range asked for has none of them.")
        self.headers = {"Content-Range": f"bytes */{size}"}


@dataclass(frozen=True)
class StoredFile:
    """A file in the artifact storage with what its replies say about it; `download_as` makes it an attachment."""

    name: str
    size: int
    sha256: str
    content_type: str
    download_as: str = ""

    @property
    def etag(self) -> str:
        """Return the strong entity tag: the hash of the content."""
        return f'"{self.sha256}"'

    def as_download(self, name: str) -> "StoredFile":
        """Return the same file, to be saved under this name."""
        return replace(self, download_as=name)

    @property
    def disposition(self) -> str:
        """Return the Content-Disposition; the name is one of ours, in ASCII."""
        return f'attachment; filename="{self.download_as}"' if self.download_as else ""


class Part:
    """`length` bytes of a stored file from `start`, opened when the first one is asked for, as a file to be read.

    A reply that nobody reads, such as one that a broken connection never began, thus leaves nothing open.
    """

    def __init__(self, name: str, start: int, length: int) -> None:
        self._name, self._start, self._left = name, start, length
        self._stream: IO[bytes] | None = None

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, and none behind the end of the part."""
        chunk = self._opened().read(min(size, self._left))
        self._left -= len(chunk)
        return chunk

    def fileno(self) -> int:
        """Return the descriptor, placed at the start, from which a web server sends Content-Length bytes by itself."""
        return self._opened().fileno()

    def close(self) -> None:
        """Close what was opened."""
        if self._stream is not None:
            self._stream.close()

    def _opened(self) -> IO[bytes]:
        if self._stream is None:
            self._stream = artifact_storage().open(self._name)
            self._stream.seek(self._start)
        return self._stream


class PartResponse(FileResponse):
    """A reply whose body is a part of a stored file."""

    block_size = 1 << 18


def file_reply(request: HttpRequest, file: StoredFile) -> HttpResponseBase:
    """Return 200, 206, 302 or 304 for a file; raise UnsatisfiableRange."""
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    if "*" in wanted or file.etag in {tag.removeprefix("W/") for tag in wanted}:
        return _with_headers(HttpResponse(status=304), file, length=None)
    if request.method == "GET" and (elsewhere := _sent_by_another_server(file)) is not None:
        return elsewhere
    part = None
    if request.headers.get("If-Range", file.etag) == file.etag:
        part = byte_range(request.headers.get("Range", ""), file.size)
    start, length = part or (0, file.size)
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse(content_type=file.content_type)
    else:
        response = PartResponse(Part(file.name, start, length), content_type=file.content_type)
    if part is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{file.size}"
    return _with_headers(response, file, length)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return (start, length) of the one range asked for, or None to send the whole file.

    A header that is malformed, or that asks for several ranges, is ignored, as the RFC allows.

    >>> byte_range("bytes=0-9", 100), byte_range("bytes=90-", 100), byte_range("bytes=-5", 100)
    ((0, 10), (90, 10), (95, 5))
    """
    match = _RANGE.match(header)
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < start:
            return None
    if start >= end:
        raise UnsatisfiableRange(size)
    return start, end - start


def _sent_by_another_server(file: StoredFile) -> HttpResponseBase | None:
    """Return a reply without a body that makes nginx, or the client itself, fetch the file; None if neither is set."""
    storage: Any = artifact_storage()
    if isinstance(storage, FileSystemStorage):
        if not settings.FILES_ACCEL_PREFIX:
            return None
        response = HttpResponse(content_type=file.content_type)
        response.headers["X-Accel-Redirect"] = iri_to_uri(f"{settings.FILES_ACCEL_PREFIX.rstrip('/')}/{file.name}")
        return _with_headers(response, file, length=None)
    if not settings.FILES_REDIRECT:
        return None
    said = {"ResponseContentType": file.content_type, "ResponseCacheControl": "private"}
    if file.disposition:
        said["ResponseContentDisposition"] = file.disposition
    address = HttpResponseRedirect(storage.url(file.name, parameters=said, expire=REDIRECT_SECONDS))
    address.headers["Cache-Control"] = "no-store"  # it is a key to the file for as long as it works
    return address


def _with_headers(response: HttpResponseBase, file: StoredFile, length: int | None) -> HttpResponseBase:
    response.headers["ETag"] = file.etag
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "private"
    if file.disposition:
        response.headers["Content-Disposition"] = file.disposition
    if length is not None:
        response.headers["Content-Length"] = str(length)
    return response
