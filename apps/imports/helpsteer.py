"""HelpSteer2 and HelpSteer3 rows (arXiv 2406.08673, 2410.01257, 2505.11475) as import rows.

Released labels have positions, not names: what stands first in one row and in the next need not be the same person.
"""

from collections.abc import Callable
from typing import Any

from apps.core.json_values import whole
from apps.imports.conversations import Row, conversation, kept, marked_turns
from apps.imports.rows import BadRow

NEITHER_CODE = -100
RATINGS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
HELPSTEER2_COLUMNS = (
    "prompt",
    "response_1",
    "response_2",
    "preference_strength",
    "preference_statement",
    "preference_elaboration",
    "three_most_similar_preferences",
    "all_preferences_unprocessed",
)
"""Statements, elaborations and the most similar votes say again what is in the votes."""
HELPSTEER3_COLUMNS = (
    "domain",
    "language",
    "context",
    "response1",
    "response2",
    "overall_preference",
    "individual_preference",
)


def helpsteer2_preference(row: Row) -> list[Row]:
    """Return a HelpSteer2-Preference row, with a label for each vote."""
    votes = row.get("all_preferences_unprocessed") or row.get("three_most_similar_preferences")
    return [
        {
            "external_id": row.get("external_id"),
            "messages": marked_turns(row.get("prompt"), "/prompt"),
            "responses": [{"text": row.get("response_1")}, {"text": row.get("response_2")}],
            "metadata": kept(row, "split", "preference_strength"),
            "annotations": _labels(
                votes, "/all_preferences_unprocessed", "strength", _justification, row.get("preference_strength")
            ),
        }
    ]


def _justification(vote: Row) -> Any:
    if "justification" in vote:
        return vote["justification"]
    return " ".join(str(part) for part in (vote.get("statement"), vote.get("elaboration")) if part)


def helpsteer3_preference(row: Row) -> list[Row]:
    """Return a HelpSteer3 row, with a label for each vote; what votes say of each response becomes metadata."""
    votes = row.get("individual_preference")
    labels = _labels(
        votes,
        "/individual_preference",
        "score",
        lambda vote: vote.get("reasoning") or "",
        row.get("overall_preference"),
    )
    return [
        {
            "external_id": row.get("external_id"),
            "messages": conversation(row.get("context"), "/context"),
            "responses": [{"text": row.get("response1")}, {"text": row.get("response2")}],
            "metadata": kept(row, "domain", "language", "split", "overall_preference") | _feedback(votes or []),
            "annotations": labels,
        }
    ]


def _feedback(votes: list[Row]) -> Row:
    """Return the texts about each response, by column and in the order of the votes; nothing where there are none."""
    found = {}
    for name in ("feedback1", "feedback2"):
        texts = [vote.get(name) for vote in votes]
        for index, text in enumerate(texts):
            if text is not None and not isinstance(text, str):
                raise BadRow(f"/individual_preference/{index}/{name}", "Expected text or null.")
        if any(texts):
            found[name] = texts
    return found


def _labels(votes: Any, pointer: str, score: str, justification: Callable[[Row], Any], overall: Any) -> list[Row]:
    """Return the labels of a released row: one per vote, named by its position; the overall value where votes lack."""
    if votes is not None and not isinstance(votes, list):
        raise BadRow(pointer, "Expected a list.")
    if not votes:
        votes = [] if overall is None else [{score: overall}]
    labels = []
    for index, vote in enumerate(votes):
        if not isinstance(vote, dict):
            raise BadRow(f"{pointer}/{index}", "Expected an object.")
        strength = whole(vote.get(score))
        if strength is None or not (-3 <= strength <= 3 or strength == NEITHER_CODE):
            raise BadRow(f"{pointer}/{index}/{score}", f"Expected -3 to 3, or {NEITHER_CODE} for neither valid.")
        text = justification(vote)
        if text is not None and not isinstance(text, str):
            raise BadRow(f"{pointer}/{index}", "Expected the justification to be text.")
        labels.append(
            {
                "annotator": f"position {index + 1}",
                "preference": "neither" if strength == NEITHER_CODE else strength,
                "justification": text or "",
            }
        )
    return labels


def rated_pair(first: Row, second: Row) -> list[Row]:
    """Return two rating rows of one prompt as a pair, with a label for each annotator.

    Of the disagreements, a response may have one rating less, where an annotator could not rate it: what has no partner
    gives no label, and stays in the metadata.
    """
    sides = [_ratings(first), _ratings(second)]
    labels = []
    for index, (left, right) in enumerate(zip(*sides, strict=False)):
        # Rating rows name no preference: the difference in helpfulness is HelpSteer2-Preference's own baseline.
        difference = right["helpfulness"] - left["helpfulness"]
        preference = max(-3, min(3, difference))
        labels.append({"annotator": f"position {index + 1}", "preference": preference, "ratings": [left, right]})
    unpaired = [side[len(labels) :] for side in sides]
    return [
        {
            "external_id": first.get("external_id"),
            "messages": marked_turns(first.get("prompt"), "/prompt"),
            "responses": [{"text": first.get("response")}, {"text": second.get("response")}],
            "metadata": {
                **kept(first, "split"),
                "preference_from": "helpfulness",
                **({"unpaired_ratings": unpaired} if any(unpaired) else {}),
            },
            "annotations": labels,
        }
    ]


def _ratings(row: Row) -> list[dict[str, int]]:
    """Return one response's ratings, by annotator: lists come from the disagreements file."""
    columns = {name: row[name] for name in RATINGS if row.get(name) is not None}
    if "helpfulness" not in columns:
        raise BadRow("/helpfulness", "Expected a whole number from 0 to 4, or a list of them.")
    given = {name: value if isinstance(value, list) else [value] for name, value in columns.items()}
    if len({len(values) for values in given.values()}) > 1:
        raise BadRow("/helpfulness", "The attributes have lists of different lengths.")
    lists = {}
    for name, values in given.items():
        lists[name] = [number for value in values if (number := whole(value)) is not None and 0 <= number <= 4]
        if len(lists[name]) != len(values):
            raise BadRow(f"/{name}", "Expected a whole number from 0 to 4, or a list of them.")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
