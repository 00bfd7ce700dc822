"""JSON of flags and cohorts."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.serializers import StrictSerializer, TextField
from apps.labeling.cohorts import MAX_UNTOUCHED, CohortProgress
from apps.labeling.models import Assignment, Cohort, QueueItem

MAX_IDS = 200_000


class FlagSerializer(serializers.Serializer[Assignment]):
    """A comparison that somebody gave back with a reason or a note."""

    id = serializers.CharField()
    comparison = serializers.CharField(source="comparison_id")
    external_id = serializers.CharField(source="comparison.external_id")
    annotator = serializers.CharField(source="annotator.annotator_name")
    reason = serializers.CharField(source="skip_reason", help_text="The name of one of the protocol's `skip_reasons`.")
    note = serializers.CharField(source="skip_note")
    flagged_at = serializers.DateTimeField(
        allow_null=True, help_text="Null for a skip that is no flag, and for a flag from before the pair was put back."
    )
    state = serializers.ChoiceField(source="comparison.queue_item.state", choices=QueueItem.State.choices)
    closed_reason = serializers.CharField(source="comparison.queue_item.closed_reason")


class CloseSerializer(StrictSerializer):
    """Why a comparison is left out."""

    reason = TextField(required=False, allow_blank=True, max_length=200)


class OverseenSerializer(serializers.Serializer[QueueItem]):
    """Where a comparison stands after it was closed or put back."""

    id = serializers.CharField(source="pk")
    state = serializers.ChoiceField(choices=QueueItem.State.choices)
    closed_reason = serializers.CharField()


class CohortProgressSerializer(serializers.Serializer[CohortProgress]):
    """How many comparisons a cohort has, and how far they are."""

    total = serializers.IntegerField()
    complete = serializers.IntegerField()
    begun = serializers.IntegerField()
    closed = serializers.IntegerField()


class CohortSerializer(serializers.Serializer[Cohort]):
    """Named people and the batch of comparisons that only they get; the context has `progress` by id."""

    id = serializers.CharField()
    name = serializers.CharField()
    members = serializers.SerializerMethodField(help_text="User names.")
    comparisons = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    def get_members(self, cohort: Cohort) -> list[str]:
        """Return the user names in order."""
        return sorted(person.username for person in cohort.members.all())

    @extend_schema_field(CohortProgressSerializer)
    def get_comparisons(self, cohort: Cohort) -> dict[str, Any]:
        """Return the progress."""
        return dict(CohortProgressSerializer(self.context["progress"][cohort.pk]).data)


class NewCohortSerializer(StrictSerializer):
    """A new cohort."""

    name = TextField(max_length=80)
    members = serializers.ListField(child=TextField(max_length=150), help_text="User names.")
    external_ids = serializers.ListField(child=TextField(max_length=200), required=False, max_length=MAX_IDS)
    untouched = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_UNTOUCHED,
        help_text="So many comparisons more, the next ones of the queue that nobody has begun.",
    )

    def values(self) -> dict[str, Any]:
        """Return what was given under the names that the services have for it."""
        values = dict(self.validated_data)
        if "members" in values:
            values["usernames"] = values.pop("members")
        return values


class CohortChangesSerializer(NewCohortSerializer):
    """What can be changed; a field left out stays. Comparisons come on top of those the cohort has, or leave it."""

    name = TextField(required=False, max_length=80)
    members = serializers.ListField(child=TextField(max_length=150), required=False, help_text="User names.")
    remove_external_ids = serializers.ListField(child=TextField(max_length=200), required=False, max_length=MAX_IDS)
