"""Forms of language models."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.core.errors import FieldError
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.services import RANGES


def _number(name: str, label: Any, initial: int, help_text: Any = "") -> forms.IntegerField:
    least, most = RANGES[name]
    return forms.IntegerField(
        label=label, min_value=least, max_value=most, initial=initial, required=False, help_text=help_text
    )


def _money(name: str, label: Any, help_text: Any = "") -> forms.DecimalField:
    least, most = RANGES[name]
    return forms.DecimalField(
        label=label,
        min_value=least,
        max_value=most,
        max_digits=12,
        decimal_places=4,
        required=False,
        help_text=help_text,
        widget=forms.NumberInput(attrs={"step": "any"}),
    )


class EndpointForm(forms.Form):
    """A language model: where it is, who it is, how fast it may be asked and what it costs."""

    name = forms.CharField(label=_("Name"), max_length=80)
    kind = forms.ChoiceField(label=_("What it is"), choices=ModelEndpoint.Kind.choices)
    base_url = forms.CharField(
        label=_("Address"),
        max_length=2000,
        required=False,
        help_text=_("Of a server, up to and with /v1 where it has one; nothing for a model in the gpu worker."),
        widget=forms.URLInput(attrs={"placeholder": "https://…/v1", "autocomplete": "off", "spellcheck": "false"}),
    )
    model = forms.CharField(label=_("Model"), max_length=300, widget=forms.TextInput(attrs={"spellcheck": "false"}))
    api_key = forms.CharField(
        label=_("Key"),
        max_length=1000,
        required=False,
        help_text=_("Stored encrypted and never shown again. Empty keeps the one that is stored."),
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    concurrency = _number("concurrency", _("Calls at a time"), 4)
    requests_per_minute = _number("requests_per_minute", _("Calls a minute"), 0, _("0 is without a limit."))
    tokens_per_minute = _number("tokens_per_minute", _("Tokens a minute"), 0, _("0 is without a limit."))
    max_answer_tokens = _number("max_answer_tokens", _("Tokens of an answer at most"), 4096)
    timeout_seconds = _number("timeout_seconds", _("Seconds of a call at most"), 120)
    price_in = _money("price_in", _("Price of a million tokens sent"))
    price_out = _money("price_out", _("Price of a million tokens answered"))
    cost_ceiling = _money(
        "cost_ceiling", _("Cost ceiling"), _("No call is made that could lead above it. Empty is without.")
    )

    def values(self) -> dict[str, Any]:
        """Return what the services take; an empty key is none to change, an empty number the usual one."""
        values = dict(self.cleaned_data)
        if not values["api_key"]:
            del values["api_key"]
        usual = {name: field.initial or 0 for name, field in self.fields.items() if name in RANGES}
        for name in RANGES.keys() - {"cost_ceiling"}:
            values[name] = usual[name] if values[name] is None else values[name]
        return values

    def add_errors(self, errors: Iterable[FieldError]) -> None:
        """Show what the service refused at the fields it is about."""
        for error in errors:
            self.add_error(error.pointer.split("/")[1], error.detail)
