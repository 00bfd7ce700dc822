"""HelpSteer2's and HelpSteer3's rows, and what ratings alone imply.

Field names: the data cards of huggingface.co/datasets/nvidia/HelpSteer2 and …/HelpSteer3; arXiv 2406.08673,
2410.01257, 2505.11475.
"""

import re

from django.utils.translation import gettext_noop as _

from apps.exports.encodings import Column
from apps.exports.shapes import MESSAGES, TEXT_PAIR, Format, LeftOut, Row, agreed, metadata_text, text_pair
from worker.core.consensus import round_half_away

HELPSTEER2_ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
HELPFULNESS_SPREAD = 2
NEITHER_CODE = -100
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])")
_NAME = "response"
_VERDICT = re.compile(
    r"@?Response [12]\b.*\b(?:better|worse|prefer)|\b(?:better|prefer)\b.*@?Response [12]\b", re.I | re.S
)
_COMPARISON = re.compile(
    r"@?Response [12]\b.*\b(?:more|less|stronger|weaker|superior|inferior|not as)\b"
    r"|\b(?:more|less|stronger|weaker|superior|inferior|not as)\b.*@?Response [12]\b",
    re.I | re.S,
)


def helpsteer2_preference(row: Row) -> list[Row]:
    """Return one HelpSteer2 preference row; ties (0) stay in, as in the released file, whose second split is "val"."""
    strength = agreed(row)
    kept = [_most_similar(annotation) for annotation in row["annotations"] if annotation["kept"]]
    return [
        {
            "split": "val" if row["split"] == "validation" else row["split"],
            "prompt": helpsteer2_prompt(row["messages"]),
            "response_1": row["responses"][0]["text"],
            "response_2": row["responses"][1]["text"],
            "preference_strength": strength,
            "preference_statement": kept[0]["statement"],
            "preference_elaboration": kept[0]["elaboration"],
            "three_most_similar_preferences": kept,
            "all_preferences_unprocessed": [
                {"strength": _code(annotation["preference"]), "justification": annotation["justification"]}
                for annotation in row["annotations"]
            ],
        }
    ]


def helpsteer2_ratings(row: Row) -> list[Row]:
    """Return two rows, one per response: the kept annotators' ratings, averaged and rounded (HelpSteer2 §2)."""
    sides = _mean_ratings(row)
    prompt = helpsteer2_prompt(row["messages"])
    return [{"prompt": prompt, "response": row["responses"][side]["text"], **sides[side]} for side in (0, 1)]


def helpsteer2_disagreements(row: Row) -> list[Row]:
    """Return the same two rows with every annotator's value, in order of submission, also where they differ widely."""
    agreed(row)
    everybody = _complete_ratings(row["annotations"])
    prompt = helpsteer2_prompt(row["messages"])
    return [
        {
            "prompt": prompt,
            "response": row["responses"][side]["text"],
            **{name: [ratings[side][name] for ratings in everybody] for name in HELPSTEER2_ATTRIBUTES},
        }
        for side in (0, 1)
    ]


def helpsteer3_preference(row: Row) -> list[Row]:
    """Return one HelpSteer3 preference row; ties (0) stay in. Domain and language are the metadata's."""
    overall = agreed(row)
    first, second = row["responses"]
    return [
        {
            "domain": metadata_text(row, "domain", "general"),
            "language": metadata_text(row, "language", "english"),
            "context": row["messages"],
            "response1": first["text"],
            "response2": second["text"],
            "overall_preference": overall,
            "individual_preference": [
                {
                    "score": _code(annotation["preference"]),
                    "reasoning": annotation["justification"],
                    "feedback1": _feedback(row, annotation, "feedback1"),
                    "feedback2": _feedback(row, annotation, "feedback2"),
                }
                for annotation in row["annotations"]
                if annotation["kept"]
            ],
        }
    ]


def _feedback(row: Row, annotation: Row, name: str) -> str | None:
    """Return what an imported vote said of a response: metadata have such texts by the vote's position."""
    texts, (before, _mark, position) = row["metadata"].get(name), annotation["annotator"].partition("position ")
    if before or not isinstance(texts, list) or not position.isdecimal() or not 0 < int(position) <= len(texts):
        return None
    text = texts[int(position) - 1]
    return text if isinstance(text, str) else None


def ratings_derived_preference(row: Row) -> list[Row]:
    """Return the pair that the helpfulness ratings imply, to compare preference labels with (HelpSteer2 §4.3)."""
    first, second = (ratings["helpfulness"] for ratings in _mean_ratings(row))
    if first == second:
        raise LeftOut("equal helpfulness")
    texts = [response["text"] for response in row["responses"]]
    chosen, rejected = texts if first > second else texts[::-1]
    return [text_pair(row, chosen, rejected, float(abs(first - second)))]


def helpsteer2_prompt(messages: list[dict[str, str]]) -> str:
    """Return a conversation in HelpSteer2's own markers: the first user turn bare, then marked turns."""
    first, *rest = messages if messages[0]["role"] == "user" else [{"role": "user", "content": ""}, *messages]
    return first["content"] + "".join(
        f"\n<extra_id_1>{message['role'].capitalize()}\n{message['content']}" for message in rest
    )


def split_justification(text: str) -> tuple[str, str]:
    """Split a justification into (statement, elaboration): the first sentence with a verdict, and the rest.

    Without a verdict, the first sentence that compares the responses; without that, the first one. HelpSteer2's
    released example also drops a second verdict at the end; its rule is not published, so this is ours.
    """
    sentences = [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]
    if not sentences:
        return "", ""
    # Both patterns name a response; looking for the word first costs a tenth of a search.
    naming = [(position, sentence) for position, sentence in enumerate(sentences) if _NAME in sentence.casefold()]
    verdicts = [position for position, sentence in naming if _VERDICT.search(sentence)]
    comparing = (position for position, sentence in naming if _COMPARISON.search(sentence))
    first = verdicts[0] if verdicts else next(comparing, 0)
    rest = sentences[:first] + sentences[first + 1 :]
    if len(verdicts) > 1 and verdicts[-1] == len(sentences) - 1:
        rest = rest[:-1]
    return sentences[first], " ".join(rest)


def _most_similar(annotation: Row) -> Row:
    statement, elaboration = split_justification(annotation["justification"])
    return {"statement": statement, "elaboration": elaboration, "strength": _code(annotation["preference"])}


def _code(preference: int | str) -> int:
    return NEITHER_CODE if preference == "neither" else int(preference)


def _complete_ratings(annotations: list[Row]) -> list[list[dict[str, int]]]:
    rated = [annotation["ratings"] for annotation in annotations if all(annotation["ratings"])]
    if not rated:
        raise LeftOut("without ratings")
    if any(name not in ratings[side] for ratings in rated for side in (0, 1) for name in HELPSTEER2_ATTRIBUTES):
        raise LeftOut("without all five HelpSteer2 attributes")
    return rated


def _mean_ratings(row: Row) -> list[dict[str, int]]:
    """Return the kept annotators' mean per response and attribute, rounded; left out where they differ too widely."""
    agreed(row)
    kept = _complete_ratings([annotation for annotation in row["annotations"] if annotation["kept"]])
    for side in (0, 1):
        helpfulness = [ratings[side]["helpfulness"] for ratings in kept]
        if max(helpfulness) - min(helpfulness) > HELPFULNESS_SPREAD:
            raise LeftOut("helpfulness spreads by more than 2")
    return [
        {
            name: round_half_away(sum(ratings[side][name] for ratings in kept), len(kept))
            for name in HELPSTEER2_ATTRIBUTES
        }
        for side in (0, 1)
    ]


_HELPSTEER2: dict[str, Column] = {
    "split": "string",
    "prompt": "string",
    "response_1": "string",
    "response_2": "string",
    "preference_strength": "int",
    "preference_statement": "string",
    "preference_elaboration": "string",
    "three_most_similar_preferences": [{"statement": "string", "elaboration": "string", "strength": "int"}],
    "all_preferences_unprocessed": [{"strength": "int", "justification": "string"}],
}
_HELPSTEER3: dict[str, Column] = {
    "domain": "string",
    "language": "string",
    "context": MESSAGES,
    "response1": "string",
    "response2": "string",
    "overall_preference": "int",
    "individual_preference": [{"score": "int", "reasoning": "string", "feedback1": "string", "feedback2": "string"}],
}
_RATED: dict[str, Column] = {"prompt": "string", "response": "string"}

HELPSTEER: dict[str, Format] = {
    "helpsteer2-preference": Format(
        helpsteer2_preference, _HELPSTEER2, _("HelpSteer2's preference rows with statements and elaborations."), True
    ),
    "helpsteer2-ratings": Format(
        helpsteer2_ratings,
        {**_RATED, **dict.fromkeys(HELPSTEER2_ATTRIBUTES, "int")},
        _("HelpSteer2's ratings: two consecutive rows per prompt."),
        True,
    ),
    "helpsteer2-disagreements": Format(
        helpsteer2_disagreements,
        {**_RATED, **{name: ["int"] for name in HELPSTEER2_ATTRIBUTES}},
        _("The ratings of every annotator as lists."),
        True,
    ),
    "helpsteer3-preference": Format(
        helpsteer3_preference, _HELPSTEER3, _("HelpSteer3's preference rows with their domain and language."), True
    ),
}
FROM_RATINGS: dict[str, Format] = {
    "ratings-derived-preference": Format(
        ratings_derived_preference, TEXT_PAIR, _("Pairs that the helpfulness ratings imply: a baseline."), True
    ),
}
