"""Rows of tokens without padding in which no token stands twice.

A row holds the texts of several groups one after another. The texts of a group begin with the same tokens (the
responses to one prompt): those stand in the row once, and every text attends to them and to itself only, at the
positions it would have alone. So the vectors and gradients are those of each text by itself (prefix sharing as in
arXiv 2410.20305). What is shared is found in the tokens, not in the texts, so that it is exact for every template,
tokenizer and truncation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Tokens = Mapping[str, NDArray[np.int32]]


@dataclass(frozen=True)
class Layout:
    """Which tokens of a row attend to which: `lengths` of its parts, and for each the part it continues, if any."""

    lengths: tuple[int, ...]
    prefixes: tuple[int | None, ...]
    causal: bool

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Return where each part begins in the row."""
        return tuple(int(start) for start in np.cumsum([0, *self.lengths[:-1]]))

    @cached_property
    def key_lengths(self) -> tuple[int, ...]:
        """Return how many tokens each part attends to at its end: its prefix and itself."""
        pairs = zip(self.lengths, self.prefixes, strict=True)
        return tuple(length + (0 if prefix is None else self.lengths[prefix]) for length, prefix in pairs)

    @cached_property
    def keys(self) -> Ids:
        """Return the row's tokens that the parts attend to, part after part: a prefix once for each part."""
        own = [np.arange(start, start + size) for start, size in zip(self.starts, self.lengths, strict=True)]
        parts = [own[part] if prefix is None else np.concatenate([own[prefix], own[part]])
                 for part, prefix in enumerate(self.prefixes)]  # fmt: skip
        return np.concatenate(parts).astype(np.int64)


@dataclass(frozen=True)
class Row:
    """One row (t,) with its layout; text `texts[i]` of the caller is part `parts[i]`.

    `types` are the token types of an encoder of pairs, None where there are none.
    """

    ids: Ids
    positions: Ids
    types: Ids | None
    layout: Layout
    texts: tuple[int, ...]
    parts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)

    def spans(self) -> list[tuple[int, int]]:
        """Return start and end of each text's own part in the row."""
        return [(self.layout.starts[part], self.layout.starts[part] + self.layout.lengths[part]) for part in self.parts]

    def alone(self, values: Ids) -> list[Ids]:
        """Return what stands at the tokens of each text, as if it were a row of its own."""
        ends = np.cumsum(self.layout.key_lengths)
        return [
            values[self.layout.keys[ends[part] - self.layout.key_lengths[part] : ends[part]]] for part in self.parts
        ]


@dataclass(frozen=True)
class Group:
    """Texts whose first `shared` tokens are equal; `size` counts those once."""

    texts: tuple[int, ...]
    shared: int
    size: int


def group_of(tokens: Sequence[Tokens], texts: Sequence[int], *, share: bool) -> Group:
    """Return the group of these texts; each keeps at least its last token, where a decoder's reward is read."""
    ids = [tokens[text]["input_ids"] for text in texts]
    shared = min([_common(ids[0], other) for other in ids[1:]], default=0) if share else 0
    return Group(tuple(texts), shared, shared + sum(len(one) - shared for one in ids))


def batches_of_groups(
    tokens: Sequence[Tokens], prompts: Sequence[str], budget: int, *, share: bool, limit: int | None = None
) -> Iterator[list[Group]]:
    """Yield all texts in batches of at most `budget` tokens; a larger text is a batch of its own.

    A batch may grow to `limit` with more texts of its last prompt, which another batch would have to read again. The
    order depends on each text alone and a batch is cut as soon as it is full, so what is left after some batches
    falls into the same batches again.
    """
    lengths = [len(one["input_ids"]) for one in tokens]
    first = {prompt: number for number, prompt in reversed(list(enumerate(prompts)))}
    order = sorted(
        range(len(tokens)),
        key=lambda n: (-len(prompts[n]), first[prompts[n]], -lengths[n], n) if share else (-lengths[n], n),
    )
    batch: list[Group] = []
    for text in order:
        size = sum(group.size for group in batch)
        if share and batch and prompts[batch[-1].texts[0]] == prompts[text]:
            larger = group_of(tokens, (*batch[-1].texts, text), share=True)
            if size - batch[-1].size + larger.size <= (limit or budget):
                batch[-1] = larger
                continue
        if batch and size + lengths[text] > budget:
            yield batch
            batch = []
        batch.append(Group((text,), 0, lengths[text]))
    if batch:
        yield batch


def packed(groups: Sequence[Group], budget: int) -> list[list[Group]]:
    """Put groups into as few rows of at most `budget` tokens as first fit finds, largest first."""
    rows: list[list[Group]] = []
    room: list[int] = []
    for group in sorted(groups, key=lambda one: (-one.size, one.texts)):
        row = next((number for number, left in enumerate(room) if left >= group.size), None)
        if row is None:
            rows.append([group])
            room.append(budget - group.size)
        else:
            rows[row].append(group)
            room[row] -= group.size
    return rows


def row_of(tokens: Sequence[Tokens], groups: Sequence[Group], *, causal: bool, first_position: int = 0) -> Row:
    """Lay groups out in one row; `first_position` is the number of a text's first position (RoBERTa: 2)."""
    pieces: list[NDArray[np.int32]] = []
    positions: list[Ids] = []
    prefixes: list[int | None] = []
    texts: list[int] = []
    parts: list[int] = []

    def add(text: int, start: int, end: int | None, prefix: int | None) -> None:
        pieces.append(tokens[text]["input_ids"][start:end])
        positions.append(np.arange(start, start + len(pieces[-1])) + first_position)
        prefixes.append(prefix)

    for group in groups:
        prefix = None
        if group.shared:
            prefix = len(pieces)
            add(group.texts[0], 0, group.shared, None)
        for text in group.texts:
            texts.append(text)
            parts.append(len(pieces))
            add(text, group.shared, None, prefix)
    types = None
    if not causal and "token_type_ids" in tokens[texts[0]]:
        types = np.concatenate([tokens[text]["token_type_ids"] for text in texts]).astype(np.int64)
    return Row(
        ids=np.concatenate(pieces).astype(np.int64),
        positions=np.concatenate(positions).astype(np.int64),
        types=types,
        layout=Layout(tuple(len(piece) for piece in pieces), tuple(prefixes), causal),
        texts=tuple(texts),
        parts=tuple(parts),
    )


def _common(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """Return how many first tokens are equal, the last of either left out."""
    length = min(len(one), len(other)) - 1
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
