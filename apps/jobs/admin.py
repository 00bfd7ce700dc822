"""Admin of jobs and workers."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.jobs.models import Job, WorkerSeen


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Every long task, with who holds it."""

    list_display = ("id", "project", "kind", "state", "done", "total", "attempt", "lease_owner", "created_at")
    list_filter = ("state", "kind")
    list_select_related = ("project",)
    search_fields = ("project__slug", "error")


@admin.register(WorkerSeen)
class WorkerSeenAdmin(ReadOnlyAdmin):
    """When a worker was heard last."""

    list_display = ("name", "queues", "seen_at")
