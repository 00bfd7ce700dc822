"""Admin of the queue, leases, annotations and consensus: to look at; services write it."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.labeling.models import Annotation, Assignment, Cohort, Consensus, Draft, QueueItem, Workload


@admin.register(QueueItem)
class QueueItemAdmin(ReadOnlyAdmin):
    """How many annotators a comparison asks for and has."""

    list_display = ("comparison", "project", "state", "taken", "wanted", "priority")
    list_filter = ("state",)
    list_select_related = ("comparison", "project")
    search_fields = ("comparison__external_id", "project__slug")


@admin.register(Assignment)
class AssignmentAdmin(ReadOnlyAdmin):
    """Leases."""

    list_display = ("id", "comparison", "annotator", "state", "drawn", "swapped", "lease_expires_at", "skip_reason")
    list_filter = ("state", "skip_reason", "drawn")
    list_select_related = ("comparison", "annotator")
    search_fields = ("comparison__external_id", "annotator__username")


@admin.register(Cohort)
class CohortAdmin(ReadOnlyAdmin):
    """Named people with a batch of their own."""

    list_display = ("name", "project")
    list_select_related = ("project",)
    search_fields = ("name", "project__slug")


@admin.register(Workload)
class WorkloadAdmin(ReadOnlyAdmin):
    """What everybody has done."""

    list_display = ("annotator", "project", "submitted", "skipped", "last_day", "submitted_on_last_day")
    list_select_related = ("annotator", "project")
    search_fields = ("annotator__username", "project__slug")


@admin.register(Draft)
class DraftAdmin(ReadOnlyAdmin):
    """What is typed and not submitted."""

    list_display = ("assignment", "updated_at")
    list_select_related = ("assignment",)
    search_fields = ("assignment__annotator__username",)


@admin.register(Annotation)
class AnnotationAdmin(ReadOnlyAdmin):
    """What was submitted, in canonical order; append-only."""

    list_display = ("id", "comparison", "annotator", "preference", "neither", "swapped", "revision", "submitted_at")
    list_filter = ("neither", "swapped", "imported", "is_current")
    list_select_related = ("comparison", "annotator")
    search_fields = ("comparison__external_id", "annotator__username", "justification")
    date_hierarchy = "submitted_at"


@admin.register(Consensus)
class ConsensusAdmin(ReadOnlyAdmin):
    """What annotations add up to."""

    list_display = ("comparison", "project", "status", "preference", "spread", "annotation_count", "excluded_reason")
    list_filter = ("status",)
    list_select_related = ("comparison", "project")
    search_fields = ("comparison__external_id", "project__slug")
