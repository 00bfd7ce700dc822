"""Serve an immutable file: strong ETag, If-None-Match, one Range, Content-Length (RFC 9110, sections 13 and 14)."""

import re
from dataclasses import dataclass
from typing import IO

from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.utils.http import parse_etags

from apps.core.errors import AppError

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*\Z", re.ASCII)


class UnsatisfiableRange(AppError):
    """The range asked for lies behind the end of the file."""

    status = 416
    title = "Range not satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes; the range asked for has none of them.")
        self.headers = {"Content-Range": f"bytes */{size}"}


@dataclass(frozen=True)
class StoredFile:
    """An open file with what its replies say about it."""

    stream: IO[bytes]
    size: int
    sha256: str
    content_type: str

    @property
    def etag(self) -> str:
        """Return the strong entity tag: the hash of the content."""
        return f'"{self.sha256}"'


class Part:
    """The next `length` bytes of a stream, as a file that can be read and closed."""

    def __init__(self, stream: IO[bytes], length: int) -> None:
        self.stream, self.left = stream, length

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, and none behind the end of the part."""
        chunk = self.stream.read(min(size, self.left))
        self.left -= len(chunk)
        return chunk

    def close(self) -> None:
        """Close the stream below."""
        self.stream.close()


def file_reply(request: HttpRequest, file: StoredFile) -> HttpResponseBase:
    """Return 200, 206 or 304 for a file, and close it when it is sent; raise UnsatisfiableRange."""
    try:
        return _reply(request, file)
    except BaseException:
        file.stream.close()
        raise


def _reply(request: HttpRequest, file: StoredFile) -> HttpResponseBase:
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    if "*" in wanted or file.etag in {tag.removeprefix("W/") for tag in wanted}:
        file.stream.close()
        return _with_headers(HttpResponse(status=304), file, length=None)
    part = None
    if request.headers.get("If-Range", file.etag) == file.etag:
        part = byte_range(request.headers.get("Range", ""), file.size)
    start, length = part or (0, file.size)
    if request.method == "HEAD":
        file.stream.close()
        response: HttpResponseBase = HttpResponse(content_type=file.content_type)
    elif part is None:
        response = FileResponse(file.stream, content_type=file.content_type)
    else:
        file.stream.seek(start)
        response = FileResponse(Part(file.stream, length), content_type=file.content_type)
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


def _with_headers(response: HttpResponseBase, file: StoredFile, length: int | None) -> HttpResponseBase:
    response.headers["ETag"] = file.etag
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "private"
    if length is not None:
        response.headers["Content-Length"] = str(length)
    return response
