"""JSON of language models: their keys go in and never come out."""

from rest_framework import serializers

from apps.core.serializers import StrictSerializer, TextField
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.services import RANGES


def _number(name: str, help_text: str, **options: object) -> serializers.IntegerField:
    least, most = RANGES[name]
    return serializers.IntegerField(required=False, min_value=least, max_value=most, help_text=help_text, **options)  # type: ignore[arg-type]


def _money(name: str, help_text: str, *, allow_null: bool = False) -> serializers.DecimalField:
    least, most = RANGES[name]
    return serializers.DecimalField(
        12, 4, required=False, min_value=least, max_value=most, allow_null=allow_null, help_text=help_text
    )


class EndpointTestSerializer(serializers.Serializer[None]):
    """What a test found."""

    ok = serializers.BooleanField()
    answer = serializers.CharField(help_text="The beginning of what the model said.")
    error = serializers.CharField(help_text="The sentence of what is wrong, or empty.")
    seconds = serializers.FloatField()
    tokens_in = serializers.IntegerField()
    tokens_out = serializers.IntegerField()


class EndpointSerializer(serializers.Serializer[ModelEndpoint]):
    """A language model of yours."""

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=ModelEndpoint.Kind.choices)
    base_url = serializers.CharField()
    model = serializers.CharField()
    has_key = serializers.SerializerMethodField(help_text="Whether a key is stored; it is never given back.")
    concurrency = serializers.IntegerField()
    requests_per_minute = serializers.IntegerField()
    tokens_per_minute = serializers.IntegerField()
    max_answer_tokens = serializers.IntegerField()
    timeout_seconds = serializers.IntegerField()
    price_in = serializers.DecimalField(12, 4)
    price_out = serializers.DecimalField(12, 4)
    cost_ceiling = serializers.DecimalField(12, 4, allow_null=True)
    spent = serializers.DecimalField(16, 8, help_text="What all calls have cost, by the prices that were set then.")
    tested_at = serializers.DateTimeField(allow_null=True)
    test = EndpointTestSerializer(source="test_result", allow_null=True)
    created_at = serializers.DateTimeField()

    def get_has_key(self, endpoint: ModelEndpoint) -> bool:
        """Say whether there is a key."""
        return bool(endpoint.encrypted_key)


class NewEndpointSerializer(StrictSerializer):
    """A language model to add."""

    name = TextField(max_length=80)
    kind = TextField(required=False, max_length=10, help_text="openai (the default) or local.")
    base_url = TextField(
        required=False, allow_blank=True, max_length=2000, help_text="Of a server, up to and with /v1 where it has one."
    )
    model = TextField(max_length=300, help_text="Its name at the server; for local, an entry of LOCAL_MODELS.")
    api_key = TextField(required=False, allow_blank=True, max_length=1000, write_only=True)
    concurrency = _number("concurrency", "Calls at a time of one job.")
    requests_per_minute = _number("requests_per_minute", "Of all jobs together; 0 is without a limit.")
    tokens_per_minute = _number("tokens_per_minute", "An answer counts as long as it may be; 0 is without a limit.")
    max_answer_tokens = _number("max_answer_tokens", "No answer is longer.")
    timeout_seconds = _number("timeout_seconds", "How long one call may take.")
    price_in = _money("price_in", "Per million tokens sent, in a currency of your choice.")
    price_out = _money("price_out", "Per million tokens answered.")
    cost_ceiling = _money("cost_ceiling", "No call is made that could lead above it; null is without.", allow_null=True)


class EndpointChangesSerializer(NewEndpointSerializer):
    """What can be changed; a field left out stays. Another address forgets the key unless it comes along."""

    name = TextField(required=False, max_length=80)
    model = TextField(required=False, max_length=300)
