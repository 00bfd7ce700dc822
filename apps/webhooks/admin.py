"""Admin of webhooks: to look at, without what their secrets are derived from."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    """Who hears of what. An address can be a secret of its own, so lists show the description."""

    list_display = ("__str__", "project", "active", "failures", "failing_since", "last_success_at")
    list_filter = ("active",)
    list_select_related = ("project",)
    search_fields = ("project__slug", "description")
    exclude = ("seed", "earlier_seed")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """What was sent."""

    list_display = ("id", "project", "endpoint", "event", "state", "attempts", "last_status", "next_attempt_at")
    list_filter = ("state", "event")
    list_select_related = ("project", "endpoint")
    search_fields = ("event_id", "project__slug")
