"""The protocol: what an annotator is asked, how many people are asked, and when they disagree too much."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from apps.core.errors import FieldError, InvalidInput

RATING_MIN, RATING_MAX = 0, 4


@dataclass(frozen=True)
class Attribute:
    """One rating axis with its wording from 0 to 4."""

    name: str
    label: str
    levels: tuple[str, ...]
    help: str = ""


# Order and meaning: HelpSteer2, arXiv 2406.08673, appendix G.3, in our own words.
HELPSTEER2_ATTRIBUTES = (
    Attribute(
        "helpfulness",
        "Helpfulness",
        (
            "Useless, misses the point",
            "Of little use",
            "Helps in part, misses the goal",
            "Mostly on target",
            "Does what was asked, fully",
        ),
        "How good is the response overall?",
    ),
    Attribute(
        "correctness",
        "Correctness",
        (
            "All wrong",
            "Mostly wrong or incomplete",
            "Right and wrong mixed",
            "Mostly right, small omissions",
            "Right and complete",
        ),
        "Are the facts right, and is everything there that was asked for?",
    ),
    Attribute(
        "coherence",
        "Coherence",
        ("Cannot be understood", "Hard to follow", "Somewhat unclear", "Mostly clear", "Clear throughout"),
        "Is it clear and free of contradictions?",
    ),
    Attribute(
        "complexity",
        "Complexity",
        ("A child can follow", "Simple", "Secondary school", "Needs some expertise", "Experts only"),
        "How demanding is the language? Not a measure of quality.",
    ),
    Attribute(
        "verbosity",
        "Verbosity",
        ("As short as it can be", "Rather short", "Average", "Rather long", "Very long"),
        "How long is it for what was asked? Not a measure of quality.",
    ),
)


@dataclass(frozen=True)
class Protocol:
    """Settings of the labeling task; the limits are HelpSteer2's: 3 annotators, 5 at most, spread 2."""

    attributes: tuple[Attribute, ...] = HELPSTEER2_ATTRIBUTES
    justification_words: tuple[int, int] = (10, 300)
    annotators: int = 3
    max_annotators: int = 5
    spread_limit: int = 2
    lease_minutes: int = 30
    control_rate: float = 0.0
    repeat_rate: float = 0.0

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Return the names of the rating axes in their order on the page."""
        return tuple(attribute.name for attribute in self.attributes)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as REST shows it."""
        return asdict(self)


_NUMBERS: dict[str, tuple[type, float, float]] = {
    "annotators": (int, 1, 20),
    "max_annotators": (int, 1, 20),
    "spread_limit": (int, 0, 6),
    "lease_minutes": (int, 1, 24 * 60),
    "control_rate": (float, 0, 0.5),
    "repeat_rate": (float, 0, 0.5),
}


def parse_protocol(body: object) -> Protocol:
    """Return the protocol described by a JSON object; raise InvalidInput that names every wrong field."""
    if not isinstance(body, dict):
        raise InvalidInput("The protocol must be a JSON object.", [FieldError("/protocol", "Expected an object.")])
    errors: list[FieldError] = []
    known = {"attributes", "justification_words", *_NUMBERS}
    errors += [
        FieldError(f"/protocol/{name}", f"There is no such setting; known are {', '.join(sorted(known))}.")
        for name in sorted(set(body) - known)
    ]
    values: dict[str, Any] = {}
    for name, (kind, low, high) in _NUMBERS.items():
        if name not in body:
            continue
        value = body[name]
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if fits and (kind is float or value == int(value)):
            values[name] = kind(value)
        else:
            word = "a whole number" if kind is int else "a number"
            errors.append(FieldError(f"/protocol/{name}", f"Expected {word} from {low} to {high}."))
    if "justification_words" in body:
        words = body["justification_words"]
        if _is_word_range(words):
            values["justification_words"] = (words[0], words[1])
        else:
            errors.append(FieldError("/protocol/justification_words", "Expected [least, most], such as [10, 300]."))
    if "attributes" in body:
        attributes = _parse_attributes(body["attributes"], errors)
        if attributes:
            values["attributes"] = attributes
    protocol = replace(Protocol(), **values)
    if protocol.max_annotators < protocol.annotators:
        errors.append(FieldError("/protocol/max_annotators", "Must not be smaller than annotators."))
    if errors:
        raise InvalidInput("The protocol is not valid.", errors)
    return protocol


def _is_word_range(words: object) -> bool:
    return (
        isinstance(words, list | tuple)
        and len(words) == 2
        and all(isinstance(word, int) and not isinstance(word, bool) for word in words)
        and 0 <= words[0] <= words[1] <= 10_000
    )


def _parse_attributes(body: object, errors: list[FieldError]) -> tuple[Attribute, ...]:
    if not isinstance(body, list | tuple) or not 1 <= len(body) <= 12:
        errors.append(FieldError("/protocol/attributes", "Expected a list of one to twelve attributes."))
        return ()
    attributes = []
    for index, item in enumerate(body):
        pointer = f"/protocol/attributes/{index}"
        if isinstance(item, Attribute):
            item = asdict(item)
        name = item.get("name") if isinstance(item, dict) else None
        levels = item.get("levels") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name.isidentifier() or len(name) > 40:
            errors.append(FieldError(f"{pointer}/name", "Expected a short name of letters, digits and underscores."))
            continue
        if not isinstance(levels, list | tuple) or len(levels) != 5 or not all(isinstance(x, str) for x in levels):
            errors.append(FieldError(f"{pointer}/levels", "Expected five wordings, for 0 to 4."))
            continue
        label, help_text = str(item.get("label") or name.capitalize()), str(item.get("help") or "")
        attributes.append(Attribute(name, label[:80], tuple(level[:200] for level in levels), help_text[:300]))
    if len({attribute.name for attribute in attributes}) != len(attributes):
        errors.append(FieldError("/protocol/attributes", "Two attributes have the same name."))
    return tuple(attributes)
