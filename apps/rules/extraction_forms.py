"""Forms of extractions with a language model."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.core.errors import FieldError
from apps.endpoints.services import endpoints_of
from apps.rules.extraction import DEFAULT_COMPARISONS, MAX_COMPARISONS, Selection
from worker.core.rule_prompts import ANSWER, REASONING
from worker.core.rules.rewards import MAX_WEIGHT, OFFSET, WEIGHT


class ModelForm(forms.Form):
    """One of a person's language models."""

    endpoint = forms.ChoiceField(label=_("Language model"))

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = endpoints_of(user).order_by("name", "pk").values_list("pk", "name", "model")
        self.models = [(str(pk), f"{name} ({model})") for pk, name, model in rows]
        self.fields["endpoint"].choices = self.models  # type: ignore[attr-defined]

    def add_errors(self, errors: Iterable[FieldError]) -> None:
        """Show what the service refused at the fields it is about."""
        for error in errors:
            self.add_error(error.pointer.split("/")[1], error.detail)


class ExtractionForm(ModelForm):
    """Which comparisons a language model reads, and what is made of its words."""

    comparisons = forms.IntegerField(
        label=_("Comparisons"), min_value=1, max_value=MAX_COMPARISONS, initial=DEFAULT_COMPARISONS
    )
    seed = forms.IntegerField(
        label=_("Seed"),
        min_value=0,
        max_value=2**31 - 1,
        initial=0,
        help_text=_("The same seed chooses the same comparisons."),
    )
    strength = forms.TypedChoiceField(
        label=_("Preference"),
        coerce=int,
        choices=[(1, _("any")), (2, _("better or much better")), (3, _("much better"))],
    )
    max_spread = forms.IntegerField(
        label=_("Spread at most"), min_value=0, max_value=6, required=False, help_text=_("Empty is any.")
    )
    domain = forms.CharField(
        label=_("Domain"), max_length=200, required=False, help_text=_("As in the metadata; empty is any.")
    )
    disagreements = forms.BooleanField(label=_("Only where people and the reward model disagree"), required=False)
    source = forms.ChoiceField(
        label=_("Read rules from"),
        choices=[(REASONING, _("the model's reasoning")), (ANSWER, _("its visible answer"))],
    )
    not_applicable_is_yes = forms.BooleanField(
        label=_("A rule that does not apply counts as satisfied"), required=False, initial=True
    )

    reward_weight = forms.FloatField(
        label=_("Weight of the rule reward"), min_value=0, max_value=MAX_WEIGHT, initial=WEIGHT, required=False
    )
    reward_offset = forms.FloatField(
        label=_("Offset of the rule reward"),
        min_value=0,
        max_value=1,
        initial=OFFSET,
        required=False,
        help_text=_("The share of rules from which on they add to the reward of a response."),
    )

    def selection(self) -> Selection:
        """Return what is to be read; raise InvalidInput."""
        given = {name: self.cleaned_data[name] for name in Selection.__dataclass_fields__}
        for name, default in (("reward_weight", WEIGHT), ("reward_offset", OFFSET)):
            given[name] = default if given[name] is None else given[name]
        return Selection(**given)
