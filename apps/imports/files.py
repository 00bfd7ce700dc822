"""Read the rows of a file, whatever it is: JSON lines, a JSON array, CSV, Parquet, each of them gzipped or not.

Nothing is read whole. A file that cannot be trusted raises InvalidInput before its first row; a row that cannot be
read comes out as a BadRow in its place.
"""

import codecs
import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from apps.core.errors import FieldError, InvalidInput
from apps.imports.csv_rows import read_csv
from apps.imports.json_arrays import read_array
from apps.imports.json_text import parsed
from apps.imports.parquet import read_parquet
from apps.imports.rows import MAX_ROW_BYTES, BadRow

CONTAINERS = ("jsonl", "json", "csv", "parquet")
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
MAX_RATIO = 200
SMALL_ENOUGH = 256 * 1024 * 1024
"""A gzip file may expand so far whatever its ratio; above that, no more than MAX_RATIO-fold."""
_CHUNK = 1 << 20
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_NOT_OURS = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"%PDF": "a PDF",
}
Row = tuple[int, object]


@contextmanager
def rows_of(path: Path, *, file_name: str, container: str | None = None) -> Iterator[Iterator[Row]]:
    """Open a file and yield its rows as (line number, object or BadRow); raise InvalidInput for one that is no data."""
    with path.open("rb") as raw:
        if not _starts_with(raw, _GZIP):
            with _rows(raw, file_name, container) as rows:
                yield rows
            return
        check_gzip(raw)
        inner = file_name.lower().removesuffix(".gz")
        with gzip.GzipFile(fileobj=raw) as stream:
            if _starts_with(stream, _PARQUET):  # it is read from its end
                with tempfile.TemporaryFile() as whole:
                    for chunk in iter(lambda: stream.read(_CHUNK), b""):
                        whole.write(chunk)
                    with _rows(whole, inner, container) as rows:
                        yield rows
            else:
                with _rows(io.BufferedReader(stream, _CHUNK), inner, container) as rows:
                    yield rows


def check_head(head: bytes) -> None:
    """Raise InvalidInput for a file that is nothing we read, by its first bytes."""
    what = next((f"is {what}" for mark, what in _NOT_OURS.items() if head.startswith(mark)), None)
    if what is None and _is_like_utf_16(head[:64]):
        what = "looks like UTF-16 text, as every second byte is NUL"
    if what is not None:
        raise refused(
            f"The file {what}. Tiebreak reads UTF-8 JSON lines, a JSON array, CSV and Parquet, plain or gzipped."
        )


def _is_like_utf_16(head: bytes) -> bool:
    """Say whether every second byte is NUL, as in what begins with letters and digits and has no byte order mark."""
    return len(head) >= 4 and any(
        head[first::2].strip(b"\0") == b"" != head[1 - first :: 2].strip(b"\0") for first in (0, 1)
    )


def check_gzip(raw: IO[bytes]) -> None:
    """Expand a gzip file once without keeping anything; raise InvalidInput for a bomb or a damaged one.

    It costs a few seconds a gigabyte, and nothing of a file that breaks off is stored.
    """
    raw.seek(0)
    packed, expanded = raw.seek(0, io.SEEK_END), 0
    raw.seek(0)
    limit = min(settings.IMPORT_MAX_BYTES, max(SMALL_ENOUGH, packed * MAX_RATIO))
    try:
        with gzip.GzipFile(fileobj=raw) as stream:
            while size := len(stream.read(_CHUNK)):
                expanded += size
                if expanded > limit:
                    raise refused(
                        f"The gzip file expands to more than {limit // 1024 // 1024} MiB, over {MAX_RATIO} times its "
                        "size or over this server's limit. Nothing of it was read."
                    )
    except EOFError as error:
        raise refused("The gzip file breaks off: its end is missing. Nothing of it was read.") from error
    except (OSError, zlib.error) as error:
        raise refused(f"The gzip file is damaged ({error}). Nothing of it was read.") from error
    raw.seek(0)


def read_json(stream: IO[bytes]) -> Iterator[Row]:
    """Yield the rows of JSON lines, or of one JSON array."""
    number, first = 1, stream.read(1)
    while first and (first.isspace() or first in codecs.BOM_UTF8):
        number += first == b"\n"
        first = stream.read(1)
    if first == b"[":
        yield from read_array(stream)
    elif first:
        yield from _lines(first, stream, number)


def refused(sentence: str) -> InvalidInput:
    """Return the error for a file that is not read at all."""
    return InvalidInput(sentence, [FieldError("/file", sentence)])


@contextmanager
def _rows(stream: IO[bytes], file_name: str, container: str | None) -> Iterator[Iterator[Row]]:
    head = _peek(stream, 4096)
    check_head(head)
    if head.startswith(_GZIP):
        raise refused("The file is compressed twice. Compress it once.")
    # Text that is no JSON by its first character is what people say it is.
    found = container_of(head, f"named.{container}" if container in {"csv", "jsonl"} else file_name)
    if container not in {None, found}:
        raise refused(f"The file is {found}, not {container}.")
    if found != "parquet" and b"\r" in head[:-1] and b"\n" not in head:
        stream = io.BufferedReader(_CarriageReturns(stream), _CHUNK)
    if found == "parquet":
        yield read_parquet(stream)
    elif found == "csv":
        yield read_csv(stream)
    else:
        yield read_json(stream)


def container_of(head: bytes, file_name: str) -> str:
    """Return what a file is by its first bytes, and by its name where those leave it open."""
    if head.startswith(_PARQUET):
        return "parquet"
    first = head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1]
    if first == b"{":
        return "jsonl"
    if first == b"[":
        return "json"
    named = SUFFIXES.get(Path(file_name.lower()).suffix)
    if named is not None:
        return named
    return "csv" if any(mark in head.split(b"\n", 1)[0] for mark in (b",", b"\t", b";")) else "jsonl"


def _lines(first: bytes, stream: IO[bytes], number: int) -> Iterator[Row]:
    line = first if first == b"\n" else first + stream.readline(MAX_ROW_BYTES)
    while line:
        if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_ROW_BYTES)
            yield number, BadRow("", f"The line is longer than {MAX_ROW_BYTES // 1024 // 1024} MiB.")
        elif not line.isspace():
            row = parsed(line)
            following, count = stream.readline(MAX_ROW_BYTES + 1), 1
            if isinstance(row, BadRow) and _goes_on(line, following):
                row = BadRow("", "An object goes over several lines: write each on one line, or one array of all.")
                while following and not _is_beside(line, following):
                    following, count = stream.readline(MAX_ROW_BYTES + 1), count + following.endswith(b"\n")
            yield number, row
            number, line = number + count, following
            continue
        number += 1
        line = stream.readline(MAX_ROW_BYTES + 1)


def _goes_on(line: bytes, following: bytes) -> bool:
    """Say whether an object begins in a line and is not over, and no other one begins in the next line."""
    line, following = line.strip(), following.strip()
    return line.startswith(b"{") and not line.endswith(b"}") and following[:1] not in {b"", b"{"}


def _is_beside(line: bytes, other: bytes) -> bool:
    """Say whether an object begins in another line, as far to the right as in this one."""
    return other.startswith(line[: len(line) - len(line.lstrip())] + b"{")


class _CarriageReturns(io.RawIOBase):
    """A file whose lines end in carriage returns alone, as if they ended as lines do elsewhere."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes."""
        data = self._stream.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)


def _starts_with(stream: Any, mark: bytes) -> bool:
    return _peek(stream, len(mark)).startswith(mark)


def _peek(stream: Any, size: int) -> bytes:
    """Return the first bytes and leave the stream as it was."""
    head: bytes = stream.peek(size)[:size] if hasattr(stream, "peek") else stream.read(size)
    if not hasattr(stream, "peek"):
        stream.seek(0)
    return head
