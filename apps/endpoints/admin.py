"""Admin of language models: to look at, without keys."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.endpoints.models import ModelAnswer, ModelCall, ModelEndpoint


@admin.register(ModelEndpoint)
class ModelEndpointAdmin(ReadOnlyAdmin):
    """Who may ask what, and what was spent."""

    list_display = ("name", "owner", "kind", "model", "spent", "cost_ceiling", "tested_at")
    list_filter = ("kind",)
    list_select_related = ("owner",)
    search_fields = ("name", "model", "owner__username")
    exclude = ("encrypted_key",)


@admin.register(ModelAnswer)
class ModelAnswerAdmin(ReadOnlyAdmin):
    """What was answered."""

    list_display = ("__str__", "endpoint", "answered_at", "tokens_in", "tokens_out", "truncated")
    list_select_related = ("endpoint",)
    search_fields = ("request_hash",)


@admin.register(ModelCall)
class ModelCallAdmin(ReadOnlyAdmin):
    """What was sent."""

    list_display = ("id", "endpoint", "purpose", "job_number", "attempt", "seconds", "status", "cost", "error")
    list_filter = ("purpose",)
    list_select_related = ("endpoint",)
    search_fields = ("request_hash",)
