"""Training runs, the reward models they made, what they were judged by, and when to retrain."""

from typing import ClassVar

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

MAX_LABELS, MAX_HOURS = 1_000_000, 8760.0  # a year


class RewardModelQuerySet(models.QuerySet["RewardModel"]):
    """Ways to pick versions."""

    def current_of(self, project: Project) -> "RewardModel | None":
        """Return the project's promoted version with its scorer."""
        return self.filter(project=project, state=RewardModel.State.CURRENT).select_related("scorer").first()


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
    parent = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        related_name="children",
        help_text="The version whose weights training started from; none where it started from scratch.",
    )
    current_when_made = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The version that was current when this one was made.",
    )
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

    objects: ClassVar[models.Manager["RewardModel"]] = RewardModelQuerySet.as_manager()

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

    @property
    def resumable(self) -> bool:
        """Say whether the training ended without a version, so that it may be taken up again."""
        return self.job.state in {Job.State.FAILED, Job.State.CANCELLED} and self.reward_model_id is None


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


class Evaluation(Created):
    """What was measured of a version, once: a new measurement is a new row.

    `content_hash` names what it was measured on: the snapshot's hash, or the SHA-256 of a benchmark's file.
    """

    class Benchmark(models.TextChoices):
        HELD_OUT = "held-out", _("Held-out prompts")
        REWARD_BENCH = "reward-bench", "RewardBench"
        REWARD_BENCH_2 = "reward-bench-2", "RewardBench 2"
        RM_BENCH = "rm-bench", "RM-Bench"
        JUDGEBENCH = "judgebench", "JudgeBench"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="evaluations")
    reward_model = models.ForeignKey(RewardModel, on_delete=models.CASCADE, related_name="evaluations")
    benchmark = models.CharField(max_length=20, choices=Benchmark.choices)
    source = models.CharField(max_length=300, help_text="Name of the snapshot, the file or the dataset.")
    content_hash = models.CharField(max_length=64)
    against = models.ForeignKey(
        RewardModel, on_delete=models.PROTECT, null=True, related_name="+", help_text="The version it is compared with."
    )
    result = models.JSONField()
    code_version = models.CharField(max_length=40)
    job = models.OneToOneField(Job, on_delete=models.SET_NULL, null=True, related_name="evaluation")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["reward_model", "-id"], name="evaluations_of_a_version")]

    def __str__(self) -> str:
        return f"{self.get_benchmark_display()} of version {self.reward_model_id}"


class PromotionDecision(Created):
    """Why a version became the current one, or did not: the rule as it was, what it was applied to, and the outcome."""

    class Kind(models.TextChoices):
        RULE = "rule", _("By the project's rule")
        PERSON = "person", _("By hand")
        ROLLBACK = "rollback", _("Rolled back")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="promotion_decisions")
    reward_model = models.ForeignKey(RewardModel, on_delete=models.CASCADE, related_name="decisions")
    against = models.ForeignKey(
        RewardModel,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The current version of the moment.",
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    promoted = models.BooleanField()
    rule = models.JSONField(null=True, help_text="The project's rule, where one was applied.")
    checks = models.JSONField(default=list, help_text="Each condition with its outcome and a sentence.")
    evidence = models.ForeignKey(Evaluation, on_delete=models.PROTECT, null=True, related_name="decisions")
    reason = models.TextField()
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["reward_model", "-id"], name="decisions_on_a_version")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: version {self.reward_model_id}"


class RetrainPolicy(models.Model):
    """When beat starts a training by itself, and when a new version replaces the current one."""

    class Promotion(models.TextChoices):
        BETTER = "better", _("When it passes the rule")
        ALWAYS = "always", _("Always")
        BY_HAND = "by_hand", _("Only by hand")

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="retrain_policy")
    every_labels = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LABELS)],
        help_text=_("New consensus labels that start a training."),
    )
    every_hours = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(MAX_HOURS)],
        help_text=_("Hours after which a training starts."),
    )
    promotion = models.CharField(max_length=10, choices=Promotion.choices, default=Promotion.BETTER)
    min_gain = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("Accuracy that a better version must add; 0 means any gain."),
    )
    min_probability = models.FloatField(
        default=0.8,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("How probable that gain must be, over draws of the held-out prompts."),
    )
    keep_controls = models.BooleanField(
        default=True, help_text=_("No control pair that the current version has right may be lost.")
    )
    max_domain_loss = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("Accuracy that a domain of ten pairs or more may lose; empty asks nothing."),
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
