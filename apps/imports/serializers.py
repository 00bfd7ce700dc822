"""JSON of imports and uploads."""

import json
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.errors import InvalidInput
from apps.core.serializers import ObjectField, StorableJSONField, StrictSerializer, TextField
from apps.imports.files import CONTAINERS
from apps.imports.models import Finding, Import
from apps.imports.options import DATASET_NAME, FORMATS, Options
from apps.imports.shapes import SHAPE_NAMES
from apps.jobs.serializers import JobSerializer

MAX_ITEMS = 100_000
MAX_BENCHMARK_PROMPTS = 20_000
OTHER_FORMATS = (".xlsx", ".xls", ".zip", ".tar", ".7z", ".bz2", ".xz", ".zst", ".arrow", ".pkl", ".pickle")
_OPTIONS = (
    "format",
    "mapping",
    "dry_run",
    "exclude_duplicates",
    "near_duplicates",
    "exclude_near_duplicates",
    "exclude_contaminated",
    "split",
)


@extend_schema_field({"type": "object", "additionalProperties": {"type": "integer"}})
class CountsField(serializers.JSONField):
    """Counts by name."""


class ImportSerializer(serializers.Serializer[Import]):
    """A source of pairs that was handed in, and what has become of its rows so far."""

    id = serializers.CharField()
    file_name = serializers.CharField()
    created_at = serializers.DateTimeField()
    dataset = ObjectField(allow_null=True)
    upload = serializers.CharField(source="upload_id", allow_null=True)
    options = serializers.SerializerMethodField()
    counts = CountsField()
    undone_at = serializers.DateTimeField(allow_null=True)
    job = JobSerializer(allow_null=True)

    @extend_schema_field({"type": "object", "additionalProperties": {}})
    def get_options(self, made: Import) -> dict[str, Any]:
        """Return the options that were asked for; where a benchmark is stored is nobody's business."""
        shown = {name: value for name, value in made.options.items() if name != "benchmarks"}
        return {**shown, **({"benchmark": True} if "benchmarks" in made.options else {})}


class FindingSerializer(serializers.Serializer[Finding]):
    """One line of an import's report."""

    line = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=Finding.Kind.choices)
    field = serializers.CharField()
    reason = serializers.CharField()
    external_id = serializers.CharField()


class OptionsSerializer(StrictSerializer):
    """What may be asked of any import."""

    format = serializers.ChoiceField(choices=FORMATS, required=False)
    mapping = ObjectField(required=False, help_text="Fields such as prompt, response_1 and the columns they come from.")
    dry_run = serializers.BooleanField(required=False, help_text="Report everything and store nothing.")
    exclude_duplicates = serializers.BooleanField(required=False)
    near_duplicates = serializers.BooleanField(required=False, help_text="Report pairs that are nearly the same.")
    exclude_near_duplicates = serializers.BooleanField(required=False)
    exclude_contaminated = serializers.BooleanField(
        required=False, help_text="Leave out rows that share thirteen words in a row with a benchmark prompt."
    )
    split = TextField(required=False, max_length=40, help_text="Stored as each row's metadata where it names none.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Check the options together, and return them as one value."""
        given = {name: attrs[name] for name in _OPTIONS if name in attrs}
        try:
            attrs["options"] = Options(**given)
        except InvalidInput as wrong:
            raise serializers.ValidationError(_nested(wrong)) from wrong
        return attrs


class DatasetSerializer(StrictSerializer):
    """A dataset on the Hugging Face hub."""

    name = serializers.RegexField(
        DATASET_NAME,
        max_length=193,
        help_text="Owner and name: nvidia/HelpSteer2.",
        error_messages={"invalid": "Expected owner/name, such as nvidia/HelpSteer2."},
    )
    config = serializers.RegexField(r"^[\w.-]{1,100}$", required=False)
    split = serializers.RegexField(r"^\w[\w.-]{0,60}(\[\d{0,12}%?:\d{0,12}%?\])?$", required=False)
    revision = serializers.RegexField(r"^[\w./-]{1,100}$", required=False)


class ItemsSerializer(OptionsSerializer):
    """Rows in the body, an upload, or a dataset. Each row is checked by the job, which reports what it refuses."""

    items = serializers.ListField(
        child=serializers.JSONField(), allow_empty=False, max_length=MAX_ITEMS, required=False
    )
    upload = TextField(required=False, max_length=20, help_text="The id of an upload that has arrived.")
    dataset = DatasetSerializer(required=False)
    benchmark_prompts = serializers.ListField(
        child=TextField(allow_blank=True), required=False, max_length=MAX_BENCHMARK_PROMPTS
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for exactly one source."""
        sources = [name for name in ("items", "upload", "dataset") if name in attrs]
        if not sources:
            raise serializers.ValidationError({"items": ["Send rows as items, or the id of an upload, or a dataset."]})
        if len(sources) > 1:
            raise serializers.ValidationError({sources[1]: [f"Send this or {sources[0]}, not both."]})
        if "upload" not in attrs and attrs.get("format") in CONTAINERS:
            raise serializers.ValidationError({"format": [f"Use one of {', '.join(SHAPE_NAMES)}."]})
        return super().validate(attrs)


class FormJSONField(StorableJSONField):
    """A JSON object in a form's text field."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the object."""
        try:
            value = json.loads(data) if isinstance(data, str) else data
        except (ValueError, RecursionError) as error:
            raise serializers.ValidationError("Expected a JSON object.") from error
        if not isinstance(value, dict):
            raise serializers.ValidationError("Expected a JSON object.")
        return super().to_internal_value(value)


class FileSerializer(OptionsSerializer):
    """Import rows in a file: JSON lines, a JSON array, CSV or Parquet, plain or gzipped."""

    file = serializers.FileField()
    mapping = FormJSONField(required=False, help_text="A JSON object.")  # type: ignore[assignment]
    benchmarks = serializers.FileField(required=False, help_text="Prompts of a benchmark, in a file of any kind.")

    def validate_file(self, file: UploadedFile) -> Any:
        """Refuse a format that is never read, before a job is made of it."""
        if (file.name or "").lower().endswith(OTHER_FORMATS):
            raise serializers.ValidationError(f"Send {', '.join(CONTAINERS)}, plain or gzipped (.gz).")
        return file


class UploadSerializer(serializers.Serializer[Any]):
    """A file on its way in."""

    id = serializers.CharField()
    file_name = serializers.CharField()
    length = serializers.IntegerField()
    offset = serializers.IntegerField()
    created_at = serializers.DateTimeField()


def _nested(wrong: InvalidInput) -> dict[str, Any]:
    """Return the errors of an AppError as serializers nest them."""
    errors: dict[str, Any] = {}
    for error in wrong.errors:
        name, _, rest = error.pointer.removeprefix("/").partition("/")
        if rest:
            errors.setdefault(name, {})[rest] = [error.detail]
        else:
            errors[name] = [error.detail]
    return errors
