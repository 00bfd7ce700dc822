"""Export formats: each turns one frozen `annotations` row into the rows of another tool's file."""

from django.utils.translation import gettext_noop as _

from apps.exports.encodings import Column
from apps.exports.helpsteer import FROM_RATINGS, HELPSTEER
from apps.exports.shapes import MESSAGES, Format, LeftOut, Row
from apps.exports.trainers import TRAINERS


def annotations(row: Row) -> list[Row]:
    """Return everything: the frozen row itself."""
    return [row]


_ANNOTATION: dict[str, Column] = {
    "annotator": "string",
    "preference": "label",
    "ratings": ["json"],
    "justification": "string",
    "shown_order": ["int"],
    "kept": "bool",
    "revision": "int",
    "imported": "bool",
    "guideline_version": "int",
    "problems": [["string"]],
    "confidence": "int",
    "active_seconds": "int",
    "paste_share": "float",
    "propensity": "float",
    "submitted_at": "string",
}
_FROZEN: dict[str, Column] = {
    "external_id": "string",
    "split": "string",
    "prompt_hash": "string",
    "messages": MESSAGES,
    "responses": [{"text": "string", "model": "string"}],
    "reference": "string",
    "metadata": "json",
    "gold": "int",
    "consensus": {
        "preference": "label",
        "status": "string",
        "excluded_reason": "string",
        "spread": "int",
        "rule": "string",
    },
    "annotations": [_ANNOTATION],
}

EVERYTHING: dict[str, Format] = {
    "annotations": Format(
        annotations,
        _FROZEN,
        _("Everything: each label with its provenance, the consensus, and why a row is excluded."),
        True,
    ),
}
RULE_VERDICTS = "rule-verdicts"
VERDICTS = ("yes", "no", "not_applicable", "unreadable")
_OF_RESPONSE: dict[str, Column] = {"score": "float", **{verdict: ["int"] for verdict in VERDICTS}}


def rule_verdicts(row: Row) -> list[Row]:
    """Return what the rules say of both responses, or raise LeftOut where neither has been scored."""
    if row["responses"] == [None, None]:
        raise LeftOut("not scored by the rules")
    return [row]


ON_DEMAND: dict[str, Format] = {
    RULE_VERDICTS: Format(
        rule_verdicts,
        {
            "external_id": "string",
            "split": "string",
            "prompt_hash": "string",
            "preference": "label",
            "rule_set": "int",
            "responses": [_OF_RESPONSE],
        },
        _("What the active rules say of each response: numbers of rules, and the score they give."),
        reads="verdicts",
    ),
}
"""Formats that are written where a selection asks for what they hold."""
FORMATS: dict[str, Format] = {**EVERYTHING, **HELPSTEER, **TRAINERS, **FROM_RATINGS}
"""Every format by its name, in the order in which pages list them."""
KNOWN_FORMATS: dict[str, Format] = {**FORMATS, **ON_DEMAND}
