"""Forms of retraining and of the queue that the reward model orders."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.projects.models import Project
from apps.reward_models.models import RetrainPolicy


class PolicyForm(forms.ModelForm):
    """When to retrain, and when a new version replaces the current one."""

    class Meta:
        model = RetrainPolicy
        fields = ("every_labels", "every_hours", "promotion", "min_gain", "recipe")
        labels = {
            "every_labels": _("After this many new labels"),
            "every_hours": _("After this many hours"),
            "promotion": _("Promote a new version"),
            "min_gain": _("Least gain in accuracy"),
            "recipe": _("Recipe (JSON)"),
        }
        widgets = {
            "every_labels": forms.NumberInput(attrs={"min": 1}),
            "recipe": forms.Textarea(attrs={"rows": 4, "class": "mono", "spellcheck": "false"}),
        }

    def clean_recipe(self) -> dict[str, Any]:
        """Let an empty field stand for the default recipe."""
        return self.cleaned_data["recipe"] or {}


class QueueForm(forms.ModelForm):
    """In which order pairs are handed out."""

    class Meta:
        model = Project
        fields = ("queue_order", "random_share")
        labels = {"queue_order": _("Order"), "random_share": _("Share drawn at random (0 to 1)")}
