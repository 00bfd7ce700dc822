"""JSON of webhooks and of what they sent."""

import json
from typing import Any

from rest_framework import serializers

from apps.core.serializers import StrictSerializer, TextField
from apps.webhooks.events import EVENTS, TEST
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint


class WebhookSerializer(serializers.Serializer[WebhookEndpoint]):
    """An address that hears of a project's events. Its secret is given out once: when it is made or replaced."""

    id = serializers.CharField()
    url = serializers.CharField()
    description = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(choices=list(EVENTS)))
    active = serializers.BooleanField()
    failures = serializers.IntegerField(help_text="Attempts that failed since the last success.")
    failing_since = serializers.DateTimeField(allow_null=True)
    last_success_at = serializers.DateTimeField(allow_null=True)
    disabled_reason = serializers.CharField(help_text="Why it was switched off by itself, or empty.")
    created_at = serializers.DateTimeField()


class WebhookWithSecretSerializer(WebhookSerializer):
    """A webhook with its secret, which is not shown again."""

    secret = serializers.CharField(help_text="`whsec_…`, for a library of Standard Webhooks.")


class NewWebhookSerializer(StrictSerializer):
    """Where to send what."""

    url = TextField(max_length=2000, help_text="A public address that begins with https:// or http://.")
    events = serializers.ListField(child=TextField(max_length=40), max_length=len(EVENTS))
    description = TextField(required=False, allow_blank=True, max_length=200)


class WebhookChangesSerializer(NewWebhookSerializer):
    """What can be changed; a field left out stays."""

    url = TextField(required=False, max_length=2000)
    events = serializers.ListField(child=TextField(max_length=40), max_length=len(EVENTS), required=False)
    active = serializers.BooleanField(required=False)


class DeliverySerializer(serializers.Serializer[WebhookDelivery]):
    """One message to one webhook."""

    id = serializers.CharField()
    event_id = serializers.CharField(help_text="The message's `webhook-id`, the same however often it is sent.")
    event = serializers.ChoiceField(choices=[*EVENTS, TEST])
    payload = serializers.SerializerMethodField()
    state = serializers.ChoiceField(choices=WebhookDelivery.State.choices)
    attempts = serializers.IntegerField(help_text="Since it was made or replayed.")
    next_attempt_at = serializers.SerializerMethodField(help_text="Null when nothing more is sent.")
    last_attempt_at = serializers.DateTimeField(allow_null=True)
    last_status = serializers.IntegerField(allow_null=True, help_text="HTTP status of the last answer.")
    last_error = serializers.CharField()
    reply = serializers.CharField(help_text="The beginning of the last answer.")
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_payload(self, delivery: WebhookDelivery) -> dict[str, Any]:
        """Return what is sent."""
        return dict(json.loads(delivery.payload))

    def get_next_attempt_at(self, delivery: WebhookDelivery) -> str | None:
        """Return when it is sent again."""
        waits = delivery.state == WebhookDelivery.State.PENDING
        return serializers.DateTimeField().to_representation(delivery.next_attempt_at) if waits else None
