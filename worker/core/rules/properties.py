"""What can be measured of a response without a model: each property a pure function of a text taken apart.

A value that does not exist, such as the length of the words of an empty response, is NaN: rules over it do not apply.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import nan

from worker.core.rules import lexicon
from worker.core.rules.texts import DIGIT, EMOJI, LETTER, UPPER, Answer, word_runs

COUNT, SHARE, NUMBER, YES_NO = "count", "share", "number", "yes_no"
Measure = Callable[[Answer], float]


@dataclass(frozen=True)
class Property:
    """One measure. `noun` goes on “more …”, for a share “20 % of …”, for a number “a higher …”; yes or no has `yes`."""

    name: str
    unit: str
    measure: Measure
    noun: str = ""
    yes: str = ""
    no: str = ""
    source: str = ""

    @property
    def label(self) -> str:
        """Return what it is called in a table."""
        return self.noun or self.yes

    def preferred(self, *, more: bool) -> str:
        """Return a sentence that prefers one response of two."""
        if self.unit == YES_NO:
            return f"The response {self.yes if more else self.no}."
        if self.unit == NUMBER:
            return f"The response has a {'higher' if more else 'lower'} {self.noun} than the other."
        if self.unit == SHARE:
            return f"The response has {'more' if more else 'less'} of {self.noun} than the other."
        return f"The response has {'more' if more else 'fewer'} {self.noun} than the other."

    def bounded(self, threshold: float, *, more: bool) -> str:
        """Return a sentence about one response alone."""
        if self.unit == YES_NO:
            return self.preferred(more=more)
        if self.unit == NUMBER:
            return f"The response has a {self.noun} of {'at least' if more else 'less than'} {threshold:g}."
        if self.unit == SHARE:
            return f"The response has {'at least' if more else 'less than'} {100 * threshold:.3g} % of {self.noun}."
        if more and threshold == 1:
            return f"The response has {self.noun}."
        if not more and threshold == 1:
            return f"The response has no {self.noun}."
        return f"The response has {'at least' if more else 'fewer than'} {threshold:g} {self.noun}."


_LIST_ITEM = re.compile(r"^[ \t]{0,12}[-*+•–] {1,8}\S", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]{0,12}(?:\d{1,3}|[a-z])[.)] {1,8}\S", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6} {1,8}\S", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_INLINE_CODE = re.compile(r"`[^`\n]{1,200}`")
_BOLD = re.compile(r"\*\*[^*\n]{1,200}\*\*|<b>|<strong>")
_TABLE = re.compile(r"^ {0,3}\|?[ ]{0,9}:?-{3,}:?[ ]{0,9}\|", re.MULTILINE)
_LINK = re.compile(r"https?://[^\s)>\]]+|www\.[^\s)>\]]+")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_QUOTE = re.compile(r'["“„«][^"“”„«»\n]{3,300}["“”»]')
_BLOCK_QUOTE = re.compile(r"^ {0,3}>", re.MULTILINE)
_FORMULA = re.compile(r"\$[^$\n]{1,200}\$|\\\(|\\\[|\\begin\{")
_CITATION = re.compile(r"\[\d{1,3}\]|\((?:[^()\n]{1,60}, )?(?:19|20)\d\d[a-z]?\)")
_HTML = re.compile(r"</?[a-z][a-z0-9]{0,15}[ />]", re.IGNORECASE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_ANSWER_FIRST = re.compile(r"^(?:yes|no|ja|nein|the answer is|answer:|\d)")
_COMPLETE = re.compile(r"[.!?…:。！？)\]}\"'”’»`*|>]\Z|\d\Z")
_BLOCK = re.compile(r"```[a-z]{0,12}\n(.*?)\n```", re.DOTALL | re.IGNORECASE)
FIRST_WORDS = 100


def _count(pattern: re.Pattern[str]) -> Measure:
    return lambda answer: float(len(pattern.findall(answer.text)))


def _share(part: float, of: float) -> float:
    return part / of if of else nan


def _mark(name: str) -> Measure:
    return lambda answer: _share(answer.marks[name], len(answer.words))


def _says(phrases: tuple[str, ...], where: str = "flat") -> Measure:
    return lambda answer: float(any(phrase in getattr(answer, where) for phrase in phrases))


def _occurs(phrases: tuple[str, ...]) -> Measure:
    return lambda answer: float(sum(answer.flat.count(phrase) for phrase in phrases))


def _reading_grade(answer: Answer) -> float:
    words = len(answer.words)
    if not words:
        return nan
    return 0.39 * words / answer.sentences + 11.8 * answer.syllables / words - 15.59


def _distinct(answer: Answer) -> float:
    words = answer.words[:FIRST_WORDS]
    return _share(len(set(words)), len(words))


def _repeated_runs(answer: Answer) -> float:
    runs = list(word_runs(answer.words, 3))
    return 1 - len(set(runs)) / len(runs) if runs else nan


def _repeated_lines(answer: Answer) -> float:
    return 1 - len(set(answer.lines)) / len(answer.lines) if answer.lines else nan


def _overlap(answer: Answer) -> float:
    asked = {word for word in answer.prompt.distinct if len(word) > 3}
    return _share(len(asked & answer.distinct), len(asked))


def _copied(answer: Answer) -> float:
    return _share(len(answer.runs & answer.prompt.runs), len(answer.runs))


def _same_language(answer: Answer) -> float:
    asked, answered = answer.prompt.language, answer.language
    return float(asked == answered) if asked and answered else nan


def _is_json(answer: Answer) -> float:
    text = answer.text.strip()
    if text.startswith("```"):
        block = _BLOCK.fullmatch(text)
        text = block[1].strip() if block else ""
    if not text or (text[0], text[-1]) not in {("{", "}"), ("[", "]")}:
        return 0.0
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def _letters(answer: Answer) -> int:
    return answer.classes[LETTER] + answer.classes[UPPER]


_KNOWN = (
    # Length
    Property("characters", COUNT, lambda a: float(len(a.text)), "characters"),
    Property("words", COUNT, lambda a: float(len(a.words)), "words"),
    Property("sentences", COUNT, lambda a: float(a.sentences), "sentences"),
    Property("lines", COUNT, lambda a: float(len(a.lines)), "lines"),
    Property(
        "paragraphs", COUNT, lambda a: float(len(_PARAGRAPH.findall(a.text.strip())) + bool(a.words)), "paragraphs"
    ),
    Property("words_per_sentence", NUMBER, lambda a: _share(len(a.words), a.sentences), "number of words per sentence"),
    Property(
        "characters_per_word",
        NUMBER,
        lambda a: _share(sum(map(len, a.words)), len(a.words)),
        "number of characters per word",
    ),
    Property(
        "reading_grade",
        NUMBER,
        _reading_grade,
        "reading grade",
        source="Kincaid et al. 1975, Derivation of new readability formulas for Navy enlisted personnel",
    ),
    # Layout
    Property("list_items", COUNT, _count(_LIST_ITEM), "list items"),
    Property("numbered_steps", COUNT, _count(_NUMBERED), "numbered steps"),
    Property("headings", COUNT, _count(_HEADING), "headings", source="CommonMark 0.31, ATX headings"),
    Property("code_blocks", COUNT, lambda a: float((len(_FENCE.findall(a.text)) + 1) // 2), "code blocks"),
    Property("inline_code", COUNT, _count(_INLINE_CODE), "pieces of inline code"),
    Property("bold", COUNT, _count(_BOLD), "pieces of bold text"),
    Property("tables", COUNT, _count(_TABLE), "tables", source="GitHub Flavored Markdown, tables"),
    Property("links", COUNT, _count(_LINK), "links"),
    Property("formulas", COUNT, _count(_FORMULA), "formulas"),
    Property("html_tags", COUNT, _count(_HTML), "HTML tags"),
    Property("block_quotes", COUNT, _count(_BLOCK_QUOTE), "lines of block quotes"),
    Property("json", YES_NO, _is_json, yes="is valid JSON", no="is not valid JSON", source="RFC 8259"),
    # Characters
    Property("numbers", COUNT, _count(_NUMBER), "numbers"),
    Property("digits", SHARE, lambda a: _share(a.classes[DIGIT], len(a.text)), "its characters as digits"),
    Property("quotes", COUNT, _count(_QUOTE), "passages in quotation marks"),
    Property("emoji", COUNT, lambda a: float(a.classes[EMOJI]), "emoji"),
    Property("exclamations", COUNT, lambda a: float(a.text.count("!")), "exclamation marks"),
    Property("questions", COUNT, lambda a: float(a.text.count("?")), "question marks"),
    Property("commas", SHARE, lambda a: _share(a.text.count(","), len(a.text)), "its characters as commas"),
    Property("parentheses", COUNT, lambda a: float(a.text.count("(")), "parentheses"),
    Property("uppercase", SHARE, lambda a: _share(a.classes[UPPER], _letters(a)), "its letters as capitals"),
    # Words
    Property(
        "distinct_words",
        SHARE,
        _distinct,
        f"its first {FIRST_WORDS} words without repeating one",
        source="Templin 1957, type-token ratio",
    ),
    Property(
        "repeated_runs",
        SHARE,
        _repeated_runs,
        "its runs of three words repeated",
        source="Welleck et al. 2020, seq-rep-n, arXiv 1908.04319",
    ),
    Property("repeated_lines", SHARE, _repeated_lines, "its lines repeated"),
    Property("hedges", SHARE, _mark("hedge"), "its words as hedges", source="Hyland 2005, Metadiscourse"),
    Property("boosters", SHARE, _mark("booster"), "its words as boosters", source="Hyland 2005, Metadiscourse"),
    Property("first_person", SHARE, _mark("first person"), "its words in the first person"),
    Property("second_person", SHARE, _mark("second person"), "its words in the second person"),
    Property("connectives", SHARE, _mark("connective"), "its words as connectives"),
    Property("negations", SHARE, _mark("negation"), "its words as negations"),
    Property("examples", COUNT, _occurs(lexicon.EXAMPLES), "examples that are named as such"),
    Property(
        "citations",
        COUNT,
        lambda a: float(len(_CITATION.findall(a.text)) + a.flat.count("et al.")),
        "citations",
    ),
    # Manner
    Property("refusal", YES_NO, _says(lexicon.REFUSALS), yes="refuses", no="does not refuse"),
    Property("apology", YES_NO, _says(lexicon.APOLOGIES), yes="apologises", no="does not apologise"),
    Property("disclaimer", YES_NO, _says(lexicon.DISCLAIMERS), yes="has a disclaimer", no="has no disclaimer"),
    Property(
        "flattery",
        YES_NO,
        _says(lexicon.FLATTERY, "opening"),
        yes="opens with flattery",
        no="does not open with flattery",
        source="Sharma et al. 2023, Towards understanding sycophancy, arXiv 2310.13548",
    ),
    Property(
        "offer",
        YES_NO,
        _says(lexicon.OFFERS, "ending"),
        yes="ends with an offer of more help",
        no="does not end with an offer of more help",
    ),
    Property(
        "question_back",
        YES_NO,
        lambda a: float(a.flat.endswith("?")),
        yes="ends with a question back",
        no="does not end with a question back",
    ),
    Property("summary", YES_NO, _says(lexicon.SUMMARIES), yes="sums up", no="does not sum up"),
    Property(
        "placeholder",
        YES_NO,
        _says(lexicon.PLACEHOLDERS),
        yes="has a placeholder left to fill in",
        no="has no placeholder left to fill in",
    ),
    Property(
        "answer_first",
        YES_NO,
        lambda a: float(bool(_ANSWER_FIRST.match(a.opening))),
        yes="begins with the answer",
        no="does not begin with yes, no, a number or the answer",
    ),
    Property(
        "complete",
        YES_NO,
        lambda a: float(bool(_COMPLETE.search(a.flat[-1:]))),
        yes="ends at the end of a sentence",
        no="breaks off before the end of a sentence",
    ),
    # Beside the prompt
    Property("prompt_overlap", SHARE, _overlap, "the prompt's longer words taken up"),
    Property("copied", SHARE, _copied, "its runs of five words copied from the prompt"),
    Property(
        "same_language",
        YES_NO,
        _same_language,
        yes="is in the language of the prompt",
        no="is in another language than the prompt",
    ),
)
PROPERTIES: dict[str, Property] = {each.name: each for each in _KNOWN}
