"""Language models that people may ask, what was answered, and every call that was made."""

from decimal import Decimal

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.models import Created

PER_MILLION = Decimal(1_000_000)


class ModelEndpoint(Created):
    """A language model with the key, the limits and the prices of one person. Its key is never given back."""

    class Kind(models.TextChoices):
        OPENAI = "openai", _("A server that speaks OpenAI's protocol")
        LOCAL = "local", _("A model in the gpu worker")

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="model_endpoints")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.OPENAI)
    base_url = models.CharField(max_length=2000, blank=True)
    model = models.CharField(max_length=300)
    encrypted_key = models.TextField(blank=True)
    concurrency = models.PositiveSmallIntegerField(default=4, help_text="Calls at a time of one job.")
    requests_per_minute = models.PositiveIntegerField(default=0, help_text="0 is without a limit.")
    tokens_per_minute = models.PositiveIntegerField(default=0, help_text="0 is without a limit.")
    max_answer_tokens = models.PositiveIntegerField(default=4096)
    timeout_seconds = models.PositiveIntegerField(default=120)
    price_in = models.DecimalField(max_digits=12, decimal_places=4, default=0, help_text="Per million tokens sent.")
    price_out = models.DecimalField(
        max_digits=12, decimal_places=4, default=0, help_text="Per million tokens answered."
    )
    cost_ceiling = models.DecimalField(max_digits=12, decimal_places=4, null=True, help_text="Null is without one.")
    spent = models.DecimalField(max_digits=16, decimal_places=8, default=0)
    test_wanted_at = models.DateTimeField(null=True, help_text="Set while the gpu worker is still to test it.")
    tested_at = models.DateTimeField(null=True)
    test_result = models.JSONField(null=True)

    class Meta:
        verbose_name = "model endpoint"
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_endpoint_per_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def identity(self) -> str:
        """Return what answers depend on beside the question: whom it is asked."""
        return f"{self.kind} {self.base_url} {self.model}"

    def cost(self, tokens_in: int, tokens_out: int) -> Decimal:
        """Return the price of a call, to eight decimals."""
        exact = (Decimal(tokens_in) * self.price_in + Decimal(tokens_out) * self.price_out) / PER_MILLION
        return exact.quantize(Decimal("0.00000001"))


class ModelAnswer(Created):
    """What was answered to one request, so that nobody pays for it twice; unanswered while somebody asks.

    Who asks holds the row until `held_until`. When that has passed it may be asked again; a killed worker's successor
    (the same holder up to the colon) need not wait. `reserved` is what the call may cost at most.
    """

    endpoint = models.ForeignKey(ModelEndpoint, on_delete=models.CASCADE, related_name="answers")
    request_hash = models.CharField(max_length=64)
    holder = models.CharField(max_length=60)
    held_until = models.DateTimeField()
    reserved = models.DecimalField(max_digits=16, decimal_places=8, default=0)
    answered_at = models.DateTimeField(null=True)
    text = models.TextField(blank=True)
    reasoning = models.TextField(blank=True)
    truncated = models.BooleanField(default=False)
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = "answer of a model"
        verbose_name_plural = "answers of models"
        constraints = [models.UniqueConstraint(fields=["endpoint", "request_hash"], name="one_answer_per_request")]
        indexes = [
            models.Index(
                fields=["endpoint", "held_until"],
                condition=models.Q(answered_at__isnull=True),
                name="answers_under_way",
            )
        ]

    def __str__(self) -> str:
        return self.request_hash[:12]


class ModelCall(Created):
    """One request that was sent, with what it took and cost: the log. It has no texts and no keys."""

    endpoint = models.ForeignKey(ModelEndpoint, on_delete=models.CASCADE, related_name="calls")
    purpose = models.CharField(max_length=40)
    job_number = models.BigIntegerField(null=True, help_text="The id of the job; no key: jobs are an app above.")
    request_hash = models.CharField(max_length=64)
    attempt = models.PositiveSmallIntegerField(default=1)
    seconds = models.FloatField()
    status = models.PositiveIntegerField(null=True, help_text="HTTP status of a refusal.")
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    cost = models.DecimalField(max_digits=16, decimal_places=8, default=0)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name = "call to a model"
        verbose_name_plural = "calls to models"
        indexes = [
            models.Index(fields=["endpoint", "-id"], name="calls_of_an_endpoint"),
            models.Index(fields=["job_number"], condition=models.Q(job_number__isnull=False), name="calls_of_a_job"),
            models.Index(fields=["created_at"], name="calls_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.pk}"
