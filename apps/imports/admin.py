"""Admin of imports."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.imports.models import Finding, Import, Turn, Upload


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    """Files that were handed in."""

    list_display = ("file_name", "project", "created_by", "created_at")
    list_select_related = ("project", "created_by")
    search_fields = ("file_name", "project__slug")


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin):
    """Files that arrive in pieces."""

    list_display = ("file_name", "project", "offset", "length", "created_by", "created_at")
    list_select_related = ("project", "created_by")
    search_fields = ("file_name", "project__slug")


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin):
    """What there is to know about the rows of imports."""

    list_display = ("source", "line", "kind", "field", "reason", "external_id")
    list_select_related = ("source",)
    search_fields = ("external_id", "source__file_name")


@admin.register(Turn)
class TurnAdmin(ReadOnlyAdmin):
    """How often imports have stored or deleted pairs of a project."""

    list_display = ("project", "number")
    list_select_related = ("project",)
    search_fields = ("project__slug",)
