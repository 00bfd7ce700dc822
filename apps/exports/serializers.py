"""JSON of snapshots."""

from typing import Any

from rest_framework import serializers

from apps.core.serializers import ObjectField, PreferenceField, StorableJSONField, StrictSerializer, TextField
from apps.exports.models import Snapshot
from apps.jobs.serializers import JobSerializer


class SnapshotSerializer(serializers.Serializer[Snapshot]):
    """A frozen dataset in a list."""

    id = serializers.CharField()
    name = serializers.CharField()
    selection = ObjectField(help_text="Splits, seed and filters; formats, encodings and rule verdicts where asked for.")
    ready = serializers.BooleanField(help_text="Whether the files are written.")
    content_hash = serializers.CharField(help_text="Empty until the files are written.")
    created_at = serializers.DateTimeField()


class SnapshotFileSerializer(serializers.Serializer[Any]):
    """One file of a snapshot."""

    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    rows = serializers.IntegerField()


class DocumentSerializer(serializers.Serializer[Any]):
    """A file that describes a snapshot."""

    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()


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
    excluded = serializers.DictField(
        source="manifest.excluded",
        child=serializers.IntegerField(),
        default=dict,
        help_text="Comparisons of the project that the selection leaves out, by reason.",
    )
    files = serializers.DictField(
        source="manifest.files",
        child=SnapshotFileSerializer(),
        default=dict,
        help_text='By "format/split.jsonl"; each is at `files/{format}/{split}.jsonl` below the snapshot.',
    )
    documents = serializers.DictField(
        source="manifest.documents",
        child=DocumentSerializer(),
        default=dict,
        help_text="The data card (`card/`), the Croissant description (`croissant/`), and what a diff reads.",
    )
    formats = ObjectField(source="manifest.formats", default=dict, help_text="Columns and their types, by format.")
    figures = ObjectField(
        source="manifest.figures",
        default=dict,
        help_text="Labels, annotators, agreement before and after consensus, position and length bias.",
    )
    protocol = ObjectField(source="manifest.protocol", default=dict, help_text="The protocol and its digest.")
    guidelines = serializers.ListField(
        source="manifest.guidelines",
        child=ObjectField(),
        default=list,
        help_text="The guideline versions that labels were given under, with their text.",
    )
    consensus_rules = serializers.DictField(
        source="manifest.consensus_rules",
        child=serializers.IntegerField(),
        default=dict,
        help_text="Comparisons by rule.",
    )
    rule_set = ObjectField(
        source="manifest.rule_set",
        default=None,
        allow_null=True,
        help_text="The rules whose verdicts are in it, with their version and hash; null where none were asked for.",
    )
    software = serializers.DictField(
        source="manifest.software", child=serializers.CharField(), default=dict, help_text="Versions it was made with."
    )
    project = serializers.CharField(source="project.slug")
    job = JobSerializer(allow_null=True)


class LabelSerializer(serializers.Serializer[Any]):
    """One label as a diff shows it."""

    annotator = serializers.CharField()
    revision = serializers.IntegerField()
    preference = PreferenceField()


class LabeledSerializer(serializers.Serializer[Any]):
    """A comparison in one of two snapshots."""

    split = serializers.CharField()
    status = serializers.CharField()
    preference = PreferenceField()
    labels = LabelSerializer(many=True)


class ChangeSerializer(serializers.Serializer[Any]):
    """A comparison that two snapshots differ in."""

    change = serializers.ChoiceField(choices=["added", "removed", "changed"])
    external_id = serializers.CharField()
    before = LabeledSerializer(allow_null=True)
    after = LabeledSerializer(allow_null=True)


class DiffSerializer(serializers.Serializer[Any]):
    """What changed from one snapshot to another one."""

    changes = ChangeSerializer(many=True)
    counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="`added`, `removed`, `changed` and `unchanged` comparisons."
    )


class NewSnapshotSerializer(StrictSerializer):
    """What to freeze; the values are checked by apps.exports.selection."""

    name = TextField(max_length=120)
    splits = ObjectField(required=False, help_text='Shares that add up to 1: {"train": 0.95, "validation": 0.05}.')
    seed = serializers.JSONField(required=False, help_text="A whole number from 0.")
    filters = ObjectField(
        required=False,
        help_text='Any of {"state": ["complete"], "domain": ["chat"], "strength": {"min": 2, "max": 3}, '
        '"agreement": {"status": ["agreed"], "max_spread": 1}, '
        '"submitted": {"from": "2026-01-01", "to": "2026-06-30"}, '
        '"guideline_version": [2], "consensus_rule": ["three-most-similar/1"], "source": "people" or "imported"}.',
    )
    formats = StorableJSONField(required=False, help_text="Names of the formats to write; without them, every one.")
    encodings = StorableJSONField(
        required=False, help_text="Of jsonl, parquet, csv, jsonl.gz and csv.gz; without them, the first three."
    )
    rule_verdicts = StorableJSONField(
        required=False,
        help_text="true: also write `rule-verdicts`, what the active rule set says of each response.",
    )
