"""Replies that are kept for whoever sends the same request again."""

from django.db import models

from apps.core.models import Created


class StoredReply(Created):
    """The reply to a request that had an Idempotency-Key, stored in the transaction of what the request did."""

    owner = models.CharField(max_length=40, help_text="The token or the person who sent it.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, address and body.")
    status = models.PositiveSmallIntegerField()
    content_type = models.CharField(max_length=100, blank=True)
    body = models.BinaryField(null=True, help_text="Null where the reply holds a secret or is too long to keep.")

    class Meta:
        verbose_name_plural = "stored replies"
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="one_reply_per_key")]
        indexes = [models.Index(fields=["created_at"], name="replies_by_age")]

    def __str__(self) -> str:
        return f"{self.owner} {self.key}"
