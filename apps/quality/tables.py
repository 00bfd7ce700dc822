"""The figures in the rows of the pages' tables, each with its name and one line on what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from worker.core.shares import share_of

Words = str | Promise


@dataclass(frozen=True)
class Row:
    """A figure's name, what it says, and its cells."""

    name: Words
    explanation: Words
    cells: list[Any]


STAGES = ("raw", "most_similar", "after_consensus")
_SHARES_OF_PAIRS: list[tuple[str, Words, Words]] = [
    ("same_side", _("Same side"), _("pairs of answers that prefer the same response")),
    ("exact", _("Same preference"), _("pairs of answers that are the same on the whole scale")),
]
_COEFFICIENTS: list[tuple[str, Words, Words]] = [
    (
        "kappa_quadratic",
        _("Cohen’s κ, quadratic"),
        _("over all pairs, far apart counts more; as HelpSteer2 reports it"),
    ),
    ("kappa_linear", _("Cohen’s κ, linear"), _("the same, twice as far apart counts twice")),
    ("kappa", _("Cohen’s κ"), _("the same answer or not")),
    ("fleiss", _("Fleiss’ κ"), _("the same answer or not, each comparison alike")),
    ("alpha_ordinal", _("Krippendorff’s α, ordinal"), _("preferences in their order")),
    ("alpha_interval", _("Krippendorff’s α, interval"), _("preferences as numbers")),
    ("alpha_nominal", _("Krippendorff’s α, nominal"), _("the same answer or not")),
]

SHARES: list[tuple[str, Words, Words]] = [
    ("agrees_with_others", _("With others"), _("the side that most of at least two others chose")),
    ("control_items", _("Control items"), _("the known side of hidden control items")),
    ("agrees_with_self", _("With self"), _("the same side when a pair came again")),
    ("first_side", _("Shown first"), _("the response shown first is preferred; orders are drawn, so half is expected")),
    ("longer_side", _("Longer"), _("the longer response is preferred")),
    ("follows_rules", _("With the rules"), _("the response that active rules with high agreement prefer")),
    ("neither", _("Neither"), _("neither response is valid")),
    ("same_ratings", _("One rating"), _("every rating of both responses is the same number")),
    ("pasted", _("Pasted"), _("more than half of the justification was pasted")),
    ("short_justifications", _("Short"), _("the justification is less than half as long as the project’s median")),
    ("repeated_justifications", _("Repeated"), _("the justification repeats an earlier one of the same person")),
    ("skipped", _("Skipped"), _("given back instead of answered")),
    ("flagged", _("Flagged"), _("given back as something that nobody should label")),
]
"""A person's shares, in the order of the table."""
COLUMNS = [each for each in SHARES if each[0] not in {"follows_rules", "short_justifications", "flagged"}]
"""Those that the table of all people has room for."""

REMARKS: dict[str, Words] = {
    "first_side": _("prefers what is shown first"),
    "second_side": _("prefers what is shown second"),
    "longer_side": _("prefers the longer response more often than others do"),
    "shorter_side": _("prefers the shorter response more often than others do"),
    "disagrees_with_others": _("agrees with others less than they do among themselves"),
    "against_rules": _("chooses against rules that most people follow, more often than others do"),
    "misses_control_items": _("answers control items otherwise than known, more often than others do"),
    "disagrees_with_self": _("answers repeated pairs otherwise, more often than others do"),
    "same_ratings": _("gives one rating to everything more often than others do"),
    "neither": _("says neither valid more often than others do"),
    "pasted": _("pastes justifications more often than others do"),
    "repeated_justifications": _("repeats justifications more often than others do"),
}
PREFERENCES = ("-3", "-2", "-1", "0", "1", "2", "3", "neither")


def share_rows(agreement: dict[str, Any]) -> list[Row]:
    """Return agreement in percent, one cell for each stage."""
    return _by_stage(agreement, _SHARES_OF_PAIRS)


def coefficient_rows(agreement: dict[str, Any]) -> list[Row]:
    """Return agreement beyond chance, one cell for each stage."""
    return _by_stage(agreement, _COEFFICIENTS)


def _by_stage(agreement: dict[str, Any], figures: list[tuple[str, Words, Words]]) -> list[Row]:
    return [
        Row(name, explanation, [agreement[stage][figure] for stage in STAGES]) for figure, name, explanation in figures
    ]


def annotator_rows(annotators: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return people with their shares in the order of the columns."""
    return [{**person, "shares": [person[name] for name, _name, _explanation in COLUMNS]} for person in annotators]


def remarked(annotators: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], list[Words]]]:
    """Return people with the remarks on them in words, those with most first."""
    found = [(person, [REMARKS[name] for name in person["remarks"]]) for person in annotators if person["remarks"]]
    return sorted(found, key=lambda each: -len(each[1]))


def person_rows(person: dict[str, Any], annotators: Sequence[dict[str, Any]]) -> list[Row]:
    """Return one person's shares beside those of all the others together."""
    others = [each for each in annotators if each["id"] != person["id"]]
    rows = []
    for figure, name, explanation in SHARES:
        together = share_of(sum(each[figure]["count"] for each in others), sum(each[figure]["of"] for each in others))
        rows.append(Row(name, explanation, [person[figure], vars(together)]))
    return rows


def preference_rows(person: dict[str, Any], annotators: Sequence[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    """Return how often each preference was given, by this person and by all the others."""
    others = [each for each in annotators if each["id"] != person["id"]]
    mine = person["preferences"]
    theirs = {name: sum(each["preferences"][name] for each in others) for name in PREFERENCES}
    totals = sum(mine.values()), sum(theirs.values())
    return [
        (name.replace("-", "−"), vars(share_of(mine[name], totals[0])), vars(share_of(theirs[name], totals[1])))
        for name in PREFERENCES
        if mine[name] or theirs[name]
    ]
