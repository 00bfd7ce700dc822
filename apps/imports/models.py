"""An import: a file, items or a dataset that was handed in, and what became of its rows."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.models import Created
from apps.jobs.models import Job
from apps.projects.models import Project

CAME_IN = ("created", "updated", "unchanged", "excluded")
"""Counts of rows that came in, were there already, or were left out because somebody asked for that."""


class Upload(Created):
    """A file that arrives piece by piece (tus 1.0.0). Each piece is an object of its own in the artifact storage."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="uploads")
    file_name = models.CharField(max_length=200)
    length = models.BigIntegerField(help_text="Bytes of the whole file.")
    offset = models.BigIntegerField(default=0, help_text="Bytes that have arrived.")
    pieces = models.JSONField(default=list, help_text="Names of the stored pieces, in order.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(offset__gte=0, offset__lte=models.F("length")), name="an_upload_has_an_end"
            )
        ]

    def __str__(self) -> str:
        return self.file_name

    @property
    def is_complete(self) -> bool:
        """Say whether every byte has arrived."""
        return self.offset == self.length


class Import(Created):
    """One source of pairs. What its job has done so far stands here too, written with each batch of rows.

    `position` is the line up to which rows are in, `counts` what became of them: a job that is taken over goes on from
    there and ends with the same figures. Comparisons it made have ids from `first_made` to `last_made`.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    file_name = models.CharField(max_length=200)
    stored_as = models.CharField(max_length=200, blank=True, help_text="Name of the file in the artifact storage.")
    upload = models.ForeignKey(Upload, on_delete=models.RESTRICT, null=True, related_name="imports")
    dataset = models.JSONField(null=True, help_text="Name, config, split and revision of a Hugging Face dataset.")
    options = models.JSONField(default=dict)
    preview = models.JSONField(null=True, help_text="The columns, and the first rows as they would be stored.")
    preview_job = models.OneToOneField(Job, on_delete=models.SET_NULL, null=True, related_name="preview_of")
    job = models.OneToOneField(Job, on_delete=models.SET_NULL, null=True, related_name="import_of")
    position = models.BigIntegerField(default=0)
    counts = models.JSONField(default=dict)
    is_read = models.BooleanField(default=False, help_text="Every row is in; run again, it starts over.")
    first_made = models.BigIntegerField(null=True)
    last_made = models.BigIntegerField(null=True)
    undo_job = models.OneToOneField(Job, on_delete=models.SET_NULL, null=True, related_name="undo_of")
    undone_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        return self.file_name

    @property
    def can_start(self) -> bool:
        """Say whether nothing of it has gone in yet: it was only looked at, or its job failed before any batch."""
        ended_badly = self.job is not None and self.job.state in {Job.State.FAILED, Job.State.CANCELLED}
        return self.undone_at is None and not self.position and (self.job is None or ended_badly)

    @property
    def came_to_nothing(self) -> bool:
        """Say whether every row was read and none came in, was there already, or was left out as asked."""
        return self.is_read and not any(self.counts.get(name) for name in CAME_IN)

    @property
    def is_dry_run(self) -> bool:
        """Say whether it only reports."""
        return bool(self.options.get("dry_run"))


class Turn(models.Model):
    """How often pairs of a project were stored or deleted: one who began without the lock sees what came between."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="turn")
    number = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.project_id}: {self.number}"


class Finding(models.Model):
    """Something to know about one row of an import: why it was refused, or what it resembles."""

    class Kind(models.TextChoices):
        REJECTED = "rejected", _("Refused")
        DUPLICATE = "duplicate", _("Same pair under another id")
        REVERSED = "reversed", _("Same pair in the other order")
        CONTRADICTION = "contradiction", _("Labels that contradict each other")
        NEAR_DUPLICATE = "near_duplicate", _("Nearly the same pair")
        CONTAMINATED = "contaminated", _("Shares text with a benchmark")

    source = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="findings", db_index=False)
    line = models.BigIntegerField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    field = models.CharField(max_length=300, blank=True)
    reason = models.CharField(max_length=1000)
    external_id = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [models.Index(fields=["source", "line", "id"], name="findings_by_line")]

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"
