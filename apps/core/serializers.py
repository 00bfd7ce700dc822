"""Fields and serializers that refuse what they do not know and what cannot be stored."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.json_values import why_unstorable


class StrictSerializer(serializers.Serializer[Any]):
    """A request body: an object whose every field is known."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked values; one error for each unknown and each wrong field."""
        if not isinstance(data, Mapping):
            return super().to_internal_value(data)
        errors = {
            str(name): ["There is no such field."]
            for name in data
            if name not in self.fields or self.fields[name].read_only
        }
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**error.detail, **errors}) from error  # type: ignore[dict-item]
        if errors:
            raise serializers.ValidationError(errors)
        return values


class TextField(serializers.CharField):
    """Text; a number or a truth value is not quietly turned into one."""

    default_error_messages = {"invalid": "Expected text."}

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StorableJSONField(serializers.JSONField):
    """Any JSON value that PostgreSQL can store."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the value as it is."""
        if problem := why_unstorable(data):
            raise serializers.ValidationError(f"The value {problem}.")
        return super().to_internal_value(data)


@extend_schema_field(OpenApiTypes.OBJECT)
class ObjectField(StorableJSONField):
    """A JSON object."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the object as it is."""
        if not isinstance(data, dict):
            raise serializers.ValidationError("Expected an object.")
        return super().to_internal_value(data)


@extend_schema_field(
    {
        "oneOf": [{"type": "integer", "minimum": -3, "maximum": 3}, {"type": "string", "enum": ["neither"]}],
        "nullable": True,
        "description": "Negative favours response 1, positive response 2; 0, a tie, comes from imports only.",
    }
)
class PreferenceField(serializers.Field[Any, Any, Any, Any]):
    """A preference on the way out: a number, `neither`, or null where nothing is agreed on."""

    def to_representation(self, value: Any) -> Any:
        """Return the value as it is."""
        return value
