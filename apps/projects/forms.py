"""Forms of a project."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.core.errors import FieldError
from apps.projects.models import Membership, Project
from apps.projects.protocol import NUMBERS


class MemberForm(forms.Form):
    """A new member."""

    username = forms.CharField(label=_("User name"), max_length=150)
    role = forms.ChoiceField(label=_("Role"), choices=Membership.Role.choices, initial=Membership.Role.ANNOTATOR)


class GuidelineForm(forms.Form):
    """A new version of the guideline."""

    text = forms.CharField(
        label=_("Text (Markdown)"), max_length=100_000, required=False, widget=forms.Textarea(attrs={"rows": 24})
    )


class SettingsForm(forms.Form):
    """The name of a project, and the numbers and switches of its protocol; its wordings are changed by REST."""

    NUMBERS: ClassVar[dict[str, tuple[Promise, Promise | str]]] = {
        "annotators": (_("Annotators for every comparison"), ""),
        "max_annotators": (_("At most, when they disagree"), ""),
        "spread_limit": (_("Largest spread of preferences"), _("Of the three most similar ones, from −3 to 3.")),
        "flags_to_close": (_("Flags that close a comparison"), _("So many people call it invalid.")),
        "lease_minutes": (_("Minutes to answer"), _("Saving a draft begins them anew.")),
        "undo_minutes": (_("Minutes to change an answer"), _("0: not at all.")),
        "annotations_per_person": (_("Comparisons of one person"), _("0: no limit.")),
        "annotations_per_day": (_("Comparisons of one person in a day"), _("0: no limit.")),
        "control_rate": (_("Share of control items"), _("Comparisons with a known answer, from 0 to 0.5.")),
        "repeat_rate": (_("Share of repeats"), _("One’s own comparisons once more, from 0 to 0.5.")),
    }
    name = forms.CharField(label=_("Name"), max_length=120)
    least_words = forms.IntegerField(label=_("Fewest words of a justification"), min_value=0, max_value=10_000)
    most_words = forms.IntegerField(label=_("Most words"), min_value=0, max_value=10_000)
    confidence = forms.BooleanField(label=_("Ask how sure the annotator is"), required=False)

    def __init__(self, data: Any = None, *, project: Project) -> None:
        protocol = project.protocol
        shown: dict[str, Any] = {name: getattr(protocol, name) for name in self.NUMBERS}
        least, most = protocol.justification_words
        shown |= {"name": project.name, "least_words": least, "most_words": most}
        super().__init__(data, initial={**shown, "confidence": bool(protocol.confidence)})
        self._before = protocol
        for name, (label, help_text) in self.NUMBERS.items():
            kind, low, high = NUMBERS[name]
            field: Any = forms.IntegerField if kind is int else forms.FloatField
            self.fields[name] = field(label=label, help_text=help_text, min_value=low, max_value=high)

    def changes(self) -> dict[str, Any]:
        """Return the settings of the protocol that differ from what they were; None stands for the default."""
        values = {name: self.cleaned_data[name] for name in self.NUMBERS}
        changed: dict[str, Any] = {
            name: value for name, value in values.items() if value != getattr(self._before, name)
        }
        words = (self.cleaned_data["least_words"], self.cleaned_data["most_words"])
        if words != self._before.justification_words:
            changed["justification_words"] = list(words)
        if self.cleaned_data["confidence"] is not bool(self._before.confidence):
            changed["confidence"] = None if self.cleaned_data["confidence"] else []
        return changed

    def add_errors(self, errors: Iterable[FieldError]) -> None:
        """Show what the service refused at the fields it is about."""
        for error in errors:
            name = error.pointer.rsplit("/", 1)[-1].replace("justification_words", "most_words")
            self.add_error(name if name in self.fields else None, gettext(error.detail))
