"""What changed between two snapshots: both list their comparisons in the order of external ids, so one pass will do."""

from collections import Counter, deque
from collections.abc import Collection, Iterator
from typing import Any

import orjson

from apps.core.artifacts import artifact_storage

Change = dict[str, Any]
PARTS = ("changes", "counts")
KINDS = ("added", "removed", "changed", "unchanged")
_END = (None, b"")


class Diff:
    """The changes from one file of labels to another; `counts` is complete when all changes have been read.

    Constant memory: one line of each file at a time.
    """

    def __init__(self, before: str, after: str) -> None:
        self._before, self._after = before, after
        self.counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))

    def changes(self) -> Iterator[Change]:
        """Yield every comparison that is in one of the two only, or whose labels, consensus or split differ."""
        storage = artifact_storage()
        with storage.open(self._before) as before, storage.open(self._after) as after:
            left, right = _lines(before), _lines(after)
            (one, old), (other, new) = next(left, _END), next(right, _END)
            while one is not None or other is not None:
                if old == new:
                    self.counts["unchanged"] += 1
                    (one, old), (other, new) = next(left, _END), next(right, _END)
                elif other is None or (one is not None and one < other):
                    yield self._change("removed", old, None)
                    one, old = next(left, _END)
                elif one is None or other < one:
                    yield self._change("added", None, new)
                    other, new = next(right, _END)
                else:
                    yield self._change("changed", old, new)
                    (one, old), (other, new) = next(left, _END), next(right, _END)

    def stream(self, wanted: Collection[str] = PARTS) -> Iterator[bytes]:
        """Yield one JSON object piece by piece: `changes`, one per line, and then their `counts`; or one of the two."""
        yield b"{"
        if "changes" in wanted:
            yield b'"changes": ['
            separator = b"\n"
            for change in self.changes():
                yield separator + orjson.dumps(change)
                separator = b",\n"
            yield b"\n]"
        else:
            deque(self.changes(), maxlen=0)  # reads on and keeps nothing: counting is what it is read for
        if "counts" in wanted:
            yield (b", " if "changes" in wanted else b"") + b'"counts": ' + orjson.dumps(dict(self.counts))
        yield b"}\n"

    def _change(self, kind: str, old: bytes | None, new: bytes | None) -> Change:
        self.counts[kind] += 1
        before, after = (None if line is None else _labels(line) for line in (old, new))
        return {"change": kind, "external_id": orjson.loads(old or new or b"")[0], "before": before, "after": after}


def _lines(stream: Any) -> Iterator[tuple[str, bytes]]:
    # Code points and the bytes of UTF-8 sort alike.
    for line in stream:
        yield orjson.loads(line)[0], line


def _labels(line: bytes) -> dict[str, Any]:
    _external_id, split, status, preference, votes = orjson.loads(line)
    labels = [
        {"annotator": annotator, "revision": revision, "preference": "neither" if value is None else value}
        for annotator, revision, value in votes
    ]
    return {"split": split, "status": status, "preference": preference, "labels": labels}
