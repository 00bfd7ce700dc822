"""Admin of snapshots."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.exports.models import Snapshot


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    """Immutable datasets."""

    list_display = ("name", "project", "ready", "content_hash", "created_by", "created_at")
    list_select_related = ("project", "created_by")
    search_fields = ("name", "project__slug", "content_hash")

    @admin.display(boolean=True)
    def ready(self, snapshot: Snapshot) -> bool:
        """Say whether its files are written."""
        return snapshot.ready
