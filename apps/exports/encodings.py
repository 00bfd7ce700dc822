"""Write rows as JSON lines, Parquet or CSV: streamed, hashed on the way, and the same bytes on every machine.

A format's columns are plain Python: the name of a type, `[type]` for a list, `{name: type}` for an object. Two types
differ between encodings: "json" (an object of any shape) and "label" (a number or "neither") are what they are in
JSON lines, and text in Parquet and CSV.
"""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from apps.core.spreadsheets import formula_safe

Row = dict[str, Any]
Column = str | list[Any] | dict[str, Any]
ROW_GROUP = 1000
ROW_GROUP_CHARACTERS = 8_000_000
GZIP_LEVEL = 6
LINES = 32
"""So many lines are put together at a time: few enough for the processor's cache, which is three times as fast."""
COPY_BYTES = 1 << 20


def dumps(value: Any) -> bytes:
    """Return a value as compact JSON; numbers beyond 64 bits stay exact."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def dump_line(value: Any) -> bytes:
    """Return a value as a line of compact JSON."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return dumps(value) + b"\n"


class HashedFile:
    """A new file that knows its size and SHA-256 when it is closed; what is written to it is only ever appended."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=COPY_BYTES)
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def closed(self) -> bool:
        """Say whether the file is complete."""
        return self._file.closed

    def write(self, content: Any) -> int:
        """Append bytes."""
        self._hash.update(content)
        self.bytes += len(content)
        return self._file.write(content)

    def flush(self) -> None:
        """Do nothing: closing writes the rest."""

    def tell(self) -> int:
        """Return how much was written."""
        return self.bytes

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    @property
    def sha256(self) -> str:
        """Return the hash of what was written."""
        return self._hash.hexdigest()


class JsonLines:
    """One JSON object per line."""

    def __init__(self, file: HashedFile, columns: dict[str, Column]) -> None:
        self._file = file

    def write(self, rows: Sequence[Row], characters: int) -> None:
        """Append rows."""
        for first in range(0, len(rows), LINES):
            self._file.write(b"".join([dump_line(row) for row in rows[first : first + LINES]]))

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


class Csv:
    """Comma-separated values with a header, in UTF-8; lists and objects are JSON, and no cell is run as a formula.

    Text is always in quotes, so that an empty text differs from nothing. (`csv` looks at each character by itself.)
    """

    def __init__(self, file: HashedFile, columns: dict[str, Column]) -> None:
        self._file = file
        self._cells = [(name, _text_cell if kind == "string" else _cell) for name, kind in columns.items()]
        self._file.write(",".join(columns).encode() + b"\n")

    def write(self, rows: Sequence[Row], characters: int) -> None:
        """Append rows."""
        for first in range(0, len(rows), LINES):
            few = rows[first : first + LINES]
            lines = [",".join([cell(row.get(name)) for name, cell in self._cells]) for row in few]
            self._file.write(("\n".join(lines) + "\n").encode())

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


class Parquet:
    """Parquet with zstd, in row groups of a thousand rows, fewer where rows are long."""

    def __init__(self, file: HashedFile, columns: dict[str, Column]) -> None:
        import pyarrow as pa  # only a worker writes files; the web process never loads it
        import pyarrow.parquet as pq

        self._pa, self._file = pa, file
        self.schema = arrow_schema(columns)
        self._storable = {name: convert for name, kind in columns.items() if (convert := _storable(kind))}
        self._sink = pa.PythonFile(file, mode="w")
        # Statistics of texts would be kept in memory for every group until the end.
        self._writer = pq.ParquetWriter(self._sink, self.schema, compression="zstd", write_statistics=False)
        self._rows: list[Row] = []
        self._characters = 0

    def write(self, rows: Sequence[Row], characters: int) -> None:
        """Append rows; groups depend on the rows alone, never on how many come at a time."""
        for row in rows:
            self._rows.append(row)
            self._characters += characters // len(rows)
            if len(self._rows) >= ROW_GROUP or self._characters >= ROW_GROUP_CHARACTERS:
                self._write_group()

    def close(self) -> None:
        """Complete the file."""
        if self._rows:
            self._write_group()
        self._writer.close()
        self._sink.close()
        self._file.close()

    def _write_group(self) -> None:
        rows = self._rows
        if self._storable:
            rows = [
                {**row, **{name: convert(row.get(name)) for name, convert in self._storable.items()}} for row in rows
            ]
        self._writer.write_table(self._pa.Table.from_pylist(rows, schema=self.schema))
        self._rows, self._characters = [], 0


ENCODINGS: dict[str, str] = {
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
    "jsonl.gz": "application/gzip",
    "csv.gz": "application/gzip",
}
"""Ending of a file and its media type."""
DEFAULT_ENCODINGS = ("jsonl", "parquet", "csv")
WRITERS: dict[str, type[JsonLines] | type[Csv] | type[Parquet]] = {"jsonl": JsonLines, "parquet": Parquet, "csv": Csv}
GZIPPED = {"jsonl.gz": "jsonl", "csv.gz": "csv"}
"""Encodings that are another one, compressed."""


def gzip_file(source: Path, target: HashedFile) -> None:
    """Compress a file; neither the time nor the name of the file is in the result."""
    with source.open("rb") as plain, gzip.GzipFile("", "wb", GZIP_LEVEL, target, mtime=0) as packed:
        shutil.copyfileobj(plain, packed, COPY_BYTES)
    target.close()


def arrow_schema(columns: dict[str, Column]) -> Any:
    """Return the columns as an Arrow schema."""
    import pyarrow as pa

    def arrow(kind: Column) -> Any:
        if isinstance(kind, list):
            return pa.list_(arrow(kind[0]))
        if isinstance(kind, dict):
            return pa.struct([(name, arrow(inner)) for name, inner in kind.items()])
        types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
        return types.get(kind, pa.string())

    return pa.schema([(name, arrow(kind)) for name, kind in columns.items()])


def _text_cell(text: str | None) -> str:
    return "" if text is None else '"' + formula_safe(text).replace('"', '""') + '"'


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _text_cell(value)
    if isinstance(value, list | dict):
        return '"' + dumps(value).decode().replace('"', '""') + '"'
    return "" if value is None else str(value)


def _storable(kind: Column) -> Callable[[Any], Any] | None:
    """Return how a value of this type becomes one that Arrow can type, or None where it is one already."""
    if kind == "json":
        return lambda value: None if value is None else dumps(value).decode()
    if kind == "label":
        return lambda value: None if value is None else str(value)
    if isinstance(kind, list):
        inner = _storable(kind[0])
        return inner and (lambda value: None if value is None else [inner(item) for item in value])
    if isinstance(kind, dict):
        parts = {name: convert for name, part in kind.items() if (convert := _storable(part))}
        if parts:
            return lambda value: (
                None if value is None else {**value, **{name: parts[name](value.get(name)) for name in parts}}
            )
    return None
