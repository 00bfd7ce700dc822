"""Training runs, the reward models they made, and when to retrain."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.models import Created
from apps.exports.models import Snapshot
from apps.jobs.models import Job
from apps.projects.models import Project
from apps.signals.models import Scorer


class RewardModel(Created):
    """One immutable version of a project's reward model, with its lineage and the evidence it was judged by."""

    class State(models.TextChoices):
        CANDIDATE = "candidate", _("Candidate")
        CURRENT = "current", _("Current")
        RETIRED = "retired", _("Retired")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="reward_models")
    version = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.CANDIDATE)
    recipe = models.JSONField()
    recipe_hash = models.CharField(max_length=64)
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="reward_models")
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="children")
    scorer = models.OneToOneField(Scorer, on_delete=models.PROTECT, related_name="reward_model")
    folder = models.CharField(max_length=200, help_text="Where its folder is in the artifact storage.")
    files = models.JSONField(default=list, help_text="Names of the files of the folder.")
    metrics = models.JSONField(default=dict, help_text="Measured on the snapshot's held-out prompts.")
    comparison = models.JSONField(
        null=True, help_text="Against the then current version, on the same held-out prompts."
    )
    decision = models.CharField(max_length=300, blank=True, help_text="Why it was or was not promoted.")
    code_version = models.CharField(max_length=40, blank=True)
    promoted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "version"], name="one_reward_model_per_version"),
            models.UniqueConstraint(fields=["project"], condition=Q(state="current"), name="one_current_reward_model"),
        ]

    def __str__(self) -> str:
        return f"{self.project} reward model {self.version}"


class TrainingRun(Created):
    """One training: a recipe on a snapshot, its job, what was measured on the way, and the version that came out."""

    class Trigger(models.TextChoices):
        PERSON = "person", _("Started by a person")
        LABELS = "labels", _("Enough new labels")
        TIME = "time", _("Enough time")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="training_runs")
    recipe = models.JSONField()
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="training_runs")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="training_run")
    trigger = models.CharField(max_length=10, choices=Trigger.choices, default=Trigger.PERSON)
    labels = models.PositiveIntegerField(default=0, help_text="Consensus labels of the project when the run was made.")
    history = models.JSONField(
        default=list, help_text="Events of the training: features, steps with loss, evaluations."
    )
    reward_model = models.OneToOneField(RewardModel, on_delete=models.SET_NULL, null=True, related_name="training_run")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["project", "-id"], name="runs_of_a_project")]

    def __str__(self) -> str:
        return f"training run {self.pk}"


class RecipeSearch(Created):
    """A small grid of recipes, each trained on one snapshot and measured on its validation split."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="recipe_searches")
    recipe = models.JSONField(help_text="What all trials share.")
    grid = models.JSONField(help_text="Values to try, by field.")
    minutes = models.PositiveIntegerField(help_text="Time for all trials together.")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="recipe_searches")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="recipe_search")
    trials = models.JSONField(
        default=list, help_text="What was tried so far, in order: changes, seconds, and figures or an error."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        verbose_name_plural = "recipe searches"
        indexes = [models.Index(fields=["project", "-id"], name="searches_of_a_project")]

    def __str__(self) -> str:
        return f"recipe search {self.pk}"


class RetrainPolicy(models.Model):
    """When beat starts a training by itself, and when a new version replaces the current one."""

    class Promotion(models.TextChoices):
        BETTER = "better", _("When it is better on the held-out prompts")
        ALWAYS = "always", _("Always")
        BY_HAND = "by_hand", _("Only by hand")

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="retrain_policy")
    every_labels = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("New consensus labels that start a training."),
    )
    every_hours = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.01)], help_text=_("Hours after which a training starts.")
    )
    promotion = models.CharField(max_length=10, choices=Promotion.choices, default=Promotion.BETTER)
    min_gain = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("Accuracy that a better version must add; 0 means any gain."),
    )
    recipe = models.JSONField(
        default=dict,
        blank=True,
        help_text=_('What differs from the default recipe, such as {"epochs": 60}; the fields are in docs/recipes.md.'),
    )

    class Meta:
        verbose_name_plural = "retrain policies"

    def __str__(self) -> str:
        return f"retrain policy of {self.project}"
