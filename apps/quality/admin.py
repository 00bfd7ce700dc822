"""Admin of quality reports: to look at; services write them."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.quality.models import ExpectedSide, QualityReport


@admin.register(QualityReport)
class QualityReportAdmin(ReadOnlyAdmin):
    """When a project's figures were computed, and how long that took."""

    list_display = ("project", "computed_at", "seconds")
    list_select_related = ("project",)
    search_fields = ("project__slug",)


@admin.register(ExpectedSide)
class ExpectedSideAdmin(ReadOnlyAdmin):
    """What rules with high agreement expect of comparisons."""

    list_display = ("comparison_id", "project", "side")
    list_select_related = ("project",)
    search_fields = ("project__slug",)
