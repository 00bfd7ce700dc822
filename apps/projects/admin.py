"""Admin of projects, members and the audit log."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.core.admin import LeanAdmin, ReadOnlyAdmin
from apps.projects.models import AuditEvent, GuidelineVersion, Membership, Project


@admin.register(Project)
class ProjectAdmin(LeanAdmin):
    """Name and notice; what has rules of its own is changed on the project's pages or by REST."""

    list_display = ("name", "slug", "queue_order", "random_share", "created_at")
    search_fields = ("name", "slug")
    readonly_fields = ("slug", "protocol_settings", "queue_order", "random_share", "created_at")

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        """Write what was edited only: the rest may have changed since the page was opened."""
        obj.save(update_fields=form.changed_data)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A project without a guideline version is none."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Labels are not deleted by a click."""
        return False


@admin.register(Membership)
class MembershipAdmin(LeanAdmin):
    """Who may do what."""

    list_display = ("user", "project", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("user", "project")
    search_fields = ("user__username", "project__slug")
    autocomplete_fields = ("user", "project")


@admin.register(GuidelineVersion)
class GuidelineVersionAdmin(ReadOnlyAdmin):
    """Published texts."""

    list_display = ("project", "number", "created_by", "created_at")
    list_select_related = ("project", "created_by")
    search_fields = ("project__slug",)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Who did what."""

    list_display = ("created_at", "project", "actor", "verb")
    list_select_related = ("project", "actor")
    search_fields = ("project__slug", "actor__username", "verb")
    date_hierarchy = "created_at"
