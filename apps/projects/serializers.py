"""JSON of projects and members."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.serializers import ObjectField, StrictSerializer, TextField
from apps.projects.models import Membership, Project

MAX_GUIDELINE_CHARS = 200_000


@extend_schema_field(OpenApiTypes.OBJECT)
class ProtocolField(serializers.Field[Any, Any, Any, Any]):
    """The protocol with its defaults filled in."""

    def to_representation(self, value: Any) -> Any:
        """Return the JSON form."""
        return value.to_dict()


class ProjectSerializer(serializers.Serializer[Project]):
    """A project as every member of it sees it; rows come from `visible_projects`."""

    slug = serializers.CharField()
    name = serializers.CharField()
    notice = serializers.CharField()
    role = serializers.ChoiceField(choices=Membership.Role.choices, help_text="What you are in the project.")
    guideline = serializers.CharField(help_text="Markdown; the newest version.")
    guideline_version = serializers.IntegerField()
    protocol = ProtocolField()
    queue_order = serializers.ChoiceField(choices=Project.QueueOrder.choices, help_text="Which pairs go first.")
    random_share = serializers.FloatField(help_text="Part of the queue that is drawn at random, 0 to 1.")
    shows_rules = serializers.BooleanField(help_text="Annotators see the rules that spoke, after they have submitted.")
    created_at = serializers.DateTimeField()


class NewProjectSerializer(StrictSerializer):
    """What a project is made of."""

    slug = TextField(max_length=60, help_text="Small letters, digits and hyphens; it stays as it is.")
    name = TextField(max_length=120)
    guideline = TextField(
        required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_GUIDELINE_CHARS, help_text="Markdown."
    )
    protocol = ObjectField(required=False, help_text="What differs from the default protocol.")


class ProjectChangesSerializer(StrictSerializer):
    """What can be changed; a field left out stays, and a protocol replaces the old one as a whole."""

    name = TextField(required=False, max_length=120)
    guideline = TextField(required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_GUIDELINE_CHARS)
    protocol = ObjectField(required=False)
    queue_order = serializers.ChoiceField(required=False, choices=Project.QueueOrder.choices)
    random_share = serializers.FloatField(required=False, min_value=0.0, max_value=1.0)
    shows_rules = serializers.BooleanField(required=False)


class MemberSerializer(serializers.Serializer[Membership]):
    """A person in a project."""

    username = serializers.CharField(source="user.username")
    name = serializers.CharField(source="user.__str__")
    role = serializers.ChoiceField(choices=Membership.Role.choices)
    is_active = serializers.BooleanField(
        source="user.is_active", help_text="False for annotators of imported labels, who cannot sign in."
    )
    added_at = serializers.DateTimeField(source="created_at")


class NewMemberSerializer(StrictSerializer):
    """Who becomes a member, as what."""

    username = TextField(max_length=150)
    role = TextField(max_length=12, help_text="manager, reviewer, annotator or researcher.")


class RoleSerializer(StrictSerializer):
    """What a member becomes."""

    role = TextField(max_length=12, help_text="manager, reviewer, annotator or researcher.")
