"""Forms of webhooks."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.core.errors import FieldError
from apps.webhooks.events import CHOICES
from apps.webhooks.services import MAX_DESCRIPTION


class WebhookForm(forms.Form):
    """Where to send what."""

    url = forms.CharField(
        label=_("Address"),
        max_length=2000,
        widget=forms.URLInput(attrs={"placeholder": "https://…", "autocomplete": "off", "spellcheck": "false"}),
    )
    description = forms.CharField(label=_("Description"), max_length=MAX_DESCRIPTION, required=False)
    events = forms.MultipleChoiceField(label=_("Events"), choices=CHOICES, widget=forms.CheckboxSelectMultiple)

    def values(self) -> dict[str, Any]:
        """Return what the services take."""
        return {name: self.cleaned_data[name] for name in ("url", "description", "events")}

    def add_errors(self, errors: Iterable[FieldError]) -> None:
        """Show what the service refused at the fields it is about."""
        for error in errors:
            self.add_error(error.pointer.split("/")[1], error.detail)
