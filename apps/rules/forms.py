"""Forms of rules."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.core.errors import FieldError
from apps.rules.models import Kind, Rule
from apps.rules.services import MAX_SENTENCE
from worker.core.rules.properties import PROPERTIES, YES_NO
from worker.core.rules.statements import LESS, MORE


class RuleForm(forms.Form):
    """What may be changed of one rule: the sentence of a read one, direction and threshold of a measured one."""

    text = forms.CharField(
        label=_("Sentence"), max_length=MAX_SENTENCE, widget=forms.Textarea(attrs={"rows": 2}), required=True
    )
    wants = forms.ChoiceField(label=_("Prefers"), choices=[(MORE, _("More")), (LESS, _("Less"))])
    relative = forms.ChoiceField(
        label=_("In a pair"),
        choices=[("true", _("The one with more, or less")), ("false", _("The one on the right side of the threshold"))],
    )
    threshold = forms.FloatField(
        label=_("Threshold"),
        help_text=_("A response alone satisfies the rule on this side of it. Shares go from 0 to 1."),
    )
    weight = forms.FloatField(
        label=_("Weight"),
        min_value=0.0,
        max_value=1000.0,
        help_text=_("How much the rule counts in the score of its set."),
    )

    def __init__(self, *args: Any, rule: Rule, **kwargs: Any) -> None:
        read = {"text": rule.text, "weight": rule.weight}
        stored = {**rule.parameters, "relative": str(rule.parameters.get("relative", False)).lower()}
        super().__init__(*args, **{"initial": {**read, **stored}, **kwargs})
        self._measured = rule.kind == Kind.PROGRAMMATIC
        left_out = ["text"] if self._measured else ["wants", "relative", "threshold"]
        if self._measured and PROPERTIES[rule.property].unit == YES_NO:
            left_out += ["relative", "threshold"]
        for name in left_out:
            del self.fields[name]

    def changes(self) -> dict[str, Any]:
        """Return what the services take."""
        given = dict(self.cleaned_data)
        changes: dict[str, Any] = {"weight": given.pop("weight")}
        if not self._measured:
            return {**changes, "text": given["text"]}
        if "relative" in given:
            given["relative"] = given["relative"] == "true"
        return {**changes, "parameters": given}

    def add_errors(self, errors: tuple[FieldError, ...]) -> None:
        """Put what a service refused beside its fields."""
        for error in errors:
            name = error.pointer.rsplit("/", 1)[-1]
            self.add_error(name if name in self.fields else None, error.detail)
