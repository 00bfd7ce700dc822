"""JSON of tokens."""

from typing import Any

from rest_framework import serializers

from apps.accounts.models import ApiToken
from apps.accounts.services import DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS
from apps.core.serializers import StrictSerializer, TextField


class TokenSerializer(serializers.Serializer[ApiToken]):
    """A token without its key; `slugs` in the context has the slugs of projects by id."""

    id = serializers.CharField()
    name = serializers.CharField()
    scope = serializers.ChoiceField(choices=ApiToken.Scope.choices)
    projects = serializers.SerializerMethodField(help_text="Slugs of those it is limited to; null for all of yours.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    last_used_from = serializers.CharField(allow_null=True, help_text="The address of that use.")
    revoked_at = serializers.DateTimeField(allow_null=True)

    def get_projects(self, token: ApiToken) -> list[str] | None:
        """Return the slugs, or null."""
        return token.slugs(self.context.get("slugs", {}))


class NewTokenSerializer(StrictSerializer):
    """A token to make; never a stronger one than the token that asks for it."""

    name = TextField(max_length=100)
    scope = TextField(required=False, max_length=10, help_text="read (the default), write or admin.")
    projects = serializers.ListField(
        child=TextField(max_length=60),
        required=False,
        allow_null=True,
        max_length=200,
        help_text="Slugs; null for all.",
    )
    days = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_TOKEN_DAYS,
        help_text=f"{DEFAULT_TOKEN_DAYS} unless you say otherwise.",
    )


class MadeTokenSerializer(TokenSerializer):
    """A new token with its key, which is in this reply and nowhere else."""

    key: Any = serializers.CharField()
