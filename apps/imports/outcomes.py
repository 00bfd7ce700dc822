"""What became of the rows of an import, counted in comparisons."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from apps.imports.models import CAME_IN, Finding

MAX_ERRORS = 1000
COUNTS = (
    "created",
    "updated",
    "unchanged",
    "rejected",
    "excluded",
    "duplicates",
    "reversed",
    "contradictions",
    "near_duplicates",
    "contaminated",
)
_COUNTED_AS = {
    Finding.Kind.REJECTED: "rejected",
    Finding.Kind.DUPLICATE: "duplicates",
    Finding.Kind.REVERSED: "reversed",
    Finding.Kind.CONTRADICTION: "contradictions",
    Finding.Kind.NEAR_DUPLICATE: "near_duplicates",
    Finding.Kind.CONTAMINATED: "contaminated",
}


@dataclass
class ImportReport:
    """Counts of what became of the rows; `errors` names line, field and reason of the rejected ones."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    excluded: int = 0
    duplicates: int = 0
    reversed: int = 0
    contradictions: int = 0
    near_duplicates: int = 0
    contaminated: int = 0
    broken_off: int = 0
    """The line after which the file could not be read; 0 for a file that was read to its end."""
    empty_responses: int = 0
    """Comparisons with a response that says nothing, which a model may do; complete when all rows are read."""
    ignored_fields: Counter[str] = field(default_factory=Counter)
    """Fields of the rows that nothing was made of, and how many rows had them; complete when all rows are read."""
    errors: list[dict[str, Any]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return the numbers alone."""
        broken_off = {"broken_off": self.broken_off} if self.broken_off else {}
        return {name: getattr(self, name) for name in COUNTS} | broken_off

    def count_finding(self, line: int, kind: str, pointer: str, reason: str) -> None:
        """Count a finding; a rejected row is named among the errors too, up to a thousand of them."""
        name = _COUNTED_AS[Finding.Kind(kind)]
        setattr(self, name, getattr(self, name) + 1)
        if kind == Finding.Kind.REJECTED and len(self.errors) < MAX_ERRORS:
            self.errors.append({"line": line, "field": pointer, "reason": reason})

    @property
    def notice(self) -> str:
        """Return what must not be overlooked, in a sentence or two."""
        return notice_of(self.counts())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as the job's result shows it."""
        told: dict[str, Any] = {"notice": self.notice} if self.notice else {}
        ignored = {name[:100]: count for name, count in sorted(self.ignored_fields.items())}
        told |= {"ignored_fields": ignored} if ignored else {}
        told |= {"empty_responses": self.empty_responses} if self.empty_responses else {}
        return {**self.counts(), **told, "errors": self.errors}


def notice_of(counts: Mapping[str, int]) -> str:
    """Return what must not be overlooked: that nothing came in, and that a file was not read to its end."""
    told = [_nothing_came_in(counts)]
    if counts.get("broken_off"):
        told.append(_("What follows line %(line)s was not read.") % {"line": counts["broken_off"]})
    return " ".join(filter(None, told))


def _nothing_came_in(counts: Mapping[str, int]) -> str:
    """Return why no row came in, in a sentence; nothing where one of `CAME_IN` did."""
    if any(counts.get(name) for name in CAME_IN):
        return ""
    if counts.get("rejected"):
        return _("Nothing came in: every row was refused.")
    return _("Nothing came in: there are no rows.")
