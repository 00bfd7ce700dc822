"""An answer: what an annotator sends, in the order shown, and its canonical form."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import is_whole, why_unstorable
from apps.projects.protocol import RATING_MAX, RATING_MIN, Protocol
from worker.core.sides import swap_mentions

NEITHER = "neither"
PREFERENCES = (-3, -2, -1, 1, 2, 3)
MAX_JUSTIFICATION_CHARS = 20_000
MAX_ACTIVE_SECONDS = 24 * 3600
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Answer:
    """A valid answer; `preference` is None for neither valid; `ratings` belong to the labels 1 and 2 as shown."""

    preference: int | None
    ratings: tuple[dict[str, int], dict[str, int]]
    justification: str
    active_seconds: int | None

    @property
    def hash(self) -> str:
        """Return a hash of everything a person chose; the time it took is not part of the answer."""
        body = json.dumps([self.preference, self.ratings, self.justification], sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()

    def canonical(self, *, swapped: bool) -> "Answer":
        """Return the answer with everything that refers to a side un-swapped (or swapped: it is its own inverse)."""
        if not swapped:
            return self
        return Answer(
            preference=None if self.preference is None else -self.preference,
            ratings=(self.ratings[1], self.ratings[0]),
            justification=swap_mentions(self.justification),
            active_seconds=self.active_seconds,
        )


def parse_answer(body: object, protocol: Protocol) -> Answer:
    """Return the answer in a submitted JSON object; raise InvalidInput that names every missing or wrong field."""
    if not isinstance(body, dict):
        raise InvalidInput("The answer must be a JSON object.", [FieldError("", "Expected an object.")])
    errors: list[FieldError] = []
    known = {"preference", "ratings", "justification", "active_seconds"}
    errors += [FieldError(f"/{name}", "There is no such field.") for name in sorted(map(str, set(body) - known))]
    preference = _parse_preference(body.get("preference"), errors)
    ratings = _parse_ratings(body.get("ratings"), protocol, errors)
    justification = _parse_justification(body.get("justification"), protocol, errors)
    seconds = body.get("active_seconds")
    if seconds is not None and (not is_whole(seconds) or not 0 <= seconds <= MAX_ACTIVE_SECONDS):
        errors.append(FieldError("/active_seconds", f"Expected whole seconds from 0 to {MAX_ACTIVE_SECONDS}."))
    if errors:
        raise InvalidInput("The answer is not complete." if len(errors) > 1 else errors[0].detail, errors)
    return Answer(preference, ratings, justification, None if seconds is None else int(seconds))


def word_count(text: str) -> int:
    """Count words as the page does: runs of anything but white space."""
    return len(_WORD.findall(text))


def _parse_preference(value: Any, errors: list[FieldError]) -> int | None:
    if value == NEITHER:
        return None
    if is_whole(value) and value in PREFERENCES:
        return int(value)
    detail = (
        "Choose one of the six preferences, or neither valid."
        if value is None
        else ('Expected -3, -2, -1, 1, 2, 3 or "neither".')
    )
    errors.append(FieldError("/preference", detail))
    return None


def _parse_ratings(
    value: object, protocol: Protocol, errors: list[FieldError]
) -> tuple[dict[str, int], dict[str, int]]:
    sides: list[dict[str, int]] = []
    value = value if isinstance(value, dict) else {}
    errors += [
        FieldError(f"/ratings/{side}", "There is no such response.")
        for side in sorted(map(str, set(value) - {"1", "2"}))
    ]
    for label in ("1", "2"):
        given = value.get(label)
        given = given if isinstance(given, dict) else {}
        side: dict[str, int] = {}
        for attribute in protocol.attributes:
            rating = given.get(attribute.name)
            pointer = f"/ratings/{label}/{attribute.name}"
            if rating is None:
                errors.append(FieldError(pointer, f"Rate the {attribute.label.lower()} of response {label}."))
            elif not is_whole(rating) or not RATING_MIN <= rating <= RATING_MAX:
                errors.append(FieldError(pointer, f"Expected a whole number from {RATING_MIN} to {RATING_MAX}."))
            else:
                side[attribute.name] = int(rating)
        for name in sorted(map(str, set(given) - set(protocol.attribute_names))):
            errors.append(FieldError(f"/ratings/{label}/{name}", "There is no such attribute."))
        sides.append(side)
    return sides[0], sides[1]


def _parse_justification(value: object, protocol: Protocol, errors: list[FieldError]) -> str:
    if value is not None and not isinstance(value, str):
        errors.append(FieldError("/justification", "Expected text."))
        return ""
    text = (value or "").replace("\r\n", "\n")
    least, most = protocol.justification_words
    count = word_count(text)
    if problem := why_unstorable(text):
        errors.append(FieldError("/justification", f"The text {problem}."))
    elif len(text) > MAX_JUSTIFICATION_CHARS:
        errors.append(
            FieldError("/justification", f"At most {MAX_JUSTIFICATION_CHARS} characters; this has {len(text)}.")
        )
    elif not least <= count <= most:
        errors.append(FieldError("/justification", f"Write {least} to {most} words; this has {count}."))
    return text
