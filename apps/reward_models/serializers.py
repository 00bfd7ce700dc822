"""JSON of training runs and reward models."""

from typing import Any

from rest_framework import serializers

from apps.core.serializers import ObjectField, StrictSerializer, TextField
from apps.jobs.serializers import JobSerializer
from apps.reward_models.models import RecipeSearch, RewardModel, TrainingRun
from worker.core.training.search import best_trial


class TrainingRunSerializer(serializers.Serializer[TrainingRun]):
    """A training of a list."""

    id = serializers.CharField()
    snapshot = serializers.CharField(source="snapshot_id")
    trigger = serializers.ChoiceField(choices=TrainingRun.Trigger.choices)
    labels = serializers.IntegerField(help_text="Consensus labels of the project when the run was made.")
    reward_model = serializers.CharField(source="reward_model_id", allow_null=True)
    created_at = serializers.DateTimeField()
    job = JobSerializer()


class TrainingRunDetailSerializer(TrainingRunSerializer):
    """A training with what was measured so far."""

    recipe = ObjectField()
    history = serializers.ListField(
        child=ObjectField(), help_text="Events as they came: features, steps with loss, evaluations."
    )


class NewTrainingRunSerializer(StrictSerializer):
    """What to train; the recipe is checked by apps.reward_models.services."""

    recipe = ObjectField(required=False, help_text="What differs from the project's recipe.")
    snapshot = TextField(
        required=False, allow_null=True, max_length=40, help_text="Null freezes a new one: 80 % to train on."
    )


class RecipeSearchSerializer(serializers.Serializer[RecipeSearch]):
    """A recipe search of a list."""

    id = serializers.CharField()
    snapshot = serializers.CharField(source="snapshot_id")
    grid = ObjectField(help_text="Values to try, by field of the recipe.")
    minutes = serializers.IntegerField(help_text="Time for all trials together.")
    created_at = serializers.DateTimeField()
    job = JobSerializer()


class RecipeSearchDetailSerializer(RecipeSearchSerializer):
    """A recipe search with its trials."""

    recipe = ObjectField(help_text="What all trials share.")
    trials = serializers.ListField(
        child=ObjectField(), help_text="In order: `changes`, `seconds`, and `validation` figures or an `error`."
    )
    best = serializers.SerializerMethodField(help_text="Place of the best trial, from 0; null while there is none.")

    def get_best(self, search: RecipeSearch) -> int | None:
        """Return the place of the best trial."""
        return best_trial(search.trials)


class NewRecipeSearchSerializer(StrictSerializer):
    """What to search; recipe and grid are checked by apps.reward_models.searches."""

    recipe = ObjectField(required=False, help_text="What differs from the project's recipe in every trial.")
    grid = ObjectField(
        required=False, help_text="Lists of values by field; left out, learning rates and decays around the recipe's."
    )
    minutes = serializers.IntegerField(required=False, min_value=1, max_value=24 * 60)
    snapshot = TextField(
        required=False,
        allow_null=True,
        max_length=40,
        help_text="With the splits train and validation; null freezes a new one.",
    )


class UseRecipeSerializer(StrictSerializer):
    """Which recipe to use."""

    trial = serializers.IntegerField(required=False, allow_null=True, min_value=0, help_text="Null: the best one.")


class RewardModelSerializer(serializers.Serializer[RewardModel]):
    """A version of a reward model in a list."""

    id = serializers.CharField()
    version = serializers.IntegerField()
    state = serializers.ChoiceField(choices=RewardModel.State.choices)
    recipe_hash = serializers.CharField()
    snapshot = serializers.CharField(source="snapshot_id")
    parent = serializers.CharField(source="parent_id", allow_null=True)  # type: ignore[assignment]
    scorer = serializers.CharField(source="scorer_id")
    metrics = ObjectField(help_text="Measured on the snapshot's held-out prompts.")
    comparison = serializers.JSONField(
        allow_null=True, help_text="Against the then current version, on the same held-out prompts."
    )
    decision = serializers.CharField(help_text="Why it was or was not promoted.")
    created_at = serializers.DateTimeField()
    promoted_at = serializers.DateTimeField(allow_null=True)


class RewardModelDetailSerializer(RewardModelSerializer):
    """A version with its lineage."""

    recipe = ObjectField()
    training_run = serializers.SerializerMethodField(help_text="The run it came from.")
    files = serializers.ListField(child=serializers.CharField(), help_text="What the archive holds.")
    code_version = serializers.CharField()

    def get_training_run(self, model: RewardModel) -> str | None:
        """Return the id of the run."""
        run: Any = getattr(model, "training_run", None)
        return str(run.pk) if run else None
