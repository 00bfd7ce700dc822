"""Read a JSON array element by element, in constant memory: what is wrong with one costs no other."""

import json
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from apps.imports.json_text import parsed
from apps.imports.rows import MAX_ROW_BYTES, BadRow, BrokenOff

BLOCK = 256 * 1024
"""Few enough bytes for the processor's cache."""
_SPACE = b" \t\r\n"


def read_array(stream: IO[bytes]) -> Iterator[tuple[int, object]]:
    """Yield the elements of an array whose opening bracket is read already, numbered from 1, as `parsed` has them.

    A comma too many or too few, or an end that is missing, ends the file: what follows cannot be told apart.
    """
    number, marks, element = 1, _Marks(), _Element()
    while block := stream.read(BLOCK):
        start = 0
        commas, end = marks.find(block)
        for comma in commas:
            element.add(block[start:comma])
            if element.is_blank:
                yield number, _broken_off("a value is missing before a comma")
                return
            yield from element.take(number)
            if element.runs_on:
                return
            number, start = number + 1, comma + 1
        element.add(block[start:end])
        if end is not None:
            yield from _ending(number, element, block[end:], stream)
            return
    if marks.between_elements and not element.is_blank and isinstance(row := element.parse(), dict):
        yield number, row
        number += 1
    yield number, _broken_off("it has no end")


def _ending(number: int, element: "_Element", rest: bytes, stream: IO[bytes]) -> Iterator[tuple[int, object]]:
    """Yield the last element, and a BrokenOff where the array is not all that is there; `rest` begins with its end."""
    if not element.is_blank:
        yield from element.take(number)
        number += 1
    elif number > 1:
        yield number, _broken_off("a value is missing after a comma")
        return
    if element.runs_on:
        return
    if rest[:1] != b"]":
        yield number, _broken_off("a brace is closed that was not opened")
        return
    rest = rest[1:]
    while not rest.strip(_SPACE):
        if not (rest := stream.read(BLOCK)):
            return
    yield number, _broken_off("something follows the end of the array")


def _broken_off(why: str) -> BrokenOff:
    return BrokenOff("", f"The JSON array cannot be read on from here: {why}.")


class _Marks:
    """Finds the commas between an array's elements, block after block, and knows how deep it is and whether in a text.

    It takes the brackets of elements as they stand; whether they fit together is seen when an element is parsed.
    """

    def __init__(self) -> None:
        self._depth, self._in_text, self._is_escaped = 1, False, False

    @property
    def between_elements(self) -> bool:
        """Say whether no element is open."""
        return self._depth == 1 and not self._in_text

    def find(self, block: bytes) -> tuple[list[int], int | None]:
        """Return where the commas between elements are, and where the array ends; None where it goes on."""
        characters = np.frombuffer(block, dtype=np.uint8)
        folded = characters | 0x20  # [ and {, ] and } differ in this bit
        is_mark = (folded == ord("{")) | (folded == ord("}")) | (characters == ord('"')) | (characters == ord(","))
        is_mark[self._escaped(characters)] = False
        places = np.flatnonzero(is_mark)
        if not len(places):
            return [], None
        kinds = folded[places]
        outside = (np.cumsum(kinds == ord('"')) + self._in_text) % 2 == 0
        steps = (kinds == ord("{")).astype(np.int64) - (kinds == ord("}"))
        depths = np.cumsum(steps * outside) + self._depth
        self._depth, self._in_text = int(depths[-1]), not outside[-1]
        commas = places[(kinds == ord(",")) & outside & (depths == 1)]
        ends = np.flatnonzero(depths < 1)
        if not len(ends):
            return commas.tolist(), None
        end = int(places[ends[0]])
        return commas[commas < end].tolist(), end

    def _escaped(self, characters: np.ndarray[Any, Any]) -> list[int] | np.ndarray[Any, Any]:
        """Return which characters stand behind a backslash that is not escaped itself."""
        before = [0] if self._is_escaped else []
        found = np.flatnonzero(characters[len(before) :] == ord("\\")) + len(before)
        if not len(found):
            self._is_escaped = False
            return before
        order = np.arange(len(found))
        runs = np.maximum.accumulate(np.where(np.diff(found, prepend=-2) != 1, order, 0))
        after = found[(order - runs) % 2 == 0] + 1
        self._is_escaped = bool(after[-1] == len(characters))
        return np.concatenate((np.array(before, dtype=np.int64), after[: len(after) - self._is_escaped]))


class _Element:
    """The bytes of an element as they come; those of one that is too long are not kept."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self.runs_on = False
        """Another value stood behind the one that was taken last, without a comma."""

    def add(self, piece: bytes) -> None:
        """Append bytes."""
        self._size += len(piece)
        self._pieces.append(piece)
        if self._size > MAX_ROW_BYTES:
            self._pieces.clear()

    @property
    def is_blank(self) -> bool:
        """Say whether there is no value yet."""
        return self._size <= MAX_ROW_BYTES and not any(piece.strip(_SPACE) for piece in self._pieces)

    def parse(self) -> object:
        """Return the value, or a BadRow."""
        if self._size > MAX_ROW_BYTES:
            return BadRow("", f"The value is longer than {MAX_ROW_BYTES // 1024 // 1024} MiB.")
        return parsed(b"".join(self._pieces).strip(_SPACE))

    def take(self, number: int) -> Iterator[tuple[int, object]]:
        """Yield the value as a row, and a BrokenOff where another one stands behind it; begin the next element."""
        row = self.parse()
        first = _before_another(b"".join(self._pieces)) if isinstance(row, BadRow) else None
        self._pieces, self._size, self.runs_on = [], 0, first is not None
        yield number, row if first is None else parsed(first)
        if first is not None:
            yield number + 1, _broken_off("no comma stands before this value")


def _before_another(text: bytes) -> bytes | None:
    """Return the value at the beginning of a text in which something follows it, else None."""
    try:
        said = text.decode().strip()
        _value, end = json.JSONDecoder().raw_decode(said)
    except (ValueError, RecursionError):
        return None
    return said[:end].encode() if end < len(said) else None
