"""Export formats: each turns one frozen `annotations` row into the rows of another tool's file.

Where field names come from: HelpSteer2 and HelpSteer3, their data cards (huggingface.co/datasets/nvidia/HelpSteer2,
…/HelpSteer3; arXiv 2406.08673, 2410.01257, 2505.11475); TRL 1.16, docs/source/dataset_formats.md; OpenRLHF,
openrlhf/datasets/reward_dataset.py; NeMo RL, docs/guides/rm.md; RewardBench, rewardbench/utils.py; mixed preference
optimisation, trl's DPOTrainer with images and `ref_…_logps`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_noop as _

from apps.exports.encodings import Column
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
_COMPARISON = re.compile(
    r"@?Response [12]\b.*\b(?:more|less|stronger|weaker|superior|inferior|not as)\b"
    r"|\b(?:more|less|stronger|weaker|superior|inferior|not as)\b.*@?Response [12]\b",
    re.I | re.S,
)
_MESSAGES: Column = [{"role": "string", "content": "string"}]


class LeftOut(Exception):
    """The row has no place in this format; the reason is counted in the manifest."""


@dataclass(frozen=True)
class Format:
    """One shape of rows: how it comes from a frozen row, its columns (`apps.exports.encodings`), and what it is for."""

    convert: Callable[[Row], list[Row]]
    columns: dict[str, Column]
    summary: str
    needs_labels: bool = False
    """Whether it reads each label, not only what they add up to."""


def annotations(row: Row) -> list[Row]:
    """Return everything: the frozen row itself."""
    return [row]


# --- HelpSteer2 and HelpSteer3 ---


def helpsteer2_preference(row: Row) -> list[Row]:
    """Return one HelpSteer2 preference row; ties (0) stay in, as in the released file, whose second split is "val"."""
    strength = _agreed(row)
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
    _agreed(row)
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
    overall = _agreed(row)
    first, second = row["responses"]
    return [
        {
            "domain": _metadata_text(row, "domain", "general"),
            "language": _metadata_text(row, "language", "english"),
            "context": row["messages"],
            "response1": first["text"],
            "response2": second["text"],
            "overall_preference": overall,
            "individual_preference": [
                {
                    "score": _code(annotation["preference"]),
                    "reasoning": annotation["justification"],
                    "feedback1": None,
                    "feedback2": None,
                }
                for annotation in row["annotations"]
                if annotation["kept"]
            ],
        }
    ]


# --- TRL ---


def trl_preference(row: Row) -> list[Row]:
    """Return TRL's standard preference row with an explicit prompt, and the strength as `margin`."""
    strength, chosen, rejected = _chosen_and_rejected(row)
    return [_text_pair(row, chosen, rejected, float(strength))]


def trl_preference_conversational(row: Row) -> list[Row]:
    """Return TRL's conversational preference row with an explicit prompt."""
    strength, chosen, rejected = _chosen_and_rejected(row)
    return [
        {"prompt": row["messages"], "chosen": _turn(chosen), "rejected": _turn(rejected), "margin": float(strength)}
    ]


def trl_preference_implicit(row: Row) -> list[Row]:
    """Return TRL's standard preference row with an implicit prompt: both texts begin with it, and none is a column."""
    strength, chosen, rejected = _chosen_and_rejected(row)
    prompt = prompt_text(row["messages"])
    return [{"chosen": f"{prompt}\n\n{chosen}", "rejected": f"{prompt}\n\n{rejected}", "margin": float(strength)}]


def trl_preference_implicit_conversational(row: Row) -> list[Row]:
    """Return TRL's conversational preference row with an implicit prompt: two whole conversations."""
    strength, chosen, rejected = _chosen_and_rejected(row)
    messages = row["messages"]
    return [
        {"chosen": messages + _turn(chosen), "rejected": messages + _turn(rejected), "margin": float(strength)},
    ]


def trl_unpaired(row: Row) -> list[Row]:
    """Return TRL's unpaired preference rows, for KTO and BCO: the better response is good, the other one is not."""
    _strength, chosen, rejected = _chosen_and_rejected(row)
    prompt = prompt_text(row["messages"])
    return [
        {"prompt": prompt, "completion": completion, "label": label}
        for completion, label in ((chosen, True), (rejected, False))
    ]


def trl_unpaired_conversational(row: Row) -> list[Row]:
    """Return TRL's unpaired preference rows as conversations."""
    _strength, chosen, rejected = _chosen_and_rejected(row)
    return [
        {"prompt": row["messages"], "completion": _turn(completion), "label": label}
        for completion, label in ((chosen, True), (rejected, False))
    ]


# --- Others ---


def nemo_rl(row: Row) -> list[Row]:
    """Return a NeMo RL ranking row: completions with their rank, the lower one preferred (docs/guides/rm.md)."""
    _strength, chosen, rejected = _chosen_and_rejected(row)
    completions = [{"rank": rank, "completion": _turn(text)} for rank, text in enumerate((chosen, rejected))]
    return [{"context": row["messages"], "completions": completions}]


def rewardbench(row: Row) -> list[Row]:
    """Return a RewardBench row; the subset, or else the domain, is what accuracies are reported by.

    Rows that were imported from such a file have their subset before their id, which is unique in its subset only.
    """
    _strength, chosen, rejected = _chosen_and_rejected(row)
    better, worse = row["responses"] if strength_favours_first(row) else row["responses"][::-1]
    subset = _metadata_text(row, "subset", "")
    return [
        {
            "id": row["external_id"].removeprefix(f"{subset}-") if subset else row["external_id"],
            "subset": subset or _metadata_text(row, "domain", "all"),
            "prompt": prompt_text(row["messages"]),
            "chosen": chosen,
            "rejected": rejected,
            "chosen_model": better["model"],
            "rejected_model": worse["model"],
        }
    ]


def mpo(row: Row) -> list[Row]:
    """Return a row for mixed preference optimisation: a conversational pair, images, and reference log-probabilities.

    `metadata.images` lists addresses of images; `metadata.reference_logps` has two sums of log-probabilities under the
    reference model, in the order of the responses. TRL computes them itself where they are null.
    """
    _strength, chosen, rejected = _chosen_and_rejected(row)
    first = strength_favours_first(row)
    images, logps = row["metadata"].get("images"), row["metadata"].get("reference_logps")
    known = isinstance(logps, list) and len(logps) == 2 and all(type(value) in (int, float) for value in logps)
    in_order = [None, None] if not known else [float(value) for value in (logps if first else logps[::-1])]
    return [
        {
            "images": [image for image in images if isinstance(image, str)] if isinstance(images, list) else [],
            "prompt": row["messages"],
            "chosen": _turn(chosen),
            "rejected": _turn(rejected),
            "ref_chosen_logps": in_order[0],
            "ref_rejected_logps": in_order[1],
        }
    ]


def ratings_derived_preference(row: Row) -> list[Row]:
    """Return the pair that the helpfulness ratings imply, to compare preference labels with (HelpSteer2 §4.3)."""
    first, second = (ratings["helpfulness"] for ratings in _mean_ratings(row))
    if first == second:
        raise LeftOut("equal helpfulness")
    texts = [response["text"] for response in row["responses"]]
    chosen, rejected = texts if first > second else texts[::-1]
    return [_text_pair(row, chosen, rejected, float(abs(first - second)))]


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
    "messages": _MESSAGES,
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
    "context": _MESSAGES,
    "response1": "string",
    "response2": "string",
    "overall_preference": "int",
    "individual_preference": [{"score": "int", "reasoning": "string", "feedback1": "string", "feedback2": "string"}],
}
_RATED: dict[str, Column] = {"prompt": "string", "response": "string"}
_TEXT_PAIR: dict[str, Column] = {"prompt": "string", "chosen": "string", "rejected": "string", "margin": "float"}
_CONVERSATIONS: dict[str, Column] = {"chosen": _MESSAGES, "rejected": _MESSAGES, "margin": "float"}
_MPO: dict[str, Column] = {
    "images": ["string"],
    "prompt": _MESSAGES,
    "chosen": _MESSAGES,
    "rejected": _MESSAGES,
    "ref_chosen_logps": "float",
    "ref_rejected_logps": "float",
}

FORMATS: dict[str, Format] = {
    "annotations": Format(
        annotations,
        _FROZEN,
        _("Everything: each label with its provenance, the consensus, and why a row is excluded."),
        True,
    ),
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
    "trl-preference": Format(
        trl_preference, _TEXT_PAIR, _("TRL, OpenRLHF, NeMo RL: prompt, chosen and rejected as text.")
    ),
    "trl-preference-conversational": Format(
        trl_preference_conversational,
        {"prompt": _MESSAGES, **_CONVERSATIONS},
        _("TRL: prompt, chosen and rejected as messages."),
    ),
    "trl-preference-implicit": Format(
        trl_preference_implicit,
        {"chosen": "string", "rejected": "string", "margin": "float"},
        _("TRL: texts that begin with the prompt."),
    ),
    "trl-preference-implicit-conversational": Format(
        trl_preference_implicit_conversational, _CONVERSATIONS, _("TRL's RewardTrainer: two whole conversations.")
    ),
    "trl-unpaired": Format(
        trl_unpaired,
        {"prompt": "string", "completion": "string", "label": "bool"},
        _("TRL's KTO: one response a row, good or not."),
    ),
    "trl-unpaired-conversational": Format(
        trl_unpaired_conversational,
        {"prompt": _MESSAGES, "completion": _MESSAGES, "label": "bool"},
        _("TRL's KTO with messages."),
    ),
    "openrlhf": Format(
        trl_preference_conversational,
        {"prompt": _MESSAGES, **_CONVERSATIONS},
        _("OpenRLHF with --data.prompt_key prompt and --data.apply_chat_template."),
    ),
    "nemo-rl": Format(
        nemo_rl,
        {"context": _MESSAGES, "completions": [{"rank": "int", "completion": _MESSAGES}]},
        _("NeMo RL: completions with their rank."),
    ),
    "rewardbench": Format(
        rewardbench,
        dict.fromkeys(("id", "subset", "prompt", "chosen", "rejected", "chosen_model", "rejected_model"), "string"),
        _("RewardBench's rows; the domain is the subset."),
    ),
    "mpo": Format(mpo, _MPO, _("Mixed preference optimisation: messages, images and reference log-probabilities.")),
    "ratings-derived-preference": Format(
        ratings_derived_preference, _TEXT_PAIR, _("Pairs that the helpfulness ratings imply: a baseline."), True
    ),
}


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
    verdicts = [position for position, sentence in enumerate(sentences) if _VERDICT.search(sentence)]
    comparing = (position for position, sentence in enumerate(sentences) if _COMPARISON.search(sentence))
    first = verdicts[0] if verdicts else next(comparing, 0)
    rest = sentences[:first] + sentences[first + 1 :]
    if len(verdicts) > 1 and verdicts[-1] == len(sentences) - 1:
        rest = rest[:-1]
    return sentences[first], " ".join(rest)


def strength_favours_first(row: Row) -> bool:
    """Say whether the consensus of a decided row favours response 1."""
    return bool(row["consensus"]["preference"] < 0)


def _text_pair(row: Row, chosen: str, rejected: str, margin: float) -> Row:
    return {"prompt": prompt_text(row["messages"]), "chosen": chosen, "rejected": rejected, "margin": margin}


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _metadata_text(row: Row, name: str, default: str) -> str:
    value = row["metadata"].get(name)
    return value if isinstance(value, str) and value else default


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
    _agreed(row)
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
