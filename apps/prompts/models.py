"""Prompts, responses and comparisons."""

import hashlib
import json
from typing import Any

from django.db import models

from apps.core.models import Created
from apps.projects.models import Project

canonical_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
"""Return the one canonical spelling of a JSON value. The encoder is made once: that costs more than a short value."""


def json_hash(content: Any) -> str:
    """Return the SHA-256 of a JSON value in its one canonical spelling."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


class Prompt(Created):
    """A conversation that ends with a user turn; the same conversation is stored once per project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts", db_index=False)
    messages = models.JSONField()
    content_hash = models.CharField(max_length=64)

    class Meta:
        # It also finds the prompts of a project: an index of that column alone would only make imports slower.
        constraints = [models.UniqueConstraint(fields=["project", "content_hash"], name="one_prompt_per_content")]

    def __str__(self) -> str:
        return str(self.messages[-1]["content"])[:80]


class Response(Created):
    """One assistant turn that answers a prompt; the same text is stored once per prompt, whoever wrote it."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="responses", db_index=False)
    text = models.TextField()
    content_hash = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["prompt", "content_hash"], name="one_response_per_content")]

    def __str__(self) -> str:
        return self.text[:80]


class Comparison(Created):
    """Two responses to one prompt in their canonical order; the unit of labeling."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons", db_index=False)
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="comparisons")
    response_1 = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="+")
    response_2 = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="+")
    model_1 = models.CharField(max_length=200, blank=True, help_text="Who wrote response 1; annotators never see this.")
    model_2 = models.CharField(
        max_length=200, blank=True, help_text="Who wrote response 2; the same text may be another model's elsewhere."
    )
    external_id = models.CharField(max_length=200)
    reference = models.TextField(blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    gold = models.SmallIntegerField(null=True, help_text="A preference that makes this a hidden control item.")
    import_number = models.BigIntegerField(
        null=True, help_text="The id of the import that made it; no key, since imports are an app above."
    )

    class Meta:
        # The first one also finds the comparisons of a project.
        constraints = [
            models.UniqueConstraint(fields=["project", "external_id"], name="one_comparison_per_external_id"),
            models.CheckConstraint(
                condition=~models.Q(response_1=models.F("response_2")), name="two_different_responses"
            ),
        ]

    def __str__(self) -> str:
        return self.external_id
