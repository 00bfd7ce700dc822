"""Forms of one's own account."""

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import ApiToken


class TokenForm(forms.Form):
    """A new API token."""

    name = forms.CharField(
        label=_("Name"), max_length=100, help_text=_("What it is for, such as the machine it is used on.")
    )
    scope = forms.ChoiceField(label=_("It may"), choices=ApiToken.Scope.choices)
