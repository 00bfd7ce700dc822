"""JSON of training runs, reward models, their evaluations and what decides on promotion."""

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from rest_framework import serializers

from apps.core.serializers import ObjectField, StrictSerializer, TextField
from apps.imports.serializers import DatasetSerializer
from apps.jobs.serializers import JobSerializer
from apps.reward_models.models import (
    Evaluation,
    PromotionDecision,
    RecipeSearch,
    RetrainPolicy,
    RewardModel,
    TrainingRun,
)
from worker.core.reward_benchmarks import BENCHMARKS
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
    parent = serializers.CharField(  # type: ignore[assignment]
        source="parent_id",
        allow_null=True,
        help_text="The version whose weights training started from; null where it started from scratch.",
    )
    current_when_made = serializers.CharField(
        source="current_when_made_id",
        allow_null=True,
        help_text="The version that was current when this one was made; null for the first.",
    )
    scorer = serializers.CharField(source="scorer_id")
    metrics = ObjectField(help_text="Measured on the snapshot's held-out prompts.")
    comparison = serializers.JSONField(
        allow_null=True, help_text="Against the then current version, on the same held-out prompts."
    )
    decision = serializers.CharField(help_text="Why it was or was not promoted.")
    created_at = serializers.DateTimeField()
    promoted_at = serializers.DateTimeField(allow_null=True)


class PromotionDecisionSerializer(serializers.Serializer[PromotionDecision]):
    """Why a version became the current one, or did not."""

    kind = serializers.ChoiceField(choices=PromotionDecision.Kind.choices)
    promoted = serializers.BooleanField()
    against = serializers.CharField(source="against_id", allow_null=True, help_text="The version that was current.")
    evidence = serializers.CharField(source="evidence_id", allow_null=True, help_text="The evaluation it rests on.")
    rule = serializers.JSONField(allow_null=True, help_text="The project's rule of the moment, where one was applied.")
    checks = serializers.ListField(child=ObjectField(), help_text="Each condition: name, passed, sentence.")
    reason = serializers.CharField()
    decided_by = serializers.SerializerMethodField(help_text="A username, or null for the rule.")
    created_at = serializers.DateTimeField()

    def get_decided_by(self, decision: PromotionDecision) -> str | None:
        """Return who decided."""
        return decision.decided_by.username if decision.decided_by else None


class RewardModelDetailSerializer(RewardModelSerializer):
    """A version with its lineage."""

    recipe = ObjectField()
    training_run = serializers.SerializerMethodField(help_text="The run it came from.")
    files = serializers.ListField(child=serializers.CharField(), help_text="What the archive holds.")
    code_version = serializers.CharField()
    decisions = PromotionDecisionSerializer(many=True, help_text="Newest first.")

    def get_training_run(self, model: RewardModel) -> str | None:
        """Return the id of the run."""
        run: Any = getattr(model, "training_run", None)
        return str(run.pk) if run else None


class EvaluationSerializer(serializers.Serializer[Evaluation]):
    """What a version was measured on."""

    id = serializers.CharField()
    reward_model = serializers.CharField(source="reward_model_id")
    benchmark = serializers.ChoiceField(choices=Evaluation.Benchmark.choices)
    source = serializers.CharField(  # type: ignore[assignment]
        help_text="Name of the snapshot, the file or the dataset."
    )
    content_hash = serializers.CharField(help_text="The snapshot's hash, or the SHA-256 of the file.")
    against = serializers.CharField(source="against_id", allow_null=True, help_text="The version it is compared with.")
    code_version = serializers.CharField()
    created_at = serializers.DateTimeField()
    measured_on = serializers.SerializerMethodField(
        help_text="A benchmark by its name, or a file in its format, with the number of rows and what is missing; null "
        "for held-out prompts."
    )
    comparable = serializers.SerializerMethodField(
        help_text="Whether the rows are as many as the published benchmark's, in all and by section, so that its "
        "figures may be compared with published ones; null for held-out prompts."
    )
    result = ObjectField(help_text="Figures, as docs/judging.md explains them.")

    def get_measured_on(self, evaluation: Evaluation) -> str | None:
        """Return what the rows of a benchmark are, as the model card says it."""
        benchmark = BENCHMARKS.get(evaluation.benchmark)
        return benchmark.measured_on(evaluation.result) if benchmark else None

    def get_comparable(self, evaluation: Evaluation) -> bool | None:
        """Return whether the rows are as many as the published ones."""
        benchmark = BENCHMARKS.get(evaluation.benchmark)
        return benchmark.published_set(evaluation.result) is not None if benchmark else None


class NewEvaluationSerializer(StrictSerializer):
    """What to measure; a benchmark's own published dataset where no source is named."""

    benchmark = serializers.ChoiceField(choices=Evaluation.Benchmark.choices)
    upload = TextField(required=False, max_length=20, help_text="The id of an upload that has arrived.")
    path = TextField(required=False, max_length=200, help_text="A file below BENCHMARKS_DIR of the gpu worker.")
    dataset = DatasetSerializer(required=False)


class BenchmarkFileSerializer(StrictSerializer):
    """A benchmark's file: JSON lines, a JSON array, CSV or Parquet, plain or gzipped."""

    benchmark = serializers.ChoiceField(choices=Evaluation.Benchmark.choices)
    file = serializers.FileField(allow_empty_file=True)

    def validate_file(self, file: UploadedFile) -> UploadedFile:
        """Ask for a name, which says what the file is where its first bytes do not."""
        if not file.name:
            raise serializers.ValidationError("The file needs a name.")
        return file


class RetrainPolicySerializer(serializers.ModelSerializer[RetrainPolicy]):
    """When a project retrains, and the rule by which a new version replaces the current one."""

    recipe = ObjectField(required=False, help_text="What differs from the default recipe.")

    class Meta:
        model = RetrainPolicy
        fields = (
            "every_labels",
            "every_hours",
            "promotion",
            "min_gain",
            "min_probability",
            "keep_controls",
            "max_domain_loss",
            "recipe",
        )

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked values; a field that is not known is refused."""
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError({str(name): ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)
