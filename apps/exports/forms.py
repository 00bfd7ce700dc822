"""Forms of snapshots."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _


class SnapshotForm(forms.Form):
    """A new snapshot with two splits."""

    name = forms.CharField(label=_("Name"), max_length=120)
    train = forms.FloatField(label=_("Share for training"), min_value=0, max_value=1, initial=0.95)
    validation = forms.FloatField(label=_("Share for validation"), min_value=0, max_value=1, initial=0.05)
    seed = forms.IntegerField(
        label=_("Seed"), min_value=0, initial=0, help_text=_("The same seed puts the same prompts in the same split.")
    )

    def clean(self) -> dict[str, Any]:
        """Refuse shares that do not add up."""
        cleaned = super().clean() or {}
        train, validation = cleaned.get("train"), cleaned.get("validation")
        if train is not None and validation is not None and abs(train + validation - 1) > 1e-6:
            self.add_error("validation", _("The two shares must add up to 1."))
        return cleaned

    def body(self) -> dict[str, Any]:
        """Return what the service takes."""
        given = self.cleaned_data
        splits = {"train": given["train"], "validation": given["validation"]}
        return {"name": given["name"], "splits": splits, "seed": given["seed"]}
