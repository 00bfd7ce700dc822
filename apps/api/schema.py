"""The OpenAPI schema: our authentication, filters, `fields`, and the problem that every operation may answer with."""

from typing import Any, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from apps.api import idempotency
from apps.api.parameters import FIELDS, field_names
from apps.api.problems import CONTENT_TYPE
from apps.core.api_views import ListView


class ProblemErrorSerializer(serializers.Serializer[Any]):
    """What is wrong at one place of the input."""

    pointer = serializers.CharField(help_text="JSON pointer into the body, or the name of a query parameter.")
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """Any error (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="A sentence for the person who caused it.")
    errors = ProblemErrorSerializer(many=True)  # type: ignore[assignment]


class ProblemAutoSchema(AutoSchema):
    """Adds filters, `fields`, idempotency keys and the default reply to every operation."""

    def get_override_parameters(self) -> list[Any]:
        """Describe the filters of a list, what a GET can be cut down to, and the header that a POST may have."""
        parameters = list(super().get_override_parameters())
        if self.method == "POST":
            parameters.append(
                OpenApiParameter(
                    idempotency.HEADER,
                    str,
                    OpenApiParameter.HEADER,
                    description="1 to 255 characters of your choice; sent again within a day, you get the same reply.",
                )
            )
        if self.method != "GET":
            return parameters
        if isinstance(self.view, ListView):
            parameters += [
                OpenApiParameter(name, str, OpenApiParameter.QUERY, enum=list(known.choices) or None)
                for name, known in self.view.filters.items()
            ]
        if names := field_names(self.view, self):
            parameters.append(
                OpenApiParameter(
                    FIELDS,
                    {"type": "array", "items": {"type": "string", "enum": list(names)}},
                    OpenApiParameter.QUERY,
                    explode=False,
                    description="Names separated by commas: only these fields are in the reply.",
                )
            )
        return parameters

    def _get_serializer(self) -> Any:
        """Return the serializer of a list without a context, for which a list may ask the database."""
        return self.view.get_serializer_class()() if isinstance(self.view, ListView) else super()._get_serializer()

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        problem = self._get_response_for_code(ProblemSerializer, "default", [CONTENT_TYPE], direction)
        return {**bodies, "default": {**problem, "description": "Any error."}}


class TokenScheme(OpenApiAuthenticationExtension):
    """`Authorization: Token <key>`, for the schema."""

    target_class = "apps.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        """Describe the header."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token <key>` (or `Bearer <key>`); keys come from `manage.py create_token`.",
        }
