"""The protocol: what an annotator is asked, how many people are asked, and when they disagree too much.

Every word on the comparison page that is about the task comes from here. The defaults are HelpSteer2's and
HelpSteer2-Preference's (arXiv 2406.08673, appendix G; arXiv 2410.01257), in our own words.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, cast

from django.utils.translation import gettext_noop as _

from apps.core.errors import FieldError, InvalidInput

RATING_MIN, RATING_MAX = 0, 4
NEITHER = "neither"
PREFERENCE_VALUES: tuple[int | str, ...] = (-3, -2, -1, 1, 2, 3, NEITHER)


@dataclass(frozen=True)
class Check:
    """One checkbox: something that is, or is not, wrong with a response."""

    name: str
    label: str


@dataclass(frozen=True)
class Attribute:
    """One rating axis with its wording from 0 to 4, and the problems that may explain a low rating."""

    name: str
    label: str
    levels: tuple[str, ...]
    help: str = ""
    problems: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Preference:
    """One preference button: its value, the words on it, and the sentence they stand for."""

    value: int | str
    words: str
    sentence: str


@dataclass(frozen=True)
class SkipReason:
    """Why a comparison is given back: `invalid` means that nobody should label it, else it is not for this person."""

    name: str
    label: str
    invalid: bool


HELPSTEER2_ATTRIBUTES = (
    Attribute(
        "helpfulness",
        _("Helpfulness"),
        (
            _("Useless, misses the point"),
            _("Of little use"),
            _("Helps in part, misses the goal"),
            _("Mostly on target"),
            _("Does what was asked, fully"),
        ),
        _("How good is the response overall?"),
    ),
    Attribute(
        "correctness",
        _("Correctness"),
        (
            _("All wrong"),
            _("Mostly wrong or incomplete"),
            _("Right and wrong mixed"),
            _("Mostly right, small omissions"),
            _("Right and complete"),
        ),
        _("Are the facts right, and is everything there that was asked for?"),
        (
            Check("incorrect_information", _("Incorrect information")),
            Check("irrelevant_information", _("Irrelevant information")),
            Check("key_information_missing", _("Key information missing")),
            Check("false_premise", _("False premise not addressed")),
        ),
    ),
    Attribute(
        "coherence",
        _("Coherence"),
        (
            _("Cannot be understood"),
            _("Hard to follow"),
            _("Somewhat unclear"),
            _("Mostly clear"),
            _("Clear throughout"),
        ),
        _("Is it clear and free of contradictions?"),
        (
            Check("repetition", _("Repetition")),
            Check("style_change", _("Change of style")),
            Check("contradiction", _("Contradiction")),
        ),
    ),
    Attribute(
        "complexity",
        _("Complexity"),
        (
            _("A child can follow"),
            _("Simple"),
            _("Secondary school"),
            _("Needs some expertise"),
            _("Experts only"),
        ),
        _("How demanding is the language? Not a measure of quality."),
    ),
    Attribute(
        "verbosity",
        _("Verbosity"),
        (
            _("As short as it can be"),
            _("Rather short"),
            _("Average"),
            _("Rather long"),
            _("Very long"),
        ),
        _("How long is it for what was asked? Not a measure of quality."),
    ),
)
HELPSTEER2_PREFERENCES = (
    Preference(-3, _("much better"), _("Response 1 is much better than Response 2")),
    Preference(-2, _("better"), _("Response 1 is better than Response 2")),
    Preference(-1, _("slightly better"), _("Response 1 is slightly better than Response 2")),
    Preference(1, _("slightly better"), _("Response 2 is slightly better than Response 1")),
    Preference(2, _("better"), _("Response 2 is better than Response 1")),
    Preference(3, _("much better"), _("Response 2 is much better than Response 1")),
    Preference(NEITHER, _("Neither response is valid"), _("Neither response is valid")),
)
# HelpSteer2's reasons for an invalid task, and two that concern only the person: names as in our REST contract.
SKIP_REASONS = (
    SkipReason("pii", _("Contains personal data"), invalid=True),
    SkipReason("language", _("Mostly in another language"), invalid=True),
    SkipReason("about_assistant", _("About the assistant itself"), invalid=True),
    SkipReason("unsafe", _("Too unsafe to label"), invalid=True),
    SkipReason("broken", _("Broken or unreadable"), invalid=True),
    SkipReason("needs_expertise", _("Needs expertise I do not have"), invalid=False),
    SkipReason("other", _("Another reason"), invalid=False),
)
UNSAFE = "unsafe"


@dataclass(frozen=True)
class Protocol:
    """Settings of the labeling task; the numbers are HelpSteer2's: 3 annotators, 5 at most, spread 2."""

    attributes: tuple[Attribute, ...] = HELPSTEER2_ATTRIBUTES
    response_flags: tuple[Check, ...] = (Check(UNSAFE, _("Unsafe: harm, crime, profanity or bias")),)
    confidence: tuple[str, ...] = (_("Not sure"), _("Somewhat sure"), _("Very sure"))
    preference_question: str = _("Which one is better?")
    preferences: tuple[Preference, ...] = HELPSTEER2_PREFERENCES
    justification_question: str = _("Why?")
    justification_words: tuple[int, int] = (10, 300)
    skip_reasons: tuple[SkipReason, ...] = SKIP_REASONS
    flags_to_close: int = 2
    annotators: int = 3
    max_annotators: int = 5
    spread_limit: int = 2
    lease_minutes: int = 30
    undo_minutes: int = 30
    annotations_per_person: int = 0
    annotations_per_day: int = 0
    control_rate: float = 0.0
    repeat_rate: float = 0.0

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Return the names of the rating axes in their order on the page."""
        return tuple(attribute.name for attribute in self.attributes)

    @property
    def problem_names(self) -> tuple[str, ...]:
        """Return the names of all checkboxes of a response in their order on the page."""
        checks = [check for attribute in self.attributes for check in attribute.problems]
        return tuple(check.name for check in [*checks, *self.response_flags])

    @property
    def invalid_reasons(self) -> frozenset[str]:
        """Return the names of the skip reasons that say that nobody should label a comparison."""
        return frozenset(reason.name for reason in self.skip_reasons if reason.invalid)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as REST shows it: one object for all who ask, to be left as it is."""
        return self._json

    @cached_property
    def digest(self) -> str:
        """Return a hash of all settings."""
        return hashlib.sha256(json.dumps(self._json, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _json(self) -> dict[str, Any]:
        return asdict(self)


NUMBERS: dict[str, tuple[type[int] | type[float], float, float]] = {
    "flags_to_close": (int, 1, 20),
    "annotators": (int, 1, 20),
    "max_annotators": (int, 1, 20),
    "spread_limit": (int, 0, 6),
    "lease_minutes": (int, 1, 24 * 60),
    "undo_minutes": (int, 0, 7 * 24 * 60),
    "annotations_per_person": (int, 0, 1_000_000),
    "annotations_per_day": (int, 0, 10_000),
    "control_rate": (float, 0, 0.5),
    "repeat_rate": (float, 0, 0.5),
}
"""Setting: kind of number, smallest and largest."""
_QUESTIONS = ("preference_question", "justification_question")
_MAX_TEXT = 200


def parse_protocol(body: object) -> Protocol:
    """Return the protocol described by a JSON object; raise InvalidInput that names every wrong field."""
    if not isinstance(body, dict):
        raise InvalidInput("The protocol must be a JSON object.", [FieldError("/protocol", "Expected an object.")])
    return _parse_spelling(json.dumps(body))


@lru_cache(maxsize=256)
def _parse_spelling(spelling: str) -> Protocol:
    """Parse once what every request of a project asks for."""
    return _parse(json.loads(spelling))


def _parse(body: dict[str, Any]) -> Protocol:
    errors: list[FieldError] = []
    known = {*NUMBERS, *_QUESTIONS, *_LISTS, "justification_words"}
    errors += [
        FieldError(f"/protocol/{name}", f"There is no such setting; known are {', '.join(sorted(known))}.")
        for name in sorted(set(body) - known)
    ]
    values: dict[str, Any] = {}
    for name, (kind, low, high) in NUMBERS.items():
        if name not in body:
            continue
        value = body[name]
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if fits and (kind is float or value == int(value)):
            values[name] = kind(value)
        else:
            word = "a whole number" if kind is int else "a number"
            errors.append(FieldError(f"/protocol/{name}", f"Expected {word} from {low} to {high}."))
    for name in _QUESTIONS:
        if name in body:
            values[name] = _text(body[name], f"/protocol/{name}", errors)
    if "justification_words" in body:
        words = body["justification_words"]
        if _is_word_range(words):
            values["justification_words"] = (words[0], words[1])
        else:
            expected = "Expected [least, most], such as [10, 300]; the least must not be more than the most."
            errors.append(FieldError("/protocol/justification_words", expected))
    for name, (parse, least, most) in _LISTS.items():
        if name not in body:
            continue
        items, pointer = body[name], f"/protocol/{name}"
        if not isinstance(items, list | tuple) or not least <= len(items) <= most:
            errors.append(FieldError(pointer, f"Expected a list of {least} to {most} entries."))
        else:
            values[name] = tuple(parse(item, f"{pointer}/{index}", errors) for index, item in enumerate(items))
    if not errors:
        protocol = replace(Protocol(), **values)
        errors += _contradictions(protocol)
    if errors:
        raise InvalidInput("The protocol is not valid.", errors)
    return protocol


def _contradictions(protocol: Protocol) -> list[FieldError]:
    errors = []
    if protocol.max_annotators < protocol.annotators:
        errors.append(FieldError("/protocol/max_annotators", _("Must not be smaller than annotators.")))
    for field, names in (
        ("attributes", protocol.attribute_names),
        ("attributes", protocol.problem_names),
        ("skip_reasons", tuple(reason.name for reason in protocol.skip_reasons)),
    ):
        if len(set(names)) != len(names):
            errors.append(FieldError(f"/protocol/{field}", "Two entries have the same name."))
    values = [preference.value for preference in protocol.preferences]
    if [(type(value), value) for value in values] != [(type(value), value) for value in PREFERENCE_VALUES]:
        errors.append(FieldError("/protocol/preferences", 'Expected the values -3, -2, -1, 1, 2, 3, "neither".'))
    return errors


def _is_word_range(words: object) -> bool:
    return (
        isinstance(words, list | tuple)
        and len(words) == 2
        and all(isinstance(word, int) and not isinstance(word, bool) for word in words)
        and 0 <= words[0] <= words[1] <= 10_000
    )


def _object(item: object, pointer: str, errors: list[FieldError]) -> dict[str, Any]:
    if isinstance(item, dict):
        return item
    errors.append(FieldError(pointer, "Expected an object."))
    return {}


def _text(text: object, pointer: str, errors: list[FieldError]) -> str:
    if isinstance(text, str) and text.strip() and len(text) <= _MAX_TEXT and "\x00" not in text:
        return text
    errors.append(FieldError(pointer, f"Expected a text of at most {_MAX_TEXT} characters."))
    return ""


def _name(name: object, pointer: str, errors: list[FieldError]) -> str:
    if isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= 40:
        return name
    errors.append(FieldError(f"{pointer}/name", "Expected a short name of letters, digits and underscores."))
    return ""


def _parse_attribute(item: object, pointer: str, errors: list[FieldError]) -> Attribute:
    body = _object(item, pointer, errors)
    name = _name(body.get("name"), pointer, errors)
    levels, problems = body.get("levels"), body.get("problems") or ()
    if not isinstance(levels, list | tuple) or len(levels) != RATING_MAX + 1:
        errors.append(FieldError(f"{pointer}/levels", "Expected five wordings, for 0 to 4."))
        levels = ()
    if not isinstance(problems, list | tuple) or len(problems) > 12:
        errors.append(FieldError(f"{pointer}/problems", "Expected a list of at most 12 checkboxes."))
        problems = ()
    return Attribute(
        name,
        _text(body.get("label") or name.capitalize() or "?", f"{pointer}/label", errors),
        tuple(_text(level, f"{pointer}/levels/{index}", errors) for index, level in enumerate(levels)),
        _text(body["help"], f"{pointer}/help", errors) if body.get("help") else "",
        tuple(_parse_check(check, f"{pointer}/problems/{index}", errors) for index, check in enumerate(problems)),
    )


def _parse_check(item: object, pointer: str, errors: list[FieldError]) -> Check:
    body = _object(item, pointer, errors)
    return Check(_name(body.get("name"), pointer, errors), _text(body.get("label"), f"{pointer}/label", errors))


def _parse_preference(item: object, pointer: str, errors: list[FieldError]) -> Preference:
    body = _object(item, pointer, errors)
    sentence = _text(body.get("sentence"), f"{pointer}/sentence", errors)
    words = _text(body.get("words"), f"{pointer}/words", errors)
    return Preference(cast(int | str, body.get("value")), words, sentence)


def _parse_skip_reason(item: object, pointer: str, errors: list[FieldError]) -> SkipReason:
    body = _object(item, pointer, errors)
    if not isinstance(body.get("invalid", False), bool):
        errors.append(FieldError(f"{pointer}/invalid", "Expected true or false."))
    label = _text(body.get("label"), f"{pointer}/label", errors)
    name = _name(body.get("name"), pointer, errors)
    if len(name) > 20:
        errors.append(FieldError(f"{pointer}/name", "At most 20 characters."))
    return SkipReason(name, label, body.get("invalid") is True)


_LISTS: dict[str, tuple[Any, int, int]] = {
    "attributes": (_parse_attribute, 1, 12),
    "response_flags": (_parse_check, 0, 6),
    "confidence": (_text, 0, 7),
    "preferences": (_parse_preference, 7, 7),
    "skip_reasons": (_parse_skip_reason, 1, 20),
}
"""Setting: how one entry is read, and how few and how many there may be."""
