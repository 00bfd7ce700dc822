"""Where a project's events are sent, and what became of each message."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from apps.core.models import Created
from apps.projects.models import Project


class WebhookEndpoint(Created):
    """An address that hears of some of a project's events. Its secret is derived, not stored (`signing`)."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=2000)
    description = models.CharField(max_length=200, blank=True)
    events = ArrayField(models.CharField(max_length=40))
    active = models.BooleanField(default=True)
    seed = models.CharField(max_length=64, help_text="What the secret is derived from.")
    earlier_seed = models.CharField(max_length=64, blank=True)
    earlier_until = models.DateTimeField(null=True, help_text="Until then both secrets sign.")
    failures = models.PositiveIntegerField(default=0, help_text="Attempts that failed since the last success.")
    failing_since = models.DateTimeField(null=True)
    last_success_at = models.DateTimeField(null=True)
    disabled_reason = models.CharField(max_length=300, blank=True, help_text="Why it was switched off by itself.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        verbose_name = "webhook"

    def __str__(self) -> str:
        return self.description or f"webhook {self.pk}"

    @property
    def seeds(self) -> list[str]:
        """Return the seeds of the secrets that are valid now, the newest first."""
        overlaps = self.earlier_until is not None and self.earlier_until > timezone.now()
        return [self.seed, self.earlier_seed] if overlaps else [self.seed]


class DeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    """Ways to pick deliveries."""

    def waiting(self) -> "DeliveryQuerySet":
        """Return those that are still to be sent, again or for the first time."""
        return self.filter(state=WebhookDelivery.State.PENDING)


class WebhookDelivery(Created):
    """One message to one endpoint: frozen when the event happens, in its transaction, and sent afterwards.

    States: pending → delivered | failed; a replay makes it pending again. Whoever sends it holds it until `held_until`
    and writes the result under the number of its attempt: a worker that dies leaves it to the next one.
    """

    class State(models.TextChoices):
        PENDING = "pending", pgettext_lazy("a message", "Waiting")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("Failed")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhook_deliveries")
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event_id = models.CharField(max_length=40, help_text="The message's webhook-id, the same however often it is sent.")
    event = models.CharField(max_length=40)
    payload = models.TextField(help_text="The JSON that is signed and sent.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0, help_text="Since it was made or replayed.")
    next_attempt_at = models.DateTimeField()
    held_until = models.DateTimeField(null=True)
    last_attempt_at = models.DateTimeField(null=True)
    last_status = models.PositiveIntegerField(null=True, help_text="HTTP status of the last answer.")
    last_error = models.CharField(max_length=300, blank=True)
    reply = models.CharField(max_length=500, blank=True, help_text="The beginning of the last answer.")
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["WebhookDelivery"]] = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        constraints = [models.UniqueConstraint(fields=["endpoint", "event_id"], name="one_delivery_per_event")]
        indexes = [
            models.Index(fields=["endpoint", "-id"], name="deliveries_of_an_endpoint"),
            models.Index(
                fields=["endpoint", "next_attempt_at", "id"],
                condition=models.Q(state="pending"),
                name="deliveries_waiting",
            ),
            models.Index(
                fields=["endpoint", "held_until"],
                condition=models.Q(state="pending", held_until__isnull=False),
                name="deliveries_under_way",
            ),
            models.Index(fields=["created_at"], name="deliveries_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.event_id}"
