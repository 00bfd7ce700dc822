"""Admin of scorers and signals."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.signals.models import MarginSpread, Scorer, Signal


@admin.register(Scorer)
class ScorerAdmin(ReadOnlyAdmin):
    """Configured sources of signals; immutable."""

    list_display = ("name", "project", "kind", "orders_queue", "created_at")
    list_filter = ("kind", "orders_queue")
    list_select_related = ("project",)
    search_fields = ("name", "project__slug")


@admin.register(Signal)
class SignalAdmin(ReadOnlyAdmin):
    """Raw values; kept as they were measured."""

    list_display = ("id", "scorer", "response_id", "value", "created_at")
    list_select_related = ("scorer",)
    search_fields = ("scorer__name", "input_hash")


@admin.register(MarginSpread)
class MarginSpreadAdmin(ReadOnlyAdmin):
    """How unsure a scorer is of each pair."""

    list_display = ("id", "scorer", "comparison_id", "std")
    list_select_related = ("scorer",)
    search_fields = ("scorer__name",)
