"""JSON of imports."""

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from rest_framework import serializers

from apps.core.serializers import StrictSerializer
from apps.imports.models import Import
from apps.jobs.serializers import JobSerializer

MAX_ITEMS = 100_000
OTHER_FORMATS = (".csv", ".parquet", ".xlsx", ".zip", ".gz")


class ImportSerializer(serializers.Serializer[Import]):
    """A file that was handed in; its counts are in the job's result."""

    id = serializers.CharField()
    file_name = serializers.CharField()
    created_at = serializers.DateTimeField()
    job = JobSerializer(allow_null=True)


class ItemsSerializer(StrictSerializer):
    """Import rows in the body of the request. Each row is checked by the job, which reports what it refuses."""

    items = serializers.ListField(child=serializers.JSONField(), allow_empty=False, max_length=MAX_ITEMS)


class FileSerializer(StrictSerializer):
    """Import rows in a file: JSON lines, or one JSON array."""

    file = serializers.FileField()

    def validate_file(self, file: UploadedFile) -> Any:
        """Refuse a format that this version does not read, before a job is made of it."""
        name = (file.name or "").lower()
        if name.endswith(OTHER_FORMATS):
            raise serializers.ValidationError("This version reads JSON lines (.jsonl) and JSON arrays (.json).")
        return file
