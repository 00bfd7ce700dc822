"""Scorers and the raw signals they store."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.core.models import Created
from apps.projects.models import Project
from apps.prompts.models import Response


class Scorer(Created):
    """A configured source of signals; immutable, so a new model version is a new scorer and overwrites nothing."""

    class Kind(models.TextChoices):
        REWARD_MODEL = "reward_model", "Reward model"
        RULE_SET = "rule_set", "Rule set"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="scorers")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    config = models.JSONField(
        default=dict,
        help_text="For a reward model: its folder in the artifact storage and its files. For a rule set: its id.",
    )
    orders_queue = models.BooleanField(default=False, help_text="Its margins order the queue; one scorer per project.")

    keeps_up = models.BooleanField(default=False, help_text="It scores what is imported later, too.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_scorer_per_name"),
            models.UniqueConstraint(
                fields=["project"], condition=Q(orders_queue=True), name="one_scorer_orders_the_queue"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SignalQuerySet(models.QuerySet["Signal"]):
    """Ways to pick signals."""

    def of_project(self, project: Project) -> "SignalQuerySet":
        """Return every signal that a scorer of this project stored."""
        return self.filter(scorer__project=project)


class Signal(Created):
    """The raw value that a scorer measured for a response; shaped values are derived from it."""

    scorer = models.ForeignKey(Scorer, on_delete=models.CASCADE, related_name="signals")
    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="signals")
    value = models.FloatField()
    parts = models.JSONField(default=dict, help_text="What the value was made from, such as the verdict of each rule.")
    input_hash = models.CharField(max_length=64, help_text="SHA-256 of what was scored: prompt and response.")

    objects: ClassVar[models.Manager["Signal"]] = SignalQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scorer", "response"], name="one_signal_per_scorer_and_response")
        ]

    def __str__(self) -> str:
        return f"{self.scorer_id} on {self.response_id}: {self.value}"
