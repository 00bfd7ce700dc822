"""Forms of cohorts, and the words for what was reported."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.core.errors import FieldError
from apps.labeling.cohorts import MAX_NAME, MAX_UNTOUCHED
from apps.labeling.forms import wording
from apps.labeling.models import Annotation, Assignment
from apps.projects.protocol import UNSAFE, Protocol


class CohortForm(forms.Form):
    """A cohort: its name and people, and comparisons that are assigned to it."""

    name = forms.CharField(label=_("Name"), max_length=MAX_NAME)
    members = forms.MultipleChoiceField(label=_("People"), required=False, widget=forms.CheckboxSelectMultiple)
    external_ids = forms.CharField(
        label=_("External ids, one on each line"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 5, "class": "mono", "spellcheck": "false"}),
    )
    untouched = forms.IntegerField(
        label=_("And the next comparisons that nobody has begun"),
        required=False,
        min_value=0,
        max_value=MAX_UNTOUCHED,
    )

    def __init__(self, data: Any = None, *, people: Sequence[User], **options: Any) -> None:
        super().__init__(data, **options)
        self.fields["members"].choices = [(person.username, str(person)) for person in people]  # type: ignore[attr-defined]

    def values(self) -> dict[str, Any]:
        """Return what the services take."""
        lines = self.cleaned_data["external_ids"].splitlines()
        return {
            "name": self.cleaned_data["name"],
            "usernames": self.cleaned_data["members"],
            "external_ids": [line.strip() for line in lines if line.strip()],
            "untouched": self.cleaned_data["untouched"] or 0,
        }

    def add_errors(self, errors: Iterable[FieldError]) -> None:
        """Show what the service refused at the fields it is about."""
        for error in errors:
            self.add_error(error.pointer.split("/")[1], error.detail)


class CohortChangeForm(CohortForm):
    """A cohort that is there: comparisons may leave it, too."""

    remove_external_ids = forms.CharField(
        label=_("External ids that leave it, one on each line"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
    )

    def values(self) -> dict[str, Any]:
        """Return what the services take."""
        lines = self.cleaned_data["remove_external_ids"].splitlines()
        return {**super().values(), "remove_external_ids": [line.strip() for line in lines if line.strip()]}


def worded(skips: Iterable[Assignment], protocol: Protocol) -> list[tuple[Assignment, str]]:
    """Return skips with the words of their reasons; a reason that the protocol has no more stands for itself."""
    words = {reason.name: wording(reason.label) for reason in protocol.skip_reasons}
    return [(skip, words.get(skip.skip_reason, skip.skip_reason)) for skip in skips]


def unsafe_responses(annotations: Iterable[Annotation]) -> list[tuple[Annotation, list[int]]]:
    """Return annotations with the canonical numbers of the responses that they call unsafe."""
    return [
        (each, [number for number, problems in enumerate((each.problems_1, each.problems_2), 1) if UNSAFE in problems])
        for each in annotations
    ]
