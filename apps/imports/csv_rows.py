"""Read the rows of a CSV file: a line that cannot be read refuses its row, and reading goes on in the next line."""

import csv
from collections import deque
from collections.abc import Iterator
from typing import IO

from apps.core.errors import FieldError, InvalidInput
from apps.core.spreadsheets import without_apostrophe
from apps.imports.cells import Cells, number
from apps.imports.rows import MAX_ROW_BYTES, BadRow, BrokenOff, storable

MAX_READ_AGAIN = 256 * 1024 * 1024
"""Characters that may be read a second time for quotes that were never closed, before the rest is given up."""
OUR_COLUMNS = {"external_id", "prompt_hash", "messages", "responses", "consensus", "annotations"}
"""Columns that tell a CSV of our own `annotations` format, whose cells somebody may have opened as a spreadsheet."""
OUR_HEADERS = {
    "split,prompt,response_1,response_2,preference_strength,preference_statement,preference_elaboration,"
    "three_most_similar_preferences,all_preferences_unprocessed",
    "prompt,response,helpfulness,correctness,coherence,complexity,verbosity",
    "domain,language,context,response1,response2,overall_preference,individual_preference",
    "prompt,chosen,rejected,margin",
    "chosen,rejected,margin",
    "id,subset,prompt,chosen,rejected,chosen_model,rejected_model",
}
"""First lines of our other exports with text of their own, as these write them; others may have the same columns."""
_ANSWERS = {"response", "response_1", "response_2", "response1", "response2", "chosen", "rejected"}
"""Columns that our exports never leave without a value: nothing between quotes is an answer of no characters."""


def read_csv(stream: IO[bytes]) -> Iterator[tuple[int, object]]:
    """Yield the rows of a CSV file as `Cells`: what each of them means depends on what its column is for.

    A row with a stray quote is refused, and the line after the one where it begins is read as a row again: a quote that
    is never closed takes no other row with it.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    lines = _Lines(stream)
    header, names, delimiter = _header(lines)
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    is_ours, may_be_ours = set(names) >= OUR_COLUMNS, header in OUR_HEADERS
    while True:
        lines.begin_row()
        try:
            cells = next(records)
        except StopIteration:
            return
        except (csv.Error, BadRow) as error:
            said = error.reason if isinstance(error, BadRow) else _sentence(error)
            first = lines.first
            if not lines.go_back():
                yield first, BrokenOff("", f"{said} {lines.skip()} lines after it were not read.")
                return
            yield first, BadRow("", said)
            continue
        if bad := lines.bad():
            yield bad
        elif len(cells) != len(names) and cells:
            wrong = f"The row has {len(cells)} cells; the header names {len(names)} columns."
            yield lines.number, BadRow("", wrong)
        elif cells:
            ours = is_ours or (may_be_ours and _is_in_quotes(cells, lines.text))
            yield lines.number, storable(_cells(names, cells, ours=ours))


class _Lines:
    """The lines of a CSV file as text; those of the row that is being read are kept, and can be read again.

    What is wrong with a line is noted (`bad`), and something stands for it, so that those around it are still rows.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self._row: list[str] = []
        self._wrong: dict[int, str] = {}
        self._size = self._read_again = 0
        self.number = 0
        """Of the line that was read last."""
        self.first = 1
        """Of the first line of this row."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._next_line()
        self.number += 1
        self._row.append(line)
        self._size += len(line)
        if self._size > MAX_ROW_BYTES and len(self._row) > 1:
            raise BadRow("", f"The row is longer than {MAX_ROW_BYTES // 1024 // 1024} MiB: is a quote never closed?")
        return line

    @property
    def text(self) -> str:
        """Return the lines of this row as they stand."""
        return "".join(self._row)

    def begin_row(self) -> None:
        """Forget the lines of the last row."""
        self._row.clear()
        self._size, self.first = 0, self.number + 1
        if self._wrong:
            self._wrong = {number: why for number, why in self._wrong.items() if number > self.number}

    def go_back(self, kept: int = 1) -> bool:
        """Put the lines of this row back but for the first `kept`; False when that was done too often."""
        back = self._row[kept:]
        self._read_again += self._size
        if len(back) > 0 and self._read_again > MAX_READ_AGAIN:
            return False
        self._again.extendleft(reversed(back))
        self.number -= len(back)
        return True

    def skip(self) -> int:
        """Read to the end; return how many lines there were after the first one of this row."""
        count = len(self._row) - 1 + len(self._again)
        while piece := self._stream.readline(MAX_ROW_BYTES):
            count += piece.endswith(b"\n")
        return count

    def bad(self) -> tuple[int, BadRow] | None:
        """Return a line of this row that is no text of ours, and what is wrong with it."""
        number = min(self._wrong, default=self.number + 1)
        return (number, BadRow("", self._wrong[number])) if number <= self.number else None

    def _next_line(self) -> str:
        line = self._stream.readline(MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        number = self.number + 1
        if len(line) > MAX_ROW_BYTES:
            while line and not line.endswith(b"\n"):
                line = self._stream.readline(MAX_ROW_BYTES)
            self._wrong[number] = f"The line is longer than {MAX_ROW_BYTES // 1024 // 1024} MiB."
            return "\n"
        try:
            return line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            self._wrong[number] = (
                f"The line is not UTF-8: byte {error.start + 1} cannot be read. Save the file as UTF-8."
            )
            return line.decode("utf-8", "replace")


def _header(lines: _Lines) -> tuple[str, list[str], str]:
    """Return the first line, the names of the columns, and what is between cells."""
    first = next(lines, "")
    delimiter = max((",", "\t", ";"), key=first.count)
    lines.go_back(kept=0)
    lines.begin_row()
    try:
        names = [name.strip() for name in next(csv.reader(lines, delimiter=delimiter, strict=True), [])]
    except (csv.Error, BadRow) as error:
        said = error.reason if isinstance(error, BadRow) else _sentence(error)
        raise _refused(f"The first line of a CSV file must name its columns. {said}") from error
    if bad := lines.bad():
        raise _refused(f"The first line of a CSV file must name its columns. {bad[1].reason}")
    if len(set(names)) != len(names) or not any(names):
        raise _refused("The first line of a CSV file must name its columns, each once.")
    return first.rstrip("\r\n"), names, delimiter


def _sentence(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end" in said:
        return "A quote is opened in this row and never closed."
    if "expected after" in said:
        return "A quote stands where none may: write a quote within a cell twice, and quotes around the cell."
    if "new-line character" in said:
        return "A line break stands in a cell without quotes around it."
    return f"{said.capitalize()}."


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, [FieldError("/file", sentence)])


def _cells(names: list[str], cells: list[str], *, ours: bool) -> Cells:
    """Return a row; of one of ours, texts are what they were before they were made safe for spreadsheets."""
    row = Cells((name, cell or None) for name, cell in zip(names, cells, strict=True))
    row.ours = ours
    if ours:
        row.update((name, without_apostrophe(cell)) for name, cell in row.items() if cell)
        row.update((name, "") for name in _ANSWERS & row.keys() if row[name] is None)
    return row


def _is_in_quotes(cells: list[str], text: str) -> bool:
    """Say whether all texts of a row are in quotes, as our exports write them and hardly anybody else."""
    quoted = (
        '"' + cell.replace('"', '""') + '"' for cell in cells if cell and not isinstance(number(cell), int | float)
    )
    return all(cell in text for cell in quoted)
