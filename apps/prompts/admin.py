"""Admin of prompts, responses and comparisons."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.prompts.models import Comparison, Prompt, Response


@admin.register(Prompt)
class PromptAdmin(ReadOnlyAdmin):
    """Conversations; their text comes from imports."""

    list_display = ("id", "project", "__str__", "created_at")
    list_select_related = ("project",)
    search_fields = ("project__slug", "content_hash")


@admin.register(Response)
class ResponseAdmin(ReadOnlyAdmin):
    """Answers; their text comes from imports."""

    list_display = ("id", "__str__", "created_at")
    search_fields = ("content_hash",)


@admin.register(Comparison)
class ComparisonAdmin(ReadOnlyAdmin):
    """Pairs in canonical order."""

    list_display = ("external_id", "project", "model_1", "model_2", "gold", "created_at")
    list_select_related = ("project",)
    search_fields = ("external_id", "project__slug")
