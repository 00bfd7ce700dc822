"""The figures of a project's labels, as they were computed last."""

from django.db import models
from django.db.models import Q

from apps.projects.models import Project
from apps.prompts.models import Comparison


class QualityReport(models.Model):
    """What `apps.quality.services` found in a project; a copy that can be made again at any time."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="quality_report")
    version = models.PositiveSmallIntegerField(default=0, help_text="Of the shape of the body; 0 for none yet.")
    body = models.JSONField(default=dict)
    computed_at = models.DateTimeField(null=True)
    seconds = models.FloatField(default=0.0, help_text="How long it took.")

    def __str__(self) -> str:
        return f"quality of {self.project_id}"


class ExpectedSide(models.Model):
    """The side that something above, such as rules that most people follow, expects: a yardstick, not an answer."""

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, primary_key=True, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="expected_sides")
    side = models.SmallIntegerField(help_text="−1 for response 1, 1 for response 2.")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(side__in=[-1, 1]), name="one_of_two_sides")]

    def __str__(self) -> str:
        return f"{self.comparison_id}: {self.side}"
