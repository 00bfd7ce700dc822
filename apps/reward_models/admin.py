"""Admin of reward models, training runs and policies."""

from django.contrib import admin

from apps.core.admin import ReadOnlyAdmin
from apps.reward_models.models import (
    Evaluation,
    PromotionDecision,
    RecipeSearch,
    RetrainPolicy,
    RewardModel,
    TrainingRun,
)


@admin.register(RewardModel)
class RewardModelAdmin(ReadOnlyAdmin):
    """Immutable versions; promote them on the project's page."""

    list_display = ("project", "version", "state", "decision", "promoted_at", "created_at")
    list_filter = ("state",)
    list_select_related = ("project",)
    search_fields = ("project__slug", "recipe_hash")


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnlyAdmin):
    """Trainings with what was measured on the way."""

    list_display = ("id", "project", "trigger", "labels", "created_by", "created_at")
    list_filter = ("trigger",)
    list_select_related = ("project", "created_by")
    search_fields = ("project__slug",)


@admin.register(RecipeSearch)
class RecipeSearchAdmin(ReadOnlyAdmin):
    """Grids of recipes with what each measured."""

    list_display = ("id", "project", "minutes", "created_by", "created_at")
    list_select_related = ("project", "created_by")
    search_fields = ("project__slug",)


@admin.register(Evaluation)
class EvaluationAdmin(ReadOnlyAdmin):
    """What versions were measured on, and what came out."""

    list_display = ("id", "project", "reward_model", "benchmark", "source", "code_version", "created_at")
    list_filter = ("benchmark",)
    list_select_related = ("project", "reward_model__project")
    search_fields = ("project__slug", "content_hash")


@admin.register(PromotionDecision)
class PromotionDecisionAdmin(ReadOnlyAdmin):
    """Why versions became current, or did not."""

    list_display = ("id", "project", "reward_model", "kind", "promoted", "decided_by", "created_at")
    list_filter = ("kind", "promoted")
    list_select_related = ("project", "reward_model__project", "decided_by")
    search_fields = ("project__slug", "reason")


@admin.register(RetrainPolicy)
class RetrainPolicyAdmin(ReadOnlyAdmin):
    """When projects retrain by themselves; changed on the project's page, which checks the recipe."""

    list_display = ("project", "every_labels", "every_hours", "promotion", "min_gain", "min_probability")
    list_select_related = ("project",)
