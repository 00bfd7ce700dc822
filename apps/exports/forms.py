"""Forms of snapshots."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.core.errors import FieldError
from apps.exports.encodings import DEFAULT_ENCODINGS, ENCODINGS
from apps.exports.formats import FORMATS
from apps.exports.selection import IMPORTED, PEOPLE
from apps.labeling.models import Consensus, QueueItem

ENCODING_WORDS = {
    "jsonl": _("JSON lines"),
    "parquet": "Parquet",
    "csv": "CSV",
    "jsonl.gz": _("JSON lines, gzip"),
    "csv.gz": _("CSV, gzip"),
}
DATE = forms.DateInput(attrs={"type": "date"})


class SnapshotForm(forms.Form):
    """A new snapshot: two splits, what it holds, and which files are written."""

    name = forms.CharField(label=_("Name"), max_length=120)
    train = forms.FloatField(label=_("Share for training"), min_value=0, max_value=1, initial=0.95)
    validation = forms.FloatField(label=_("Share for validation"), min_value=0, max_value=1, initial=0.05)
    seed = forms.IntegerField(
        label=_("Seed"), min_value=0, initial=0, help_text=_("The same seed puts the same prompts in the same split.")
    )
    state = forms.MultipleChoiceField(
        label=_("State in the queue"),
        required=False,
        choices=QueueItem.State.choices,
        widget=forms.CheckboxSelectMultiple,
    )
    status = forms.MultipleChoiceField(
        label=_("Consensus"),
        required=False,
        choices=[(status.value, words) for status, words in Consensus.WORDS.items()],
        widget=forms.CheckboxSelectMultiple,
    )
    max_spread = forms.IntegerField(label=_("Widest spread"), required=False, min_value=0, max_value=6)
    strength_min = forms.IntegerField(label=_("Strength from"), required=False, min_value=0, max_value=3)
    strength_max = forms.IntegerField(label=_("Strength to"), required=False, min_value=0, max_value=3)
    domain = forms.CharField(
        label=_("Domains, one on each line"), required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    submitted_from = forms.DateField(
        label=_("Newest label from"), required=False, widget=DATE, help_text=_("Days are those of UTC.")
    )
    submitted_to = forms.DateField(label=_("Newest label to"), required=False, widget=DATE)
    guideline_version = forms.CharField(
        label=_("Guideline versions"), required=False, help_text=_("Numbers with commas between them, such as 2, 3.")
    )
    consensus_rule = forms.CharField(label=_("Consensus rule"), required=False)
    source = forms.ChoiceField(
        label=_("Labels of"),
        required=False,
        choices=[("", _("everybody")), (PEOPLE, _("people here only")), (IMPORTED, _("imports only"))],
    )
    formats = forms.MultipleChoiceField(
        label=_("Formats"),
        required=False,
        choices=[(name, name) for name in FORMATS],
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None chosen means all of them."),
    )
    encodings = forms.MultipleChoiceField(
        label=_("Files"),
        required=False,
        choices=[(name, ENCODING_WORDS[name]) for name in ENCODINGS],
        initial=DEFAULT_ENCODINGS,
        widget=forms.CheckboxSelectMultiple,
    )

    rule_verdicts = forms.BooleanField(
        label=_("With what the active rule set says of each response"),
        required=False,
        help_text=_("As one more format, rule-verdicts; its rows have the external ids of the others."),
    )

    PLACES = {
        "/splits": "validation",
        "/filters/agreement": "max_spread",
        "/filters/strength": "strength_max",
        "/filters/submitted": "submitted_to",
    }
    """Where an error of the service is shown whose field has another name here."""

    def basics(self) -> list[forms.BoundField]:
        """Return the fields that every snapshot needs."""
        return [self[name] for name in ("name", "train", "validation", "seed")]

    def choices_of_rows(self) -> list[forms.BoundField]:
        """Return the fields that choose comparisons."""
        return [self[name] for name in self.fields if name not in ("name", "train", "validation", "seed", *self.FILES)]

    FILES = ("formats", "encodings", "rule_verdicts")

    def choices_of_files(self) -> list[forms.BoundField]:
        """Return the fields that choose files."""
        return [self[name] for name in self.FILES]

    def rows_are_wrong(self) -> bool:
        """Say whether a mistake is among the fields that choose comparisons, which are folded away otherwise."""
        return any(field.errors for field in self.choices_of_rows())

    def files_are_wrong(self) -> bool:
        """Say the same of the fields that choose files."""
        return any(field.errors for field in self.choices_of_files())

    def clean(self) -> dict[str, Any]:
        """Refuse shares that do not add up."""
        cleaned = super().clean() or {}
        train, validation = cleaned.get("train"), cleaned.get("validation")
        if train is not None and validation is not None and abs(train + validation - 1) > 1e-6:
            self.add_error("validation", _("The two shares must add up to 1."))
        return cleaned

    def clean_guideline_version(self) -> list[int]:
        """Return the numbers."""
        parts = self.cleaned_data["guideline_version"].replace(",", " ").split()
        if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
            raise forms.ValidationError(_("Expected numbers with commas between them."))
        return [int(part) for part in parts]

    def body(self) -> dict[str, Any]:
        """Return what the service takes."""
        given = self.cleaned_data
        splits = {"train": given["train"], "validation": given["validation"]}
        body = {"name": given["name"], "splits": splits, "seed": given["seed"], "filters": self._filters()}
        return body | {name: given[name] for name in self.FILES if given[name]}

    def add_errors(self, errors: Iterable[FieldError]) -> None:
        """Show what the service refused at the fields it is about."""
        for error in errors:
            field = self.PLACES.get(error.pointer, error.pointer.rsplit("/", 1)[-1])
            self.add_error(field if field in self.fields else None, error.detail)

    def _filters(self) -> dict[str, Any]:
        given = self.cleaned_data
        days = {name: given[f"submitted_{name}"] for name in ("from", "to")}
        filters: dict[str, Any] = {
            "state": given["state"],
            "domain": [line.strip() for line in given["domain"].splitlines() if line.strip()],
            "strength": _present({"min": given["strength_min"], "max": given["strength_max"]}),
            "agreement": _present({"status": given["status"] or None, "max_spread": given["max_spread"]}),
            "submitted": {name: day.isoformat() for name, day in days.items() if day},
            "guideline_version": given["guideline_version"],
            "consensus_rule": [given["consensus_rule"]] if given["consensus_rule"] else [],
            "source": given["source"],
        }
        return {name: value for name, value in filters.items() if value}


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
