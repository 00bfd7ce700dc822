"""Admin of stored replies: look, do not read what is in them."""

from django.contrib import admin

from apps.api.models import StoredReply
from apps.core.admin import ReadOnlyAdmin


@admin.register(StoredReply)
class StoredReplyAdmin(ReadOnlyAdmin):
    """Requests with an Idempotency-Key and how they were answered."""

    list_display = ("owner", "key", "status", "created_at")
    search_fields = ("owner", "key")
    exclude = ("body",)
