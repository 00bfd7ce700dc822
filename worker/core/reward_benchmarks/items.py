"""What the benchmarks share: items, the reading of their fields, and the shape of their figures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.conversation import prompt_of
from worker.core.metrics import bootstrap_by_prompt, interval

MAX_ITEMS = 100_000
MAX_RESPONSES = 64
MAX_SECTIONS, MAX_SECTION_NAME = 100, 100
MAX_CHARACTERS = 1_000_000
"""Of one text; the longest of the published benchmarks has 40,000."""

Floats = NDArray[np.float64]
Scores = Sequence[Floats]


class BenchmarkError(ValueError):
    """A file is not of the benchmark; the message names the row, the field and the rule."""


@dataclass(frozen=True)
class Item:
    """One prompt with its responses: the first `chosen` of them are the better ones."""

    id: str
    section: str
    prompt: str
    responses: tuple[str, ...]
    chosen: int = 1


@dataclass(frozen=True)
class PublishedSet:
    """How many rows a published set has, and its sections where that is known; `name` tells sets of a benchmark apart.

    Only numbers that a source confirms stand here: figures of a file that has others are not those of the benchmark.
    """

    rows: int
    sections: Mapping[str, int] | None = None
    name: str = ""


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark reads a row and scores its items; `datasets` are (name, split) on the hub, its published form."""

    name: str
    title: str
    source: str
    datasets: tuple[tuple[str, str], ...]
    read_row: Callable[[Mapping[str, Any], str], Item]
    score: Callable[[Sequence[Item], Scores], dict[str, Any]]
    sections: tuple[str, ...]
    """Those of the published average, in its order."""
    published: tuple[PublishedSet, ...] = ()
    """The sets that published figures are of; none where their size is not confirmed."""
    check: Callable[[Sequence[tuple[int, Item]]], None] = lambda numbered: None
    """What rows must be to each other: gets (row number, item) of all, raises BenchmarkError."""

    def read(self, rows: Iterable[tuple[int, object]]) -> list[Item]:
        """Turn (row number, object) into items. Raises BenchmarkError naming the row."""
        items: list[Item] = []
        numbers: list[int] = []
        for number, row in rows:
            if not isinstance(row, Mapping):
                raise BenchmarkError(f"Row {number}: {_reason(row)}")
            if len(items) == MAX_ITEMS:
                raise BenchmarkError(f"The file has more than {MAX_ITEMS} rows.")
            item = self.read_row(row, f"Row {number}")
            if len(item.section) > MAX_SECTION_NAME or not item.section.isprintable():
                raise BenchmarkError(f"Row {number}: subset must be a name of at most {MAX_SECTION_NAME} characters.")
            items.append(item)
            numbers.append(number)
        if not items:
            raise BenchmarkError("The file has no rows.")
        if len({item.section for item in items}) > MAX_SECTIONS:
            raise BenchmarkError(f"The file has more than {MAX_SECTIONS} subsets.")
        self.check(list(zip(numbers, items, strict=True)))
        return items

    def figures(self, items: Sequence[Item], scores: Scores) -> dict[str, Any]:
        """Return the figures as JSON types, those of "the longer response wins" beside them.

        `overall` is the average that is published, of the sections that are there; `missing` names the others. Only
        that of a published set may be compared with published ones.
        """
        measured = self.score(items, scores)
        lengths = [np.array([len(text) for text in item.responses], dtype=np.float64) for item in items]
        there = {section["name"] for section in measured["sections"]}
        return {
            "n": len(items),
            **measured,
            "missing": [name for name in self.sections if name not in there],
            "longer_wins": self.score(items, lengths)["overall"],
        }

    def published_set(self, figures: Mapping[str, Any]) -> PublishedSet | None:
        """Return the published set that has as many rows as figures are of, in all and by section; None without one."""
        counts = {section["name"]: section["n"] for section in figures["sections"]}
        if set(counts) != set(self.sections):
            return None
        sets = (each for each in self.published if each.rows == figures["n"])
        return next((each for each in sets if each.sections in (None, counts)), None)

    def measured_on(self, figures: Mapping[str, Any]) -> str:
        """Return what figures are of: the benchmark, or a file in its format, with its rows and what is missing."""
        published = self.published_set(figures)
        if published is None:
            name = f"A file in the format of {self.title}"
        else:
            name = f"{self.title} ({published.name})" if published.name else self.title
        rows = "1 row" if figures["n"] == 1 else f"{figures['n']:,} rows"
        missing = f", without {', '.join(figures['missing'])}" if figures["missing"] else ""
        return f"{name}: {rows}{missing}"


def share(name: str, values: Sequence[float] | Floats) -> dict[str, Any]:
    """Return the figures of a section whose score is the mean over its items, with a bootstrap interval over them."""
    array = np.asarray(values, dtype=np.float64)
    drawn = bootstrap_by_prompt(array, [str(at) for at in range(len(array))])
    return {
        "name": name,
        "n": len(array),
        "score": float(array.mean()),
        "interval": interval(drawn) if len(array) > 1 else None,
    }


def average(sections: Sequence[Mapping[str, Any]], counted: Sequence[str]) -> float:
    """Return the unweighted mean of the scores of the sections that count; of all where none of them is there."""
    told = [section["score"] for section in sections if section["name"] in counted]
    return float(np.mean(told or [section["score"] for section in sections]))


def text_of(row: Mapping[str, Any], field: str, where: str) -> str:
    """Return a text field. Raises BenchmarkError."""
    value = row.get(field)
    if not isinstance(value, str):
        raise BenchmarkError(f"{where}: {field} must be text, not {_shown(value)}.")
    return _checked(value, field, where)


def texts_of(row: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    """Return a field that is a list of texts, at least one. Raises BenchmarkError."""
    value = row.get(field)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise BenchmarkError(f"{where}: {field} must be a list of texts, not {_shown(value)}.")
    if len(value) > MAX_RESPONSES:
        raise BenchmarkError(f"{where}: {field} has {len(value)} texts; at most {MAX_RESPONSES} are read.")
    return tuple(_checked(text, field, where) for text in value)


def conversation_of(messages: Any, field: str, where: str) -> str:
    """Return a list of messages that ends with a user turn as one text. Raises BenchmarkError."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise BenchmarkError(f"{where}: {field} must be a list of messages, not {_shown(messages)}.")
    try:
        return _checked(prompt_of(messages), field, where)
    except ValueError as error:
        raise BenchmarkError(f"{where}: {field}: {error}") from error


def _checked(text: str, field: str, where: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise BenchmarkError(f"{where}: {field} has {len(text)} characters; at most {MAX_CHARACTERS} are read.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BenchmarkError(f"{where}: {field} has half of a surrogate pair, which is no character.") from error
    return text


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def _reason(row: object) -> str:
    """Say why a row is no object; readers of files give an object that carries its own reason."""
    return str(getattr(row, "reason", "") or "a row is a JSON object.")
