"""Count the fields of rows that nothing is made of."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MAX_IGNORED = 50
"""So many names are counted; a file may have another one in each row."""


def watched(
    rows: Iterable[tuple[int, object]],
    reads: frozenset[str],
    inside: Mapping[str, frozenset[str]],
    ignored: Counter[str],
) -> Iterator[tuple[int, object]]:
    """Yield rows as they are, and count in `ignored` how many have something else than what is read of them.

    `inside` names columns that may be lists of objects, and the keys that are read of those: others are called
    `messages[].name`. What is null says nothing and is not counted.
    """
    for item in rows:
        row = item[1]
        if isinstance(row, dict):
            names = [] if row.keys() <= reads else _others(row, reads)
            for column, keys in inside.items():
                parts = row.get(column)
                for part in parts if isinstance(parts, list) else ():
                    if isinstance(part, dict) and not part.keys() <= keys:
                        names += [f"{column}[].{name}" for name in _others(part, keys)]
            for name in set(names):
                if name in ignored or len(ignored) < MAX_IGNORED:
                    ignored[name] += 1
        yield item


def _others(row: dict[str, Any], known: frozenset[str]) -> list[str]:
    return [name for name in row.keys() - known if row[name] is not None]
