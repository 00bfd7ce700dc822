"""What the admins of the apps share."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.core.models import Allowance


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that the product writes and nobody edits: look, search, filter."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds such a row by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes it."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes it alone; it goes with its project."""
        return False


class LeanAdmin(admin.ModelAdmin):
    """Rows that may be edited, shown without a query per line and without long drop-downs."""

    list_per_page = 50
    show_full_result_count = False


@admin.register(Allowance)
class AllowanceAdmin(ReadOnlyAdmin):
    """Who has asked how much lately."""

    list_display = ("key", "full_at")
    search_fields = ("key",)
