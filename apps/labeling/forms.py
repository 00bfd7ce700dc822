"""The answer as an HTML form: what the page shows of it, and the body it sends. Values are in the order shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.core.errors import FieldError
from apps.labeling.answers import NEITHER, Answer
from apps.labeling.models import Annotation
from apps.projects.protocol import Attribute, Protocol

PREFERENCES: tuple[tuple[int | str, str | Promise, str | Promise], ...] = (
    (-3, _("much better"), _("Response 1 is much better than Response 2")),
    (-2, _("better"), _("Response 1 is better than Response 2")),
    (-1, _("slightly better"), _("Response 1 is slightly better than Response 2")),
    (1, _("slightly better"), _("Response 2 is slightly better than Response 1")),
    (2, _("better"), _("Response 2 is better than Response 1")),
    (3, _("much better"), _("Response 2 is much better than Response 1")),
    (NEITHER, _("Neither response is valid"), _("Neither response is valid")),
)
"""Value, words on the button, whole sentence: HelpSteer2-Preference's seven options in their order."""


@dataclass(frozen=True)
class Choice:
    """One radio button."""

    id: str
    value: int | str
    key: str
    words: str | Promise
    sentence: str | Promise
    chosen: bool
    focused: bool


@dataclass(frozen=True)
class Scale:
    """One radio group: a rating axis of one response."""

    name: str
    attribute: Attribute
    choices: tuple[Choice, ...]
    error: str


@dataclass(frozen=True)
class Problem:
    """One line of the error summary, with the field it leads to."""

    target: str
    detail: str


class AnswerForm:
    """Everything the template needs to show an answer in any state: empty, a draft, or refused."""

    def __init__(self, protocol: Protocol, body: Mapping[str, Any], errors: Sequence[FieldError] = ()) -> None:
        self.protocol = protocol
        self._body = body
        order = [f"/ratings/{label}/{name}" for label in (1, 2) for name in protocol.attribute_names] + ["/preference"]
        # From top to bottom of the page, so that the first line and the focus are where the person works.
        errors = sorted(errors, key=lambda error: order.index(error.pointer) if error.pointer in order else len(order))
        self._errors = {error.pointer: error.detail for error in errors}
        self._first = self._target(errors[0].pointer) if errors else ""
        self.problems = [Problem(self._target(error.pointer), error.detail) for error in errors]
        self.least_words, self.most_words = protocol.justification_words
        self.justification = _text(body.get("justification"))
        self.active_seconds = body.get("active_seconds") or 0

    def responses(self) -> list[tuple[int, list[Scale]]]:
        """Return the rating groups per label shown."""
        return [(label, [self._scale(label, attribute) for attribute in self.protocol.attributes]) for label in (1, 2)]

    def preferences(self) -> list[Choice]:
        """Return the seven options of the preference group."""
        chosen = self._body.get("preference")
        return [
            self._choice(f"preference-{key}", value, str(key), words, sentence, chosen)
            for key, (value, words, sentence) in enumerate(PREFERENCES, start=1)
        ]

    @property
    def preference_error(self) -> str:
        """Return what is wrong with the preference."""
        return self._errors.get("/preference", "")

    @property
    def justification_error(self) -> str:
        """Return what is wrong with the justification."""
        return self._errors.get("/justification", "")

    @property
    def justification_focused(self) -> bool:
        """Say whether the first thing to mend is the justification."""
        return self._first == "justification"

    def _scale(self, label: int, attribute: Attribute) -> Scale:
        name = f"rating-{label}-{attribute.name}"
        ratings = self._body.get("ratings")
        side = ratings.get(str(label)) if isinstance(ratings, Mapping) else None
        chosen = side.get(attribute.name) if isinstance(side, Mapping) else None
        choices = tuple(
            self._choice(f"{name}-{value}", value, str(value), words, words, chosen)
            for value, words in enumerate(attribute.levels)
        )
        return Scale(name, attribute, choices, self._errors.get(f"/ratings/{label}/{attribute.name}", ""))

    def _choice(
        self, id: str, value: int | str, key: str, words: str | Promise, sentence: str | Promise, chosen: object
    ) -> Choice:
        is_chosen = chosen == value and type(chosen) is type(value)  # True == 1, and a draft may hold anything
        return Choice(id, value, key, words, sentence, is_chosen, focused=id == self._first)

    @staticmethod
    def _target(pointer: str) -> str:
        parts = pointer.strip("/").split("/")
        if parts[0] == "ratings" and len(parts) == 3:
            return f"rating-{parts[1]}-{parts[2]}-0"
        return {"preference": "preference-1"}.get(parts[0], "justification")


@dataclass(frozen=True)
class SubmittedRow:
    """One's own annotation, put back into the order in which one saw the pair."""

    submitted_at: datetime
    prompt: str
    verdict: str | Promise
    justification: str

    @classmethod
    def of(cls, annotation: Annotation) -> "SubmittedRow":
        """Return the row of an annotation whose comparison and prompt are loaded."""
        canonical = Answer(annotation.preference, ({}, {}), annotation.justification, None)
        shown = canonical.canonical(swapped=annotation.swapped)  # its own inverse
        return cls(
            annotation.submitted_at,
            str(annotation.comparison.prompt.messages[-1]["content"]),
            preference_sentence(shown.preference),
            shown.justification,
        )


def preference_sentence(preference: int | None) -> str | Promise:
    """Return a preference in words; a tie exists only in imported labels."""
    value: int | str = NEITHER if preference is None else preference
    return next((sentence for known, _words, sentence in PREFERENCES if known == value), _("Both are about the same"))


def answer_body(posted: Mapping[str, str], protocol: Protocol) -> dict[str, Any]:
    """Return the body of submit that a posted form stands for; what was left empty is left out."""
    ratings: dict[str, dict[str, Any]] = {"1": {}, "2": {}}
    for label, side in ratings.items():
        for attribute in protocol.attributes:
            if value := posted.get(f"rating-{label}-{attribute.name}"):
                side[attribute.name] = _whole(value)
    body: dict[str, Any] = {"ratings": ratings, "justification": posted.get("justification", "").replace("\r\n", "\n")}
    if preference := posted.get("preference"):
        body["preference"] = _whole(preference)
    if seconds := posted.get("active_seconds"):
        body["active_seconds"] = _whole(seconds)
    return body


def _whole(value: str) -> int | str:
    """Return the number a field holds, or what it holds instead, for the service to refuse by name."""
    try:
        return int(value)
    except ValueError:
        return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
