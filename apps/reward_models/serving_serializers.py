"""JSON of scoring, our own and the dialects of others: described here, read by `worker.core.dialects`."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.serializers import ObjectField
from apps.labeling.serializers import MessageSerializer
from worker.core.reward_inputs import MAX_INPUTS
from worker.core.shaping import SHAPERS

TEXTS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
INPUTS = {
    "oneOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    ]
}
PAIRS = {
    "oneOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        {"type": "array", "items": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2}},
    ]
}


@extend_schema_field(TEXTS)
class TextsField(serializers.JSONField):
    """A text or a list of texts."""


@extend_schema_field(INPUTS)
class InputsField(serializers.JSONField):
    """Texts or token ids."""


@extend_schema_field(PAIRS)
class PairsField(serializers.JSONField):
    """A text, a pair of texts, or a list of such."""


class ScoreItemSerializer(serializers.Serializer[Any]):
    """A conversation that ends with a user turn, and the response to it."""

    messages = MessageSerializer(many=True)
    response = serializers.CharField(allow_blank=True)
    references = serializers.ListField(
        child=serializers.CharField(allow_blank=True),
        required=False,
        max_length=16,
        help_text="For the shaping par: responses to the same conversation. Without, those that the project has.",
    )
    reference_rewards = serializers.ListField(
        child=serializers.FloatField(),
        required=False,
        max_length=16,
        help_text="Instead of references, their rewards: as a reply gave them in `statistics`.",
    )


class ScoreRequestSerializer(serializers.Serializer[Any]):
    """Responses to score."""

    items = ScoreItemSerializer(many=True, help_text=f"At most {MAX_INPUTS}.")
    shaping = serializers.ChoiceField(choices=list(SHAPERS), default="none")
    reference_count = serializers.IntegerField(
        default=16, min_value=1, max_value=16, help_text="How many of the project's responses serve as references."
    )
    uncertainty = serializers.BooleanField(default=False, help_text="Adds `std` and `intervals`.")


class ScoresSerializer(serializers.Serializer[Any]):
    """Rewards in the order of the items."""

    rewards = serializers.ListField(child=serializers.FloatField())
    model = serializers.CharField(help_text="The reward model's id.")
    shaping = serializers.ChoiceField(choices=list(SHAPERS))
    raw = serializers.ListField(child=serializers.FloatField(), help_text="What the model gave, before any shaping.")
    statistics = ObjectField(
        allow_null=True,
        help_text="What the shape was made with: frozen statistics of the version, or how many references each had and "
        "their rewards.",
    )
    std = serializers.ListField(
        child=serializers.FloatField(allow_null=True),
        required=False,
        help_text="Standard deviations of `raw`; null for a version that holds none.",
    )
    intervals = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField(), allow_null=True),
        required=False,
        help_text="95 % of `raw`: [low, high].",
    )


class GetRewardSerializer(serializers.Serializer[Any]):
    """OpenRLHF's request: prompt and response in one text."""

    query = TextsField()
    prompts = TextsField(required=False, help_text="Where each query's prompt ends: for models that read pairs.")
    labels = serializers.JSONField(required=False, allow_null=True, help_text="Not used.")


class GotRewardSerializer(serializers.Serializer[Any]):
    """OpenRLHF's reply; `scores` are sigmoids, for its dynamic filtering."""

    rewards = serializers.ListField(child=serializers.FloatField())
    scores = serializers.ListField(child=serializers.FloatField())
    extra_logs = ObjectField()


class ActivationSerializer(serializers.Serializer[Any]):
    """What every request of vLLM's may have."""

    model = serializers.CharField(required=False, help_text="Not used: the address names the model.")
    use_activation = serializers.BooleanField(required=False, help_text="True asks for the sigmoid of the reward.")
    truncate_prompt_tokens = serializers.IntegerField(
        required=False, min_value=-1, max_value=-1, help_text="-1 is the model's own length; another is refused."
    )


class ClassifySerializer(ActivationSerializer):
    """vLLM's `input` or `messages`, or SGLang's `text`."""

    input = InputsField(required=False, help_text="Texts as the model's chat template makes them, or token ids.")
    messages = MessageSerializer(many=True, required=False, help_text="A conversation that ends with the assistant.")
    text = TextsField(required=False, help_text="SGLang's name for texts; the reply is then SGLang's, too.")


class PoolingSerializer(ActivationSerializer):
    """vLLM's request for raw outputs."""

    input = InputsField(required=False)
    messages = MessageSerializer(many=True, required=False)
    task = serializers.ChoiceField(choices=["classify", "reward", "score"], required=False)
    encoding_format = serializers.ChoiceField(choices=["float", "base64"], required=False)


class PairScoreSerializer(ActivationSerializer):
    """vLLM's request for scores of pairs; `text_1` and `text_2` are other names."""

    queries = TextsField(required=False, help_text="Prompts: one, or as many as there are documents.")
    documents = TextsField(required=False, help_text="Responses.")
    text_1 = TextsField(required=False)
    text_2 = TextsField(required=False)


class RerankSerializer(ActivationSerializer):
    """A prompt and responses to be put in order; with `texts` instead of `documents` it is TEI's."""

    query = serializers.CharField(allow_blank=True)
    documents = TextsField(required=False)
    texts = TextsField(required=False)
    top_n = serializers.IntegerField(required=False, min_value=0, help_text="0 is all of them.")


class PredictSerializer(serializers.Serializer[Any]):
    """TEI's request."""

    inputs = PairsField(help_text="A text, or a pair of prompt and response; several in lists of their own.")
    raw_scores = serializers.BooleanField(required=False, help_text="False asks for the sigmoid of the reward.")
    truncate = serializers.BooleanField(required=False, help_text="False refuses a text longer than the model reads.")


class VerifySerializer(serializers.Serializer[Any]):
    """NeMo Gym's request: what was asked for and answered, as in OpenAI's Responses API; other fields come back."""

    responses_create_params = ObjectField()
    response = ObjectField()


class VerifiedSerializer(VerifySerializer):
    """The request with its reward."""

    reward = serializers.FloatField()


class UsageSerializer(serializers.Serializer[Any]):
    """How many tokens the model has read."""

    prompt_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()


class RowsSerializer(serializers.Serializer[Any]):
    """vLLM's reply: one row per input, whose number is under `probs`, `data`, `score` or `embedding`."""

    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField()
    model = serializers.CharField()
    data = serializers.ListField(child=ObjectField())  # type: ignore[assignment]
    usage = UsageSerializer()


class ModelNamesSerializer(serializers.Serializer[Any]):
    """The models behind an address: one."""

    object = serializers.CharField()
    data = serializers.ListField(child=ObjectField())  # type: ignore[assignment]
