"""What changed between two versions of a guideline, for somebody who knows the first."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

Change = Literal["same", "removed", "added"]
CONTEXT = 2
MAX_WORDS = 2000
"""Longer passages, and texts of more lines, are shown as removed and added: comparing them would take seconds."""
MAX_LINES = 1000
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Part:
    """A piece of a line, and what happened to it."""

    change: Change
    text: str


Line = tuple[Part, ...]
"""An empty line of parts stands for lines that are left out, because nothing changed there."""


def changed_lines(before: str, after: str) -> list[Line]:
    """Return the changed lines of a text, word by word, with a little of what stands around them.

    >>> changed_lines("Read both.\\nBe kind.", "Read both twice.\\nBe kind.")[0]
    (Part(change='same', text='Read both'), Part(change='added', text=' twice'), Part(change='same', text='.'))
    """
    old, new = before.splitlines(), after.splitlines()
    lines: list[Line] = []
    if len(old) + len(new) > MAX_LINES:
        whole: list[Line] = [(Part("removed", line),) for line in old]
        return [*whole, *((Part("added", line),) for line in new)]
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT):
        if group[0][1] > 0:
            lines.append(())
        for kind, i, i_end, j, j_end in group:
            if kind == "equal":
                lines += [(Part("same", line),) for line in new[j:j_end]]
            else:
                lines += _passage("\n".join(old[i:i_end]), "\n".join(new[j:j_end]))
    return lines


def _passage(old: str, new: str) -> Iterator[Line]:
    """Yield the lines of a passage that was rewritten; a removed line end is a removed line."""
    line: list[Part] = []
    for part in _parts(_WORD.findall(old), _WORD.findall(new)):
        first, *others = part.text.split("\n")
        line.append(Part(part.change, first))
        for text in others:
            yield tuple(each for each in line if each.text)
            line = [Part(part.change, text)]
    yield tuple(each for each in line if each.text)


def _parts(old: Sequence[str], new: Sequence[str]) -> Iterator[Part]:
    if len(old) + len(new) > MAX_WORDS:
        old, new = ["".join(old)], ["".join(new)]
    for kind, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Part("same", "".join(new[j:j_end]))
            continue
        if i < i_end:
            yield Part("removed", "".join(old[i:i_end]))
        if j < j_end:
            yield Part("added", "".join(new[j:j_end]))
