"""Read Parquet, row group by row group: wild types become JSON, and what lies about its size is refused."""

import datetime
import decimal
import math
import uuid
from collections.abc import Iterable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from apps.core.errors import FieldError, InvalidInput
from apps.imports.rows import BadRow, BrokenOff, storable

BATCH = 256
MAX_CHUNK_BYTES = 1024 * 1024 * 1024
"""The values of one column in one row group are decoded together, so no chunk may be longer than this."""
MAX_CELL_BYTES = 16 * 1024 * 1024
MAX_BATCH_BYTES = 64 * 1024 * 1024


def read_parquet(stream: IO[bytes]) -> Iterator[tuple[int, object]]:
    """Return the rows as (number, object or BadRow); raise InvalidInput at once for a file that is none."""
    try:
        file = pq.ParquetFile(stream)
        texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
        # A text that a million rows share then lies in memory once, until its turn comes.
        file = pq.ParquetFile(stream, read_dictionary=texts)
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        raise _refused(f"The Parquet file cannot be read: {_short(error)}.") from error
    for group in range(file.num_row_groups):
        columns = file.metadata.row_group(group)
        for index in range(columns.num_columns):
            column = columns.column(index)
            if not 0 <= column.total_uncompressed_size <= MAX_CHUNK_BYTES:
                raise _refused(
                    f"Column {column.path_in_schema!r} of row group {group + 1} expands to "
                    f"{column.total_uncompressed_size // 1024 // 1024} MiB; write smaller row groups."
                )
    return _rows(file)


def _rows(file: pq.ParquetFile) -> Iterator[tuple[int, object]]:
    number = 0
    try:
        for batch in file.iter_batches(batch_size=BATCH):
            step = len(batch) if _expanded(batch) <= MAX_BATCH_BYTES else 1
            for start in range(0, len(batch), step):
                part = batch.slice(start, step)
                number += len(part)
                if step == 1 and _expanded(part) > MAX_CELL_BYTES:
                    yield number, BadRow("", f"The row is longer than {MAX_CELL_BYTES // 1024 // 1024} MiB.")
                    continue
                first = number - len(part) + 1
                for offset, row in enumerate(_objects(part)):
                    yield first + offset, row
    except (pa.ArrowException, OSError, ValueError, OverflowError, RecursionError) as error:
        yield number + 1, BrokenOff("", f"The Parquet file cannot be read on from here: {_short(error)}.")


def _objects(batch: pa.RecordBatch) -> Iterator[object]:
    """Yield the rows of a batch; a value that has no JSON form makes its row a BadRow."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, UnicodeDecodeError):
        if len(batch) == 1:
            yield BadRow("", "A value of the row has no form in JSON, or is no UTF-8.")
            return
        for position in range(len(batch)):
            yield from _objects(batch.slice(position, 1))
        return
    for row in rows:
        yield _json_row(row)


def json_rows(rows: Iterable[tuple[int, object]]) -> Iterator[tuple[int, object]]:
    """Yield rows of any Python values as JSON has them; one that has no such form becomes a BadRow."""
    for number, row in rows:
        yield number, _json_row(row)


def _json_row(row: object) -> object:
    if not isinstance(row, dict):
        return row
    try:
        return storable({name: plain(value, f"/{name}") for name, value in row.items()})
    except BadRow as bad:
        return bad
    except RecursionError:
        return BadRow("", "The row is nested too deeply.")


def plain(value: Any, pointer: str) -> Any:
    """Return a value as JSON has it: times in ISO format, decimals as numbers, bytes as UTF-8, missing numbers as null.

    A float that is whole becomes whole: that is how pandas stores whole numbers of which some are missing.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {str(name): plain(part, f"{pointer}/{name}") for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, f"{pointer}/{index}") for index, part in enumerate(value)]
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            return None
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise BadRow(pointer, "The bytes are not UTF-8 text.") from error
    raise BadRow(pointer, f"A value of type {type(value).__name__} has no form in JSON.")


def _expanded(batch: pa.RecordBatch) -> int:
    """Return how many bytes of values a batch has once its dictionaries are spelled out."""
    total = 0
    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray):
            lengths = pc.binary_length(column.dictionary).take(column.indices)
            total += pc.sum(lengths).as_py() or 0
        else:
            total += column.nbytes
    return total


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, [FieldError("/file", sentence)])


def _short(error: BaseException) -> str:
    if "schema depth limit" in str(error):
        return "its columns are nested too deeply"
    return " ".join(str(error).split())[:200].rstrip(".")
