"""The Job row of every long task, and the workers that were heard."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.models import Created
from apps.jobs.kinds import KINDS
from apps.projects.models import Project


class JobQuerySet(models.QuerySet["Job"]):
    """Ways to pick jobs."""

    def unfinished(self) -> "JobQuerySet":
        """Return jobs that still have work to do."""
        return self.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING])

    def unheld(self) -> "JobQuerySet":
        """Return unfinished jobs that no living worker holds and whose last message is old enough to be lost."""
        now = timezone.now()
        lost = now - timedelta(seconds=settings.JOB_LEASE_SECONDS)
        return self.unfinished().filter(
            models.Q(state=Job.State.RUNNING, lease_until__lt=now, sent_at__lt=lost)
            | models.Q(state=Job.State.QUEUED, sent_at__lt=lost)
            | models.Q(state=Job.State.QUEUED, sent_at=None, created_at__lt=lost)
        )


class Job(Created):
    """One long task: the truth about it and the outbox of its messages.

    States: queued → running → succeeded | failed | cancelled. A running job has a lease; when the lease ends without a
    heartbeat, the next worker takes the job over with a higher `fencing_token`, and writes of the old one are refused.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=20, choices=[(name, kind.label) for name, kind in KINDS.items()])
    key = models.CharField(max_length=120, null=True, help_text="Two unfinished jobs never share a key.")
    inputs = models.JSONField(default=dict, help_text="Frozen when the job is made.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    message = models.CharField(max_length=300, blank=True)
    result = models.JSONField(null=True)
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    sent_at = models.DateTimeField(null=True)
    attempt = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True)
    fencing_token = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Job"]] = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "key"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_unfinished_job_per_key",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "-id"], name="jobs_of_a_project"),
            models.Index(
                fields=["sent_at"], condition=models.Q(state__in=["queued", "running"]), name="jobs_unfinished"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.pk}"

    @property
    def queue(self) -> str:
        """Return the queue whose workers may run this job."""
        return KINDS[self.kind].queue

    @property
    def finished(self) -> bool:
        """Say whether nothing more will happen."""
        return self.state not in {self.State.QUEUED, self.State.RUNNING}

    @property
    def percent(self) -> int:
        """Return the progress in whole percent; 0 while the amount of work is unknown."""
        if self.state == self.State.SUCCEEDED:
            return 100
        return min(100, 100 * self.done // self.total) if self.total else 0


class WorkerSeen(models.Model):
    """When a worker process was heard last, and the queues it serves."""

    name = models.CharField(max_length=120, primary_key=True)
    queues = models.JSONField(default=list)
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "workers seen"

    def __str__(self) -> str:
        return self.name
