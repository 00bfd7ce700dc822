"""A response taken apart once, so that many properties can be measured on it. Everything here takes linear time.

Responses come from anywhere: a megabyte of one character, NUL, half surrogate pairs and any script are all just text.
Nothing looks further than a bounded way from where it stands, so no text takes quadratic time.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from worker.core.rules.lexicon import LANGUAGES, MARKS

_EDGES = """.,;:!?…'"()[]{}<>*_`~#|/\\-–—“”„«»‘’•。，、！？：；（）「」"""
_ENDS = ".!?…"
_CLOSING = "\"')]”’»*"
_VOWELS = bytes(97 if chr(byte) in "aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüý" else 32 for byte in range(256))
_RUN = 5
LETTER, UPPER, DIGIT, SPACE, EMOJI, OTHER = range(6)
SCRIPTS = (
    "LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "BENGALI", "TAMIL", "THAI", "HANGUL", "HIRAGANA",
    "KATAKANA", "CJK",
)  # fmt: skip
_UNKNOWN = len(SCRIPTS)
_JAPANESE = {"HIRAGANA", "KATAKANA"}


class TakenApart:
    """What both a response and its prompt are asked: words, characters by class, language."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def tokens(self) -> list[str]:
        """Return what stands between white space, in small letters, with a straight apostrophe."""
        return self.text.lower().replace("’", "'").split()

    @cached_property
    def flat(self) -> str:
        """Return the tokens with one space between them, in which phrases are looked for."""
        return " ".join(self.tokens)

    @cached_property
    def words(self) -> list[str]:
        """Return the tokens without the punctuation around them; a script without spaces has long ones."""
        return [word for token in self.tokens if (word := token.strip(_EDGES))]

    @cached_property
    def distinct(self) -> set[str]:
        """Return the words, each once."""
        return set(self.words)

    @cached_property
    def characters(self) -> NDArray[np.uint32]:
        """Return the code points (n,)."""
        return np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)

    @cached_property
    def classes(self) -> list[int]:
        """Return how many characters there are of each class: small letter, capital, digit, space, emoji, other."""
        return np.bincount(_tables()[0][self.characters], minlength=OTHER + 1).tolist()

    @cached_property
    def runs(self) -> set[tuple[str, ...]]:
        """Return the runs of five words."""
        return set(word_runs(self.words, _RUN))

    @cached_property
    def language(self) -> str:
        """Return the language, as far as its script or its commonest words tell; empty where they do not."""
        counts = np.bincount(_tables()[1][self.characters], minlength=_UNKNOWN + 1)[:_UNKNOWN]
        if not counts.any():
            return ""
        script = SCRIPTS[int(counts.argmax())]
        if script == "CJK" and any(counts[SCRIPTS.index(name)] for name in _JAPANESE):
            return "JAPANESE"
        if script != "LATIN":
            return "JAPANESE" if script in _JAPANESE else script
        hits = sorted(((len(self.distinct & common), name) for name, common in LANGUAGES.items()), reverse=True)
        return hits[0][1] if hits[0][0] >= 2 and hits[0][0] > hits[1][0] else ""


class Answer(TakenApart):
    """A response beside its prompt; `prompt` is shared by the responses to it."""

    def __init__(self, text: str, prompt: TakenApart) -> None:
        super().__init__(text)
        self.prompt = prompt

    @cached_property
    def lines(self) -> list[str]:
        """Return the lines that are not blank, without the space around them."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @cached_property
    def sentences(self) -> int:
        """Return the number of sentences: tokens that end one, and at least one where there are words."""
        ends = sum(
            token[-1] in _ENDS or (token[-1] in _CLOSING and token.rstrip(_CLOSING)[-1:] in {*_ENDS})
            for token in self.tokens
        )
        ends += self.text.count("。") + self.text.count("！") + self.text.count("？")
        return max(ends, 1 if self.words else 0)

    @cached_property
    def syllables(self) -> int:
        """Return the number of syllables, by groups of vowels without a silent e; at least one a word."""
        groups = len(self.flat.encode("latin-1", "replace").translate(_VOWELS).split())
        silent = sum(word[-1] == "e" and word[-2:-1] not in {*"aeiouyl"} for word in self.words if len(word) > 2)
        return max(groups - silent, len(self.words))

    @cached_property
    def marks(self) -> Counter[str]:
        """Return how often each mark of the lexicon occurs: hedges, boosters, persons, …"""
        return Counter([MARKS[word] for word in self.words if word in MARKS])

    @cached_property
    def opening(self) -> str:
        """Return the first 200 characters of the flat text."""
        return self.flat[:200]

    @cached_property
    def ending(self) -> str:
        """Return the last 300 characters of the flat text."""
        return self.flat[-300:]


def word_runs(words: Sequence[str], length: int) -> "zip[tuple[str, ...]]":
    """Return the runs of so many words, in their order."""
    return zip(*(words[start:] for start in range(length)), strict=False)


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return class and script of every code point (1114112,); made once, in about a second."""
    classes = np.full(0x110000, OTHER, dtype=np.uint8)
    scripts = np.full(0x110000, _UNKNOWN, dtype=np.uint8)
    first_words = {name: place for place, name in enumerate(SCRIPTS)}
    for code in range(0x32000):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] == "L":
            classes[code] = UPPER if category == "Lu" else LETTER
            name = unicodedata.name(character, "")
            scripts[code] = first_words.get(name.split(" ", 1)[0].split("-", 1)[0], _UNKNOWN)
        elif category == "Nd":
            classes[code] = DIGIT
        elif character.isspace():
            classes[code] = SPACE
        elif 0x1F300 <= code <= 0x1FAFF or 0x2600 <= code <= 0x27BF:
            classes[code] = EMOJI
    return classes, scripts
