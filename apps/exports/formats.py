"""Export formats: each turns one frozen `annotations` row into the rows of another tool's file.

Field names and turn markers: HelpSteer2's data card (arXiv 2410.01257) and TRL's dataset formats.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from worker.core.consensus import round_half_away
from worker.core.conversation import prompt_text

Row = dict[str, Any]
HELPSTEER2_ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
HELPFULNESS_SPREAD = 2
NEITHER_CODE = -100
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])")
_VERDICT = re.compile(
    r"@?Response [12]\b.*\b(?:better|worse|prefer)|\b(?:better|prefer)\b.*@?Response [12]\b", re.I | re.S
)


class LeftOut(Exception):
    """The row has no place in this format; the reason is counted in the manifest."""


def annotations(row: Row) -> Iterator[Row]:
    """Yield everything: the frozen row itself."""
    yield row


def helpsteer2_preference(row: Row) -> Iterator[Row]:
    """Yield one HelpSteer2 preference row; ties (0) stay in, as in the released file."""
    strength = _agreed(row)
    kept = [_most_similar(annotation) for annotation in row["annotations"] if annotation["kept"]]
    yield {
        "split": row["split"],
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


def helpsteer2_ratings(row: Row) -> Iterator[Row]:
    """Yield two rows, one per response: the kept annotators' ratings, averaged and rounded.

    Left out when the kept annotators spread by more than 2 on the helpfulness of either response (HelpSteer2 §2).
    """
    _agreed(row)
    kept = [
        annotation["ratings"] for annotation in row["annotations"] if annotation["kept"] and all(annotation["ratings"])
    ]
    if not kept:
        raise LeftOut("without ratings")
    sides = []
    for side in (0, 1):
        if any(name not in ratings[side] for ratings in kept for name in HELPSTEER2_ATTRIBUTES):
            raise LeftOut("without all five HelpSteer2 attributes")
        helpfulness = [ratings[side]["helpfulness"] for ratings in kept]
        if max(helpfulness) - min(helpfulness) > HELPFULNESS_SPREAD:
            raise LeftOut("helpfulness spreads by more than 2")
        sides.append(
            {
                name: round_half_away(sum(ratings[side][name] for ratings in kept), len(kept))
                for name in HELPSTEER2_ATTRIBUTES
            }
        )
    prompt = helpsteer2_prompt(row["messages"])
    for side in (0, 1):
        yield {"prompt": prompt, "response": row["responses"][side]["text"], **sides[side]}


def trl_preference(row: Row) -> Iterator[Row]:
    """Yield TRL's standard preference row with text columns, and the strength as `margin`."""
    strength, chosen, rejected = _chosen_and_rejected(row)
    yield {
        "prompt": prompt_text(row["messages"]),
        "chosen": chosen,
        "rejected": rejected,
        "margin": float(strength),
    }


def trl_preference_conversational(row: Row) -> Iterator[Row]:
    """Yield TRL's conversational preference row."""
    strength, chosen, rejected = _chosen_and_rejected(row)
    yield {
        "prompt": row["messages"],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "margin": float(strength),
    }


FORMATS: dict[str, Callable[[Row], Iterator[Row]]] = {
    "annotations": annotations,
    "helpsteer2-preference": helpsteer2_preference,
    "helpsteer2-ratings": helpsteer2_ratings,
    "trl-preference": trl_preference,
    "trl-preference-conversational": trl_preference_conversational,
}


def helpsteer2_prompt(messages: list[dict[str, str]]) -> str:
    """Return a conversation in HelpSteer2's own markers: the first user turn bare, then marked turns."""
    first, *rest = messages if messages[0]["role"] == "user" else [{"role": "user", "content": ""}, *messages]
    return first["content"] + "".join(
        f"\n<extra_id_1>{message['role'].capitalize()}\n{message['content']}" for message in rest
    )


def split_justification(text: str) -> tuple[str, str]:
    """Split a justification into (statement, elaboration): the first sentence with a verdict, and the rest.

    HelpSteer2's released example also drops a second verdict at the end; its rule is not published, so this is ours.
    """
    sentences = [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]
    if not sentences:
        return "", ""
    verdicts = [position for position, sentence in enumerate(sentences) if _VERDICT.search(sentence)]
    first = verdicts[0] if verdicts else 0
    rest = sentences[:first] + sentences[first + 1 :]
    if len(verdicts) > 1 and verdicts[-1] == len(sentences) - 1:
        rest = rest[:-1]
    return sentences[first], " ".join(rest)


def _most_similar(annotation: Row) -> Row:
    statement, elaboration = split_justification(annotation["justification"])
    return {"statement": statement, "elaboration": elaboration, "strength": _code(annotation["preference"])}


def _code(preference: int | str) -> int:
    return NEITHER_CODE if preference == "neither" else int(preference)


def _agreed(row: Row) -> int:
    consensus = row["consensus"]
    if consensus["status"] != "agreed":
        if consensus["status"] == "excluded":
            closed = str(consensus["excluded_reason"]).startswith("Closed")
            raise LeftOut("closed by a manager or by flags" if closed else "spread too wide")
        raise LeftOut("neither valid" if consensus["status"] == "neither" else "not settled yet")
    return int(consensus["preference"])


def _chosen_and_rejected(row: Row) -> tuple[int, str, str]:
    strength = _agreed(row)
    if strength == 0:
        raise LeftOut("consensus is 0")
    first, second = (response["text"] for response in row["responses"])
    return abs(strength), *((first, second) if strength < 0 else (second, first))
