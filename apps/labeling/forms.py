"""The answer as an HTML form: what the page shows of it, and the body it sends. Values are in the order shown."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from apps.core.errors import FieldError
from apps.labeling.answers import LABELS
from apps.labeling.models import Annotation
from apps.labeling.services import shown_answer
from apps.projects.protocol import NEITHER, Attribute, Check, Protocol


@dataclass(frozen=True)
class Choice:
    """One radio button or checkbox."""

    id: str
    value: int | str
    key: str
    words: str
    sentence: str
    chosen: bool
    focused: bool


@dataclass(frozen=True)
class Scale:
    """One radio group: a rating axis of one response, with the checkboxes that explain a rating."""

    name: str
    label: str
    help: str
    choices: tuple[Choice, ...]
    problems: tuple[Choice, ...]
    error: str


@dataclass(frozen=True)
class Rated:
    """Everything that is asked about one response."""

    label: int
    scales: tuple[Scale, ...]
    flags: tuple[Choice, ...]
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
        order = [f"/ratings/{label}/{name}" for label in LABELS for name in protocol.attribute_names] + ["/preference"]
        # From top to bottom of the page, so that the first line and the focus are where the person works.
        errors = sorted(errors, key=lambda error: order.index(error.pointer) if error.pointer in order else len(order))
        self._errors = {error.pointer: error.detail for error in errors}
        self._first = self._target(errors[0].pointer) if errors else ""
        self.problems = [Problem(self._target(error.pointer), error.detail) for error in errors]
        self.least_words, self.most_words = protocol.justification_words
        self.justification = _text(body.get("justification"))
        self.active_seconds = body.get("active_seconds") or 0
        self.pasted_characters = body.get("pasted_characters") or 0
        self.preference_question = wording(protocol.preference_question)
        self.justification_question = wording(protocol.justification_question)
        self.is_blank = not body and not errors

    @property
    def questions_key(self) -> str:
        """Return what the questions without an answer look the same for: the protocol and the language."""
        return f"{self.protocol.digest} {get_language()}"

    @cached_property
    def rated(self) -> list[Rated]:
        """Return what is rated of each response, in the order shown."""
        return [self._rated(label) for label in (1, 2)]

    def preferences(self) -> list[Choice]:
        """Return the seven options of the preference group."""
        chosen = self._body.get("preference")
        return [
            self._choice(f"preference-{key}", each.value, str(key), each.words, each.sentence, chosen=chosen)
            for key, each in enumerate(self.protocol.preferences, start=1)
        ]

    def confidence(self) -> list[Choice]:
        """Return how sure somebody can be, if they are asked."""
        chosen = self._body.get("confidence")
        return [
            self._choice(f"confidence-{value}", value, str(value), words, chosen=chosen)
            for value, words in enumerate(self.protocol.confidence, start=1)
        ]

    @property
    def preference_error(self) -> str:
        """Return what is wrong with the preference."""
        return self._errors.get("/preference", "")

    @property
    def confidence_error(self) -> str:
        """Return what is wrong with the confidence."""
        return self._errors.get("/confidence", "")

    @property
    def justification_error(self) -> str:
        """Return what is wrong with the justification."""
        return self._errors.get("/justification", "")

    @property
    def justification_focused(self) -> bool:
        """Say whether the first thing to mend is the justification."""
        return self._first == "justification"

    def _rated(self, label: int) -> Rated:
        scales = tuple(self._scale(label, attribute) for attribute in self.protocol.attributes)
        flags = self._checks(label, self.protocol.response_flags)
        return Rated(label, scales, flags, self._errors.get(f"/problems/{label}", ""))

    def _scale(self, label: int, attribute: Attribute) -> Scale:
        name = f"rating-{label}-{attribute.name}"
        side = self._side("ratings", label)
        chosen = side.get(attribute.name) if isinstance(side, Mapping) else None
        choices = tuple(
            self._choice(f"{name}-{value}", value, str(value), words, chosen=chosen)
            for value, words in enumerate(attribute.levels)
        )
        problems = self._checks(label, attribute.problems)
        error = self._errors.get(f"/ratings/{label}/{attribute.name}", "")
        return Scale(name, wording(attribute.label), wording(attribute.help), choices, problems, error)

    def _checks(self, label: int, checks: Sequence[Check]) -> tuple[Choice, ...]:
        ticked = self._side("problems", label)
        ticked = ticked if isinstance(ticked, list) else []
        return tuple(
            self._choice(
                f"problem-{label}-{check.name}", "on", str(key), check.label, chosen=check.name in ticked and "on"
            )
            for key, check in enumerate(checks, start=1)
        )

    def _side(self, field: str, label: int) -> object:
        sides = self._body.get(field)
        return sides.get(str(label)) if isinstance(sides, Mapping) else None

    def _choice(
        self, id: str, value: int | str, key: str, words: str, sentence: str = "", *, chosen: object = None
    ) -> Choice:
        is_chosen = chosen == value and type(chosen) is type(value)  # True == 1, and a draft may hold anything
        words = wording(words)
        return Choice(id, value, key, words, wording(sentence) or words, is_chosen, focused=id == self._first)

    @staticmethod
    def _target(pointer: str) -> str:
        parts = pointer.strip("/").split("/")
        if parts[0] == "ratings" and len(parts) == 3:
            return f"rating-{parts[1]}-{parts[2]}-0"
        return {"preference": "preference-1", "confidence": "confidence-1"}.get(parts[0], "justification")


@dataclass(frozen=True)
class SubmittedRow:
    """One's own annotation, put back into the order in which one saw the pair."""

    assignment_id: int
    submitted_at: datetime
    prompt: str
    verdict: str | Promise
    justification: str
    can_change: bool

    @classmethod
    def of(cls, annotation: Annotation, protocol: Protocol, changeable: Container[int]) -> "SubmittedRow":
        """Return the row of an annotation whose comparison and prompt are loaded."""
        shown = shown_answer(annotation)
        return cls(
            annotation.assignment_id,
            annotation.submitted_at,
            str(annotation.comparison.prompt.messages[-1]["content"]),
            preference_sentence(shown.preference, protocol),
            shown.justification,
            annotation.assignment_id in changeable,
        )


def wording(text: str) -> str:
    """Return words of the protocol: a default in the reader's language, a project's own as they are."""
    return gettext(text) if text else ""  # gettext("") is the catalogue's header


def skip_groups(protocol: Protocol) -> list[tuple[str, str, list[tuple[str, str, int]]]]:
    """Return the reasons to give a pair back, those that flag it first: id, heading, reasons with their keys."""
    keyed = [(key, reason) for key, reason in enumerate(sorted(protocol.skip_reasons, key=_for_me), start=1)]
    headings = (("reason-invalid", gettext("Nobody should label it")), ("reason-mine", gettext("It is not for me")))
    groups = [
        (id, heading, [(each.name, wording(each.label), key) for key, each in keyed if each.invalid is invalid])
        for (id, heading), invalid in zip(headings, (True, False), strict=True)
    ]
    return [group for group in groups if group[2]]


def preference_sentence(preference: int | None, protocol: Protocol | None = None) -> str | Promise:
    """Return a preference in words; a tie exists only in imported labels."""
    value: int | str = NEITHER if preference is None else preference
    known = {each.value: each.sentence for each in (protocol or Protocol()).preferences}
    return wording(known[value]) if value in known else _("Both are about the same")


def answer_body(posted: Mapping[str, str], protocol: Protocol) -> dict[str, Any]:
    """Return the body of submit that a posted form stands for; what was left empty is left out."""
    ratings: dict[str, dict[str, Any]] = {label: {} for label in LABELS}
    for label, side in ratings.items():
        for attribute in protocol.attributes:
            if value := posted.get(f"rating-{label}-{attribute.name}"):
                side[attribute.name] = _whole(value)
    body: dict[str, Any] = {"ratings": ratings, "justification": posted.get("justification", "").replace("\r\n", "\n")}
    body["problems"] = {
        label: [name for name in protocol.problem_names if f"problem-{label}-{name}" in posted] for label in LABELS
    }
    asked = ("preference", "confidence", "active_seconds", "pasted_characters")
    for field in asked if protocol.confidence else set(asked) - {"confidence"}:
        if value := posted.get(field):
            body[field] = _whole(value)
    return body


def _for_me(reason: Any) -> bool:
    return not reason.invalid


def _whole(value: str) -> int | str:
    """Return the number a field holds, or what it holds instead, for the service to refuse by name."""
    try:
        return int(value)
    except ValueError:
        return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
