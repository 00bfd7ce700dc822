"""JSON of assignments, as the person sees them, and of annotations, as the project keeps them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.serializers import ObjectField, PreferenceField
from apps.labeling.models import Annotation, Assignment, Draft
from apps.labeling.services import stored_body
from apps.projects.protocol import NEITHER
from apps.projects.serializers import ProtocolField

RATINGS_SCHEMA = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 4},
    },
    "example": {"1": {"helpfulness": 4}, "2": {"helpfulness": 2}},
}


class MessageSerializer(serializers.Serializer[Any]):
    """One turn of a conversation."""

    role = serializers.ChoiceField(choices=["system", "user", "assistant"])
    content = serializers.CharField()


class AssignmentPromptSerializer(serializers.Serializer[Any]):
    """The conversation that the responses answer."""

    messages = MessageSerializer(many=True)


class ShownResponseSerializer(serializers.Serializer[Any]):
    """A response under the label shown."""

    label = serializers.IntegerField(min_value=1, max_value=2)  # type: ignore[assignment]
    text = serializers.CharField()


class AssignmentSerializer(serializers.Serializer[Assignment]):
    """A leased comparison: the texts in the order shown, and nothing that anybody or anything has said about them."""

    id = serializers.CharField()
    lease_expires_at = serializers.DateTimeField()
    prompt = serializers.SerializerMethodField()
    responses = serializers.SerializerMethodField()
    guideline_version = serializers.IntegerField(source="guideline_version.number")
    protocol = ProtocolField(source="project.protocol")

    @extend_schema_field(AssignmentPromptSerializer)
    def get_prompt(self, assignment: Assignment) -> dict[str, Any]:
        """Return the conversation."""
        return {"messages": assignment.comparison.prompt.messages}

    @extend_schema_field(ShownResponseSerializer(many=True))
    def get_responses(self, assignment: Assignment) -> list[dict[str, Any]]:
        """Return the two texts under the labels shown."""
        texts = {1: assignment.comparison.response_1.text, 2: assignment.comparison.response_2.text}
        return [{"label": label, "text": texts[side]} for label, side in enumerate(assignment.shown_order, start=1)]


class DraftSerializer(serializers.Serializer[Draft]):
    """What is kept of an unfinished answer."""

    id = serializers.CharField(source="assignment_id")
    draft = ObjectField(source="body")
    saved_at = serializers.DateTimeField(source="updated_at")


class SkippedSerializer(serializers.Serializer[Assignment]):
    """A comparison given back."""

    id = serializers.CharField()
    state = serializers.ChoiceField(choices=Assignment.State.choices)
    reason = serializers.CharField(source="skip_reason")
    note = serializers.CharField(source="skip_note")


@extend_schema_field(RATINGS_SCHEMA)
class ShownRatingsField(ObjectField):
    """Ratings by the labels shown, 1 and 2."""


PROBLEMS_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": "array", "items": {"type": "string"}},
    "example": {"1": ["incorrect_information"], "2": []},
}


@extend_schema_field(PROBLEMS_SCHEMA)
class ShownProblemsField(ObjectField):
    """Names of the protocol's checkboxes by the labels shown, 1 and 2."""


# The bodies of the next three are described here and checked by apps.labeling.services.
class AnswerSerializer(serializers.Serializer[Any]):
    """An answer; every value refers to the labels shown."""

    preference = PreferenceField(help_text='-3, -2, -1, 1, 2, 3 or "neither".')
    ratings = ShownRatingsField(help_text="0 to 4 for every attribute of the protocol, by label.")
    problems = ShownProblemsField(required=False, help_text="What is wrong with each, by the protocol's checkboxes.")
    confidence = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, help_text="From 1, least sure, by the protocol's wordings."
    )
    justification = serializers.CharField(help_text="As many words as the protocol asks for.")
    active_seconds = serializers.IntegerField(required=False, allow_null=True, min_value=0)
    pasted_characters = serializers.IntegerField(required=False, allow_null=True, min_value=0)


class DraftBodySerializer(serializers.Serializer[Any]):
    """Any subset of an answer, complete or not."""

    preference = PreferenceField(required=False)
    ratings = ShownRatingsField(required=False)
    problems = ShownProblemsField(required=False)
    confidence = serializers.IntegerField(required=False, allow_null=True, min_value=1)
    justification = serializers.CharField(required=False)
    active_seconds = serializers.IntegerField(required=False, allow_null=True, min_value=0)
    pasted_characters = serializers.IntegerField(required=False, allow_null=True, min_value=0)


class SkipSerializer(serializers.Serializer[Any]):
    """Why a comparison is skipped."""

    reason = serializers.CharField(help_text="The name of one of the protocol's `skip_reasons`.")
    note = serializers.CharField(required=False, allow_blank=True, max_length=1000)


class SubmittedSerializer(serializers.Serializer[Annotation]):
    """What a person has submitted, in the labels they were shown."""

    id = serializers.CharField()
    assignment = serializers.CharField(source="assignment_id")
    revision = serializers.IntegerField()
    preference = PreferenceField()
    ratings = ShownRatingsField()
    problems = ShownProblemsField()
    confidence = serializers.IntegerField(allow_null=True)
    justification = serializers.CharField()
    active_seconds = serializers.IntegerField(allow_null=True)
    guideline_version = serializers.IntegerField(source="guideline_version.number")
    submitted_at = serializers.DateTimeField()

    def to_representation(self, annotation: Annotation) -> dict[str, Any]:
        """Return the answer as it was sent, with what the server made of it."""
        body = stored_body(annotation)
        return {
            "id": str(annotation.pk),
            "assignment": str(annotation.assignment_id),
            "revision": annotation.revision,
            **{name: body[name] for name in ("preference", "ratings", "problems", "confidence", "justification")},
            "active_seconds": annotation.active_seconds,
            "guideline_version": annotation.guideline_version.number,
            "submitted_at": annotation.submitted_at,
        }


class ReopenedSerializer(serializers.Serializer[Assignment]):
    """An answer that may be changed until `reopened_until`, by submitting another one."""

    id = serializers.CharField()
    reopened_until = serializers.DateTimeField()


class AnnotationSerializer(serializers.Serializer[Annotation]):
    """An annotation in canonical order: response 1 is the project's response 1, whatever the person saw."""

    id = serializers.CharField()
    comparison = serializers.CharField(source="comparison_id")
    external_id = serializers.CharField(source="comparison.external_id")
    annotator = serializers.CharField(source="annotator.annotator_name")
    preference = serializers.SerializerMethodField()
    ratings = serializers.SerializerMethodField()
    justification = serializers.CharField()
    shown_order = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2),
        help_text="Canonical numbers of the texts as shown.",
    )
    guideline_version = serializers.IntegerField(source="guideline_version.number")
    problems = serializers.SerializerMethodField()
    confidence = serializers.IntegerField(allow_null=True, help_text="From 1, least sure, by the protocol's wordings.")
    active_seconds = serializers.IntegerField(allow_null=True)
    paste_share = serializers.FloatField(allow_null=True, help_text="Part of the justification that was pasted.")
    propensity = serializers.FloatField(
        source="assignment.propensity",
        allow_null=True,
        help_text="The probability with which the queue handed out this pair to this person, where it is known.",
    )
    revision = serializers.IntegerField()
    is_current = serializers.BooleanField()
    is_repeat = serializers.BooleanField(help_text="Of a pair that this person had labeled before; counts nowhere.")
    imported = serializers.BooleanField()
    submitted_at = serializers.DateTimeField()

    @extend_schema_field(PreferenceField)
    def get_preference(self, annotation: Annotation) -> int | str | None:
        """Return the canonical preference."""
        return NEITHER if annotation.neither else annotation.preference

    @extend_schema_field({"type": "array", "items": {"type": "array", "items": {"type": "string"}}})
    def get_problems(self, annotation: Annotation) -> list[list[str]]:
        """Return what was said to be wrong with response 1 and with response 2."""
        return [annotation.problems_1, annotation.problems_2]

    @extend_schema_field({"type": "array", "items": {"type": "object", "additionalProperties": {"type": "integer"}}})
    def get_ratings(self, annotation: Annotation) -> list[dict[str, int]]:
        """Return the ratings of response 1 and response 2."""
        return [annotation.ratings_1, annotation.ratings_2]
