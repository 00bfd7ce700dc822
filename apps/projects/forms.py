"""Forms of a project."""

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.projects.models import Membership


class MemberForm(forms.Form):
    """A new member."""

    username = forms.CharField(label=_("User name"), max_length=150)
    role = forms.ChoiceField(label=_("Role"), choices=Membership.Role.choices, initial=Membership.Role.ANNOTATOR)


class GuidelineForm(forms.Form):
    """A new version of the guideline."""

    text = forms.CharField(
        label=_("Text (Markdown)"), max_length=100_000, required=False, widget=forms.Textarea(attrs={"rows": 24})
    )
