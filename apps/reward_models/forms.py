"""Forms of retraining and of the queue that the reward model orders."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.imports.options import DATASET_NAME
from apps.projects.models import Project
from apps.reward_models.models import Evaluation, RetrainPolicy


class PolicyForm(forms.ModelForm):
    """When to retrain, and when a new version replaces the current one."""

    class Meta:
        model = RetrainPolicy
        fields = (
            "every_labels",
            "every_hours",
            "promotion",
            "min_gain",
            "min_probability",
            "max_domain_loss",
            "keep_controls",
            "recipe",
        )
        labels = {
            "every_labels": _("After this many new labels"),
            "every_hours": _("After this many hours"),
            "promotion": _("Promote a new version"),
            "min_gain": _("Least gain in accuracy"),
            "min_probability": _("With at least this probability"),
            "max_domain_loss": _("Most that a domain may lose"),
            "keep_controls": _("Keep every control pair"),
            "recipe": _("Recipe (JSON)"),
        }
        widgets = {
            "every_labels": forms.NumberInput(attrs={"min": 1}),
            "recipe": forms.Textarea(attrs={"rows": 4, "class": "mono", "spellcheck": "false"}),
        }

    def clean_recipe(self) -> dict[str, Any]:
        """Let an empty field stand for the default recipe."""
        return self.cleaned_data["recipe"] or {}


class EvaluationForm(forms.Form):
    """What to measure a version on."""

    benchmark = forms.ChoiceField(label=_("Measure on"), choices=Evaluation.Benchmark.choices)
    file = forms.FileField(
        label=_("A file of the benchmark"),
        required=False,
        help_text=_(
            "JSON lines, a JSON array, CSV or Parquet; without one, the published dataset is read from the hub."
        ),
    )
    dataset = forms.RegexField(DATASET_NAME, label=_("Or a dataset in its format"), required=False, max_length=193)
    split = forms.RegexField(r"^\w[\w.-]{0,60}$", label=_("Its split"), required=False)

    def source(self) -> dict[str, Any]:
        """Return what was asked for as the service takes it."""
        given = self.cleaned_data
        dataset = {"name": given["dataset"], "split": given["split"] or "test"} if given["dataset"] else None
        file = given["file"]
        return {
            "benchmark": given["benchmark"],
            "dataset": dataset,
            "file": file,
            "file_name": file.name if file else "",
        }


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
