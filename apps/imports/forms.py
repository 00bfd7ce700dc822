"""Forms of imports: where rows come from, and what their columns mean."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from apps.core.errors import FieldError, InvalidInput
from apps.imports.mapping import TARGETS
from apps.imports.models import Import
from apps.imports.options import DATASET_NAME, FORMATS, Options

FIELD_NAMES = {
    "prompt": _("Prompt"),
    "messages": _("Messages (a list)"),
    "response_1": _("Response 1"),
    "response_2": _("Response 2"),
    "model_1": _("Model of response 1"),
    "model_2": _("Model of response 2"),
    "external_id": _("External id"),
    "reference": _("Reference answer"),
    "preference": _("Preference"),
    "justification": _("Justification"),
    "annotator": pgettext_lazy("person", "Annotator"),
    "gold": _("Known answer"),
    "metadata": _("Metadata (columns, separated by commas)"),
}


class SourceForm(forms.Form):
    """A file, or a dataset of the hub."""

    file = forms.FileField(
        label=_("File"),
        required=False,
        allow_empty_file=False,
        help_text=_("JSON lines, a JSON array, CSV or Parquet, plain or gzipped. Large files are sent in pieces."),
        widget=forms.ClearableFileInput(attrs={"accept": ".jsonl,.ndjson,.json,.csv,.tsv,.parquet,.gz"}),
    )
    upload = forms.CharField(required=False, max_length=20, widget=forms.HiddenInput)
    dataset = forms.RegexField(
        DATASET_NAME,
        label=_("Or a Hugging Face dataset"),
        required=False,
        strip=True,
        help_text=_("Owner and name, such as nvidia/HelpSteer2."),
    )
    config = forms.RegexField(r"^[\w.-]{1,100}$", label=_("Its configuration"), required=False)
    split = forms.RegexField(r"^\w[\w.-]{0,60}$", label=_("Its split"), required=False, initial="train")

    def clean(self) -> dict[str, Any]:
        """Ask for one source."""
        cleaned = super().clean() or {}
        if not self.errors and not any(cleaned.get(name) for name in ("file", "upload", "dataset")):
            self.add_error("file", _("Choose a file that is not empty, or name a dataset."))
        return cleaned

    def dataset_body(self) -> dict[str, str]:
        """Return the dataset as the service takes it."""
        names = {"dataset": "name", "config": "config", "split": "split"}
        return {key: self.cleaned_data[name] for name, key in names.items() if self.cleaned_data.get(name)}


class PlanForm(forms.Form):
    """What the columns of a source mean, and what is to be left out."""

    format = forms.ChoiceField(
        label=_("Format"),
        required=False,
        choices=[("", _("As recognised")), *((name, name) for name in FORMATS)],
    )
    exclude_duplicates = forms.BooleanField(label=_("Leave out pairs that are there under another id"), required=False)
    near_duplicates = forms.BooleanField(label=_("Report pairs that are nearly the same"), required=False)
    exclude_near_duplicates = forms.BooleanField(label=_("Leave out pairs that are nearly the same"), required=False)
    benchmarks = forms.FileField(
        label=_("Benchmark prompts"),
        required=False,
        help_text=_("Rows that share thirteen words in a row with one of them are reported."),
    )
    exclude_contaminated = forms.BooleanField(label=_("Leave those rows out"), required=False)

    def __init__(self, *args: Any, made: Import, **kwargs: Any) -> None:
        mapping = made.options.get("mapping") or {}
        metadata = mapping.get("metadata") or []
        initial = {
            **made.options,
            **{f"map_{name}": column for name, column in mapping.items()},
            "map_metadata": metadata if isinstance(metadata, str) else ", ".join(metadata),
        }
        kwargs["initial"] = initial
        super().__init__(*args, **kwargs)
        for name in TARGETS:
            self.fields[f"map_{name}"] = forms.CharField(
                label=FIELD_NAMES[name],
                required=False,
                max_length=2000,
                widget=forms.TextInput(attrs={"list": "columns", "autocomplete": "off", "class": "mono"}),
            )

    @property
    def mapping_fields(self) -> list[forms.BoundField]:
        """Return the fields that name columns."""
        return [self[f"map_{name}"] for name in TARGETS]

    @property
    def option_fields(self) -> list[forms.BoundField]:
        """Return the check boxes about duplicates."""
        return [self[name] for name in ("exclude_duplicates", "near_duplicates", "exclude_near_duplicates")]

    def options(self, *, dry_run: bool) -> Options | None:
        """Return checked options, or None with the errors at their fields."""
        given = self.cleaned_data
        mapping: dict[str, Any] = {name: given[f"map_{name}"] for name in TARGETS if given.get(f"map_{name}")}
        if "metadata" in mapping:
            mapping["metadata"] = [part.strip() for part in mapping["metadata"].split(",") if part.strip()]
        flags = ("exclude_duplicates", "near_duplicates", "exclude_near_duplicates", "exclude_contaminated")
        try:
            return Options(
                format=given["format"] or None,
                mapping=mapping or None,
                dry_run=dry_run,
                **{name: given[name] for name in flags},
            )
        except InvalidInput as refused:
            self.add_errors(refused.errors)
            return None

    def add_errors(self, errors: tuple[FieldError, ...]) -> None:
        """Show what a service refused at the fields it names."""
        for error in errors:
            name = error.pointer.removeprefix("/").replace("mapping/", "map_")
            self.add_error(name if name in self.fields else None, error.detail)
