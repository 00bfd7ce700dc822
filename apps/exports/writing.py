"""Write the files of a snapshot in one reading of the database: every format, split and encoding, hashed on the way."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apps.exports.encodings import GZIPPED, WRITERS, Csv, HashedFile, JsonLines, Parquet, dump_line, gzip_file
from apps.exports.formats import KNOWN_FORMATS
from apps.exports.rows import Chunk
from apps.exports.selection import encodings_of, formats_of
from apps.exports.shapes import Format, LeftOut
from worker.core.label_figures import LabelFigures

YOUNG_OBJECTS = 500_000
LABELS_FILE = "labels.jsonl"
"""One line per comparison in the order of external ids: what a diff of two snapshots compares."""


@dataclass
class Written:
    """What was written, counted."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    comparisons: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    figures: LabelFigures = field(default_factory=LabelFigures)


def needs_labels(selection: dict[str, Any]) -> bool:
    """Say whether a chosen format reads each label."""
    return any(KNOWN_FORMATS[name].needs_labels for name in formats_of(selection))


def write_rows(
    *, chunks: Iterator[Chunk], selection: dict[str, Any], folder: Path, on_rows: Callable[[int], None]
) -> Written:
    """Write the chunks of a selection into a folder; `on_rows` hears how many comparisons there are so far."""
    written = Written()
    with _rare_collections(), ExitStack() as stack:
        formats = [
            _FormatFiles(name, KNOWN_FORMATS[name], list(selection["splits"]), encodings_of(selection), folder, stack)
            for name in formats_of(selection)
        ]
        labels = HashedFile(folder / LABELS_FILE)
        stack.callback(labels.close)
        number = 0
        for chunk in chunks:
            for files in formats:
                files.write(chunk)
            labels.write(b"".join([_label_line(*each) for each in zip(chunk.rows, chunk.labels, strict=True)]))
            _count(chunk, written)
            number += len(chunk.rows)
            on_rows(number)
        for files in formats:
            files.close()
        labels.close()
    written.documents[LABELS_FILE] = {"bytes": labels.bytes, "sha256": labels.sha256}
    for files in formats:
        written.files |= files.entries()
        if files.left_out:
            written.left_out[files.name] = dict(sorted(files.left_out.items()))
    written.files = dict(sorted(written.files.items()))
    return written


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for cycles rarely meanwhile: rows have none, and looking took a third of the time."""
    usual = gc.get_threshold()
    gc.set_threshold(YOUNG_OBJECTS, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class _FormatFiles:
    """The files of one format: a writer per split and encoding."""

    def __init__(
        self, name: str, export_format: Format, splits: list[str], encodings: list[str], folder: Path, stack: ExitStack
    ) -> None:
        self.name, self._convert, self._encodings = name, export_format.convert, encodings
        self._reads = export_format.reads
        self.left_out: Counter[str] = Counter()
        self._rows: Counter[str] = Counter(dict.fromkeys(splits, 0))
        self._folder = folder / name
        self._folder.mkdir()
        self._files: dict[str, HashedFile] = {}
        self._writers: dict[str, list[JsonLines | Csv | Parquet]] = {split: [] for split in splits}
        for split in splits:
            for encoding in dict.fromkeys(GZIPPED.get(encoding, encoding) for encoding in encodings):
                file = HashedFile(self._folder / f"{split}.{encoding}")
                stack.callback(file.close)
                self._files[f"{split}.{encoding}"] = file
                self._writers[split].append(WRITERS[encoding](file, export_format.columns))

    def write(self, chunk: Chunk) -> None:
        """Convert the rows of a chunk and append them."""
        by_split: dict[str, list[dict[str, Any]]] = {split: [] for split in self._writers}
        characters = dict.fromkeys(by_split, 0)
        convert = self._convert
        for row, length in zip(getattr(chunk, self._reads), chunk.characters, strict=True):
            split = row["split"]
            try:
                by_split[split] += convert(row)
                characters[split] += length
            except LeftOut as reason:
                self.left_out[str(reason)] += 1
        for split, rows in by_split.items():
            if rows:
                self._rows[split] += len(rows)
                for writer in self._writers[split]:
                    writer.write(rows, characters[split])

    def close(self) -> None:
        """Complete the files, compress what is asked for compressed, and drop what only served that."""
        for writers in self._writers.values():
            for writer in writers:
                writer.close()
        for encoding in self._encodings:
            if encoding in GZIPPED:
                for split in self._writers:
                    packed = HashedFile(self._folder / f"{split}.{encoding}")
                    gzip_file(self._folder / f"{split}.{GZIPPED[encoding]}", packed)
                    self._files[f"{split}.{encoding}"] = packed
        for name in list(self._files):
            split, _, encoding = name.partition(".")
            if encoding not in self._encodings:
                (self._folder / name).unlink()
                del self._files[name]

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return what the manifest says about each file."""
        return {
            f"{self.name}/{name}": {
                "rows": self._rows[name.partition(".")[0]],
                "bytes": file.bytes,
                "sha256": file.sha256,
            }
            for name, file in self._files.items()
        }


def _label_line(row: dict[str, Any], labels: list[tuple[str, int, int | None]]) -> bytes:
    consensus = row["consensus"]
    return dump_line([row["external_id"], row["split"], consensus["status"], consensus["preference"], labels])


def _count(chunk: Chunk, written: Written) -> None:
    written.comparisons.update([row["split"] for row in chunk.rows])
    written.rules.update([row["consensus"]["rule"] for row in chunk.rows])
    undated = len(chunk.annotators) - len(chunk.moments)
    written.figures.add(chunk.labeled, chunk.annotators, chunk.moments, undated)
