"""The figures of a project's labels, as they were computed last."""

from django.db import models

from apps.projects.models import Project


class QualityReport(models.Model):
    """What `apps.quality.services` found in a project; a copy that can be made again at any time."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="quality_report")
    version = models.PositiveSmallIntegerField(default=0, help_text="Of the shape of the body; 0 for none yet.")
    body = models.JSONField(default=dict)
    computed_at = models.DateTimeField(null=True)
    seconds = models.FloatField(default=0.0, help_text="How long it took.")

    def __str__(self) -> str:
        return f"quality of {self.project_id}"
