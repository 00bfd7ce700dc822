"""JSON of snapshots."""

from typing import Any

from rest_framework import serializers

from apps.core.serializers import ObjectField, StrictSerializer, TextField
from apps.exports.models import Snapshot
from apps.jobs.serializers import JobSerializer


class SnapshotSerializer(serializers.Serializer[Snapshot]):
    """A frozen dataset in a list."""

    id = serializers.CharField()
    name = serializers.CharField()
    selection = ObjectField(help_text="Splits, seed and filters.")
    ready = serializers.BooleanField(help_text="Whether the files are written.")
    content_hash = serializers.CharField(help_text="Empty until the files are written.")
    created_at = serializers.DateTimeField()


class SnapshotFileSerializer(serializers.Serializer[Any]):
    """One file of a snapshot."""

    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    rows = serializers.IntegerField()


class ManifestSerializer(SnapshotSerializer):
    """A snapshot with its manifest: counts, hashes and files. They are empty until `ready`."""

    schema = serializers.CharField(source="manifest.schema", default="")
    comparisons = serializers.DictField(
        source="manifest.comparisons", child=serializers.IntegerField(), default=dict, help_text="By split."
    )
    left_out = serializers.DictField(
        source="manifest.left_out",
        child=serializers.DictField(child=serializers.IntegerField()),
        default=dict,
        help_text="Comparisons that have no row in a format, by format and reason.",
    )
    files = serializers.DictField(
        source="manifest.files",
        child=SnapshotFileSerializer(),
        default=dict,
        help_text='By "format/split.jsonl"; each is at `files/{format}/{split}.jsonl` below the snapshot.',
    )
    project = serializers.CharField(source="project.slug")
    job = JobSerializer(allow_null=True)


class NewSnapshotSerializer(StrictSerializer):
    """What to freeze; the values are checked by apps.exports.services."""

    name = TextField(max_length=120)
    splits = ObjectField(required=False, help_text='Shares that add up to 1: {"train": 0.95, "validation": 0.05}.')
    seed = serializers.JSONField(required=False, help_text="A whole number from 0.")
    filters = ObjectField(required=False, help_text='{"domain": ["chat"]} keeps rows with that metadata.')
