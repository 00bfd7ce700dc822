"""Admin of imports."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.imports.models import Import


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    """Files that were handed in."""

    list_display = ("file_name", "project", "created_by", "created_at")
    list_select_related = ("project", "created_by")
    search_fields = ("file_name", "project__slug")
