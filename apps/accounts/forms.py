"""Forms of one's own account."""

import math
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.accounts.models import ApiToken, User
from apps.accounts.services import DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS
from apps.accounts.sign_in import refusal


class SignInForm(AuthenticationForm):
    """Django's, which says so when nobody looks at passwords from this address for a while."""

    def get_invalid_login_error(self) -> ValidationError:
        """Return why nobody was signed in."""
        left = refusal(self.request)
        if left is None:
            return super().get_invalid_login_error()
        minutes = math.ceil(left.retry_after / 60)
        text = ngettext(
            "Too many failed attempts from your address. Wait %(minutes)s minute before the next one.",
            "Too many failed attempts from your address. Wait %(minutes)s minutes before the next one.",
            minutes,
        )
        return ValidationError(text % {"minutes": minutes}, code="too_many")


class TokenForm(forms.Form):
    """A new API token of a person, for all or some of the projects they are in."""

    name = forms.CharField(
        label=_("Name"), max_length=100, help_text=_("What it is for, such as the machine it is used on.")
    )
    scope = forms.ChoiceField(label=_("It may"), choices=ApiToken.Scope.choices)
    projects = forms.MultipleChoiceField(
        label=_("Only in these projects"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None ticked: in all you are in, now and later."),
    )
    days = forms.IntegerField(
        label=_("Days until it expires"),
        required=False,
        min_value=1,
        max_value=MAX_TOKEN_DAYS,
        initial=DEFAULT_TOKEN_DAYS,
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = user.memberships.order_by("project__name").values_list("project__slug", "project__name")
        self.fields["projects"].choices = list(names)  # type: ignore[attr-defined]
        if not names:
            del self.fields["projects"]

    def clean_days(self) -> int:
        """Return the days, a year unless somebody says otherwise."""
        return self.cleaned_data["days"] or DEFAULT_TOKEN_DAYS

    def clean_projects(self) -> Sequence[str] | None:
        """Return the slugs, or None for all."""
        return self.cleaned_data["projects"] or None
