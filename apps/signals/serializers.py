"""JSON of comparisons with what people and machines said about them, of scorers and of signals."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.serializers import PreferenceField, StrictSerializer, TextField
from apps.labeling.models import QueueItem
from apps.labeling.serializers import MessageSerializer
from apps.prompts.models import Comparison
from apps.signals.models import Scorer, Signal
from apps.signals.services import shaped_value
from worker.core.consensus import Status
from worker.core.lengths import UNITS
from worker.core.shaping import Needs, Shaper


class ConsensusSerializer(serializers.Serializer[Any]):
    """What the annotations of a comparison add up to."""

    preference = PreferenceField()
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    excluded_reason = serializers.CharField(allow_null=True)


class QueueSignalsSerializer(serializers.Serializer[Any]):
    """What the scorer that orders the queue measured; null where it has not been yet."""

    scorer = serializers.CharField()
    response_1 = serializers.FloatField(allow_null=True)
    response_2 = serializers.FloatField(allow_null=True)


class ComparisonSerializer(serializers.Serializer[Comparison]):
    """A comparison of a list. `signals` is there if the context has the scorer and its values by response."""

    id = serializers.CharField()
    external_id = serializers.CharField()
    state = serializers.ChoiceField(source="queue_item.state", choices=QueueItem.State.choices)
    annotation_count = serializers.SerializerMethodField()
    consensus = serializers.SerializerMethodField()
    responses = serializers.SerializerMethodField(help_text="Ids of response 1 and response 2.")
    signals = serializers.SerializerMethodField(
        help_text="For managers and researchers only; null without a promoted reward model."
    )

    def to_representation(self, instance: Comparison) -> dict[str, Any]:
        """Leave `signals` out for those who may not see them."""
        values = super().to_representation(instance)
        if "scorer" not in self.context:
            values.pop("signals", None)
        return values

    def get_annotation_count(self, comparison: Comparison) -> int:
        """Return how many people have labeled it."""
        consensus = getattr(comparison, "consensus", None)
        return consensus.annotation_count if consensus else 0

    @extend_schema_field(ConsensusSerializer)
    def get_consensus(self, comparison: Comparison) -> dict[str, Any]:
        """Return the consensus; pending without annotations, and to a reviewer who has not spoken yet."""
        consensus = getattr(comparison, "consensus", None)
        if consensus is None or not getattr(comparison, "answers_open", True):
            return {"preference": None, "status": Status.PENDING.value, "excluded_reason": None}
        return {
            "preference": consensus.outcome,
            "status": consensus.status,
            "excluded_reason": consensus.excluded_reason or None,
        }

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_responses(self, comparison: Comparison) -> list[str]:
        """Return the ids under which signals are stored."""
        return [str(comparison.response_1_id), str(comparison.response_2_id)]

    @extend_schema_field(QueueSignalsSerializer(allow_null=True, required=False))
    def get_signals(self, comparison: Comparison) -> dict[str, Any] | None:
        """Return the raw values of both responses."""
        scorer, values = self.context.get("scorer"), self.context.get("values", {})
        if scorer is None:
            return None
        return {
            "scorer": str(scorer.pk),
            "response_1": values.get(comparison.response_1_id),
            "response_2": values.get(comparison.response_2_id),
        }


class ResponseSerializer(serializers.Serializer[Any]):
    """A response of a comparison with its author there."""

    id = serializers.CharField()
    text = serializers.CharField()
    model = serializers.CharField(allow_blank=True)


class ComparisonDetailSerializer(ComparisonSerializer):
    """One comparison with its texts."""

    messages = MessageSerializer(source="prompt.messages", many=True)
    responses = serializers.SerializerMethodField(help_text="Response 1 and response 2.")
    reference = serializers.CharField()
    metadata = serializers.JSONField()
    gold = serializers.IntegerField(allow_null=True, help_text="A preference that makes it a hidden control item.")

    @extend_schema_field(ResponseSerializer(many=True))
    def get_responses(self, comparison: Comparison) -> Any:
        """Return both responses in canonical order."""
        sides = ((comparison.response_1, comparison.model_1), (comparison.response_2, comparison.model_2))
        return [{"id": str(side.pk), "text": side.text, "model": model} for side, model in sides]


class ScorerStatisticsSerializer(serializers.Serializer[Any]):
    """What a scorer's values added up to when they were frozen; shaped rewards are made with these."""

    n = serializers.IntegerField()
    mean = serializers.FloatField()
    std = serializers.FloatField(help_text="Of the population.")
    minimum = serializers.FloatField()
    maximum = serializers.FloatField()
    over = serializers.CharField(help_text="Over which responses.")
    scorer = serializers.CharField()
    frozen_at = serializers.DateTimeField()


class ScorerSerializer(serializers.Serializer[Scorer]):
    """A source of signals."""

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Scorer.Kind.choices)
    unit = serializers.CharField(source="config.unit", default=None, allow_null=True, help_text="Of a length.")
    orders_queue = serializers.BooleanField()
    statistics = ScorerStatisticsSerializer(allow_null=True, help_text="Frozen; null until it has scored everything.")
    created_at = serializers.DateTimeField()


class NewScorerSerializer(StrictSerializer):
    """A scorer to configure."""

    kind = TextField(max_length=20)
    name = TextField(required=False, max_length=120, help_text="Default: the kind and the unit.")
    unit = serializers.ChoiceField(choices=UNITS, required=False, help_text="Of a length; default: characters.")


class ShapedSerializer(serializers.Serializer[Any]):
    """Bounded and centred forms of a raw value."""

    preference_as_reward = serializers.FloatField(
        allow_null=True,
        help_text="From 0 to 1: how likely it beats another scored response to the same prompt; null if it is alone.",
    )
    shaping = serializers.CharField(required=False, help_text="The shape that was asked for, and below its value.")
    value = serializers.FloatField(
        required=False,
        allow_null=True,
        help_text="Null where the scorer has no statistics, or the response no reference.",
    )


class SignalSerializer(serializers.Serializer[Signal]):
    """What a scorer measured on a response; the context has the shaped values by signal."""

    id = serializers.CharField()
    scorer = serializers.CharField(source="scorer_id")
    scorer_name = serializers.CharField(source="scorer.name")
    response = serializers.CharField(source="response_id")
    value = serializers.FloatField(help_text="Raw, as measured.")
    parts = serializers.JSONField(help_text="What the value was made from: for a rule set, the numbers of its rules.")
    shaped = serializers.SerializerMethodField(help_text="Derived from raw values when it is read.")
    input_hash = serializers.CharField(help_text="SHA-256 of what was scored: prompt and response.")
    created_at = serializers.DateTimeField()

    @extend_schema_field(ShapedSerializer)
    def get_shaped(self, signal: Signal) -> dict[str, Any]:
        """Return the shaped values."""
        likely = self.context.get("shaped", {}).get(signal.pk)
        shaper: Shaper | None = self.context.get("shaper")
        if shaper is None:
            return {"preference_as_reward": likely}
        value = likely if shaper.needs is Needs.REFERENCES else shaped_value(signal, shaper)
        return {"preference_as_reward": likely, "shaping": shaper.name, "value": value}
