"""Immutable snapshots of a project's labels."""

from django.conf import settings
from django.db import models

from apps.core.models import Created
from apps.jobs.models import Job
from apps.projects.models import Project


class Snapshot(Created):
    """A frozen dataset: its selection, the manifest of its files, and their content hash once they are written."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="snapshots")
    name = models.CharField(max_length=120)
    selection = models.JSONField(help_text="Splits, seed and filters, frozen when the snapshot is asked for.")
    content_hash = models.CharField(max_length=64, blank=True, help_text="Empty until the files are written.")
    manifest = models.JSONField(default=dict)
    job = models.OneToOneField(Job, on_delete=models.SET_NULL, null=True, related_name="snapshot")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["project", "-id"], name="snapshots_of_a_project")]

    def __str__(self) -> str:
        return self.name

    @property
    def ready(self) -> bool:
        """Say whether the files are written."""
        return bool(self.content_hash)

    @property
    def folder(self) -> str:
        """Return where the files are in the artifact storage: by content, so that two writers never mix theirs."""
        return f"snapshots/{self.pk}/{self.content_hash[:16]}"
