"""An answer: what an annotator sends, in the order shown, and its canonical form."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.utils.translation import gettext as _

from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import is_whole, why_unstorable
from apps.projects.protocol import NEITHER, PREFERENCE_VALUES, RATING_MAX, RATING_MIN, Protocol
from worker.core.sides import swap_mentions

LABELS = ("1", "2")
MAX_JUSTIFICATION_CHARS = 20_000
MAX_ACTIVE_SECONDS = 24 * 3600
FIELDS = frozenset(
    {"preference", "ratings", "problems", "confidence", "justification", "active_seconds", "pasted_characters"}
)
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Answer:
    """A valid answer; `preference` is None for neither valid; pairs belong to the labels 1 and 2 as shown.

    `problems` are names of checkboxes in the protocol's order; `confidence` counts from 1, least sure first.
    """

    preference: int | None
    ratings: tuple[dict[str, int], dict[str, int]]
    justification: str
    active_seconds: int | None = None
    problems: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    confidence: int | None = None
    pasted_characters: int | None = None

    @property
    def hash(self) -> str:
        """Return a hash of everything a person chose; the time it took and what was pasted are not part of that."""
        chosen: list[Any] = [self.preference, self.ratings, self.justification]
        if any(self.problems) or self.confidence is not None:
            chosen += [self.problems, self.confidence]
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()

    def canonical(self, *, swapped: bool) -> "Answer":
        """Return the answer with everything that refers to a side un-swapped (or swapped: it is its own inverse)."""
        if not swapped:
            return self
        return replace(
            self,
            preference=None if self.preference is None else -self.preference,
            ratings=(self.ratings[1], self.ratings[0]),
            problems=(self.problems[1], self.problems[0]),
            justification=swap_mentions(self.justification),
        )

    def body(self) -> dict[str, Any]:
        """Return the JSON that `parse_answer` reads as this answer."""
        body = asdict(self)
        body["preference"] = NEITHER if self.preference is None else self.preference
        body["ratings"] = dict(zip(LABELS, self.ratings, strict=True))
        body["problems"] = {label: list(names) for label, names in zip(LABELS, self.problems, strict=True)}
        return body


def parse_answer(body: object, protocol: Protocol) -> Answer:
    """Return the answer in a submitted JSON object; raise InvalidInput that names every missing or wrong field."""
    if not isinstance(body, dict):
        raise InvalidInput(_("The answer must be a JSON object."), [FieldError("", _("Expected an object."))])
    errors = [FieldError(f"/{name}", _("There is no such field.")) for name in sorted(map(str, set(body) - FIELDS))]
    answer = Answer(
        preference=_parse_preference(body.get("preference"), errors),
        ratings=_parse_ratings(body.get("ratings"), protocol, errors),
        problems=_parse_problems(body.get("problems"), protocol, errors),
        confidence=_parse_whole(body, "confidence", 1, len(protocol.confidence), errors),
        justification=_parse_justification(body.get("justification"), protocol, errors),
        active_seconds=_parse_whole(body, "active_seconds", 0, MAX_ACTIVE_SECONDS, errors),
        pasted_characters=_parse_whole(body, "pasted_characters", 0, 10 * MAX_JUSTIFICATION_CHARS, errors),
    )
    if errors:
        raise InvalidInput(_("The answer is not complete.") if len(errors) > 1 else errors[0].detail, errors)
    return answer


def word_count(text: str) -> int:
    """Count words as the page does: runs of anything but white space."""
    return len(_WORD.findall(text))


def _parse_preference(value: Any, errors: list[FieldError]) -> int | None:
    if value == NEITHER:
        return None
    if is_whole(value) and value in PREFERENCE_VALUES:
        return int(value)
    detail = (
        _("Choose one of the six preferences, or neither valid.")
        if value is None
        else _('Expected -3, -2, -1, 1, 2, 3 or "neither".')
    )
    errors.append(FieldError("/preference", detail))
    return None


def _parse_ratings(
    value: object, protocol: Protocol, errors: list[FieldError]
) -> tuple[dict[str, int], dict[str, int]]:
    sides: list[dict[str, int]] = []
    value = _by_label(value, "ratings", errors)
    for label in LABELS:
        given = value.get(label)
        given = given if isinstance(given, dict) else {}
        side: dict[str, int] = {}
        for attribute in protocol.attributes:
            rating = given.get(attribute.name)
            pointer = f"/ratings/{label}/{attribute.name}"
            if rating is None:
                names = {"attribute": _(attribute.label).lower(), "label": label}
                errors.append(FieldError(pointer, _("Rate the %(attribute)s of response %(label)s.") % names))
            elif not is_whole(rating) or not RATING_MIN <= rating <= RATING_MAX:
                errors.append(FieldError(pointer, _whole_range(RATING_MIN, RATING_MAX)))
            else:
                side[attribute.name] = int(rating)
        errors += [
            FieldError(f"/ratings/{label}/{name}", _("There is no such attribute."))
            for name in sorted(map(str, set(given) - set(protocol.attribute_names)))
        ]
        sides.append(side)
    return sides[0], sides[1]


def _parse_problems(
    value: object, protocol: Protocol, errors: list[FieldError]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    sides: list[tuple[str, ...]] = []
    if value is not None and not isinstance(value, dict):
        errors.append(FieldError("/problems", _("Expected an object.")))
    value = _by_label(value, "problems", errors)
    for label in LABELS:
        given = value.get(label) or []
        unknown = [name for name in given if name not in protocol.problem_names] if isinstance(given, list) else [given]
        if unknown:
            known = ", ".join(protocol.problem_names)
            errors.append(
                FieldError(f"/problems/{label}", _("Expected a list of some of: %(names)s.") % {"names": known})
            )
        sides.append(() if unknown else tuple(name for name in protocol.problem_names if name in given))
    return sides[0], sides[1]


def _by_label(value: object, field: str, errors: list[FieldError]) -> Mapping[str, Any]:
    value = value if isinstance(value, dict) else {}
    errors += [
        FieldError(f"/{field}/{label}", _("There is no such response."))
        for label in sorted(map(str, set(value) - set(LABELS)))
    ]
    return value


def _parse_whole(body: dict[str, Any], field: str, low: int, high: int, errors: list[FieldError]) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if is_whole(value) and low <= value <= high:
        return int(value)
    errors.append(FieldError(f"/{field}", _whole_range(low, high)))
    return None


def _whole_range(low: int, high: int) -> str:
    return _("Expected a whole number from %(low)s to %(high)s.") % {"low": low, "high": high}


def _parse_justification(value: object, protocol: Protocol, errors: list[FieldError]) -> str:
    if value is not None and not isinstance(value, str):
        errors.append(FieldError("/justification", _("Expected text.")))
        return ""
    text = (value or "").replace("\r\n", "\n")
    least, most = protocol.justification_words
    count = word_count(text)
    if problem := why_unstorable(text):
        errors.append(FieldError("/justification", _("The text %(problem)s.") % {"problem": problem}))
    elif len(text) > MAX_JUSTIFICATION_CHARS:
        numbers = {"most": MAX_JUSTIFICATION_CHARS, "count": len(text)}
        errors.append(FieldError("/justification", _("At most %(most)s characters; this has %(count)s.") % numbers))
    elif not least <= count <= most:
        numbers = {"least": least, "most": most, "count": count}
        detail = _("Write %(least)s to %(most)s words; this has %(count)s.")
        errors.append(FieldError("/justification", detail % numbers))
    return text
