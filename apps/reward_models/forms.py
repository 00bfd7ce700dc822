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


class SearchForm(forms.Form):
    """Which recipes to try; empty fields are not varied, and with all of them empty the default grid is tried."""

    learning_rate = forms.CharField(label=_("Learning rates"), required=False, max_length=200)
    weight_decay = forms.CharField(label=_("Weight decays"), required=False, max_length=200)
    extrapolation = forms.CharField(label=_("Extrapolation factors"), required=False, max_length=200)
    minutes = forms.IntegerField(label=_("Minutes at most"), min_value=1, max_value=24 * 60, initial=30)

    def clean(self) -> dict[str, Any]:
        """Read the lists of numbers."""
        cleaned = super().clean() or {}
        for name in ("learning_rate", "weight_decay", "extrapolation"):
            try:
                cleaned[name] = [float(text) for text in cleaned.get(name, "").replace(";", " ").split()]
            except ValueError:
                self.add_error(name, _("Write numbers with spaces between them, such as 0.01 0.03."))
        return cleaned

    def chosen(self) -> dict[str, Any]:
        """Return grid and minutes as `start_search` takes them."""
        names = ("learning_rate", "weight_decay", "extrapolation")
        grid = {name: self.cleaned_data[name] for name in names if self.cleaned_data[name]}
        return {"grid": grid or None, "minutes": self.cleaned_data["minutes"]}
