"""Rows that trainers and benchmarks read: TRL, OpenRLHF, NeMo RL, RewardBench, mixed preference optimisation.

Field names: TRL 1.16, docs/source/dataset_formats.md; OpenRLHF, openrlhf/datasets/reward_dataset.py; NeMo RL,
docs/guides/rm.md; RewardBench, rewardbench/utils.py; mixed preference optimisation, trl's DPOTrainer with images and
`ref_…_logps`.
"""

from django.utils.translation import gettext_noop as _

from apps.exports.encodings import Column
from apps.exports.shapes import (
    MESSAGES,
    TEXT_PAIR,
    Format,
    Row,
    chosen_and_rejected,
    favours_first,
    metadata_text,
    text_pair,
    turn,
)
from worker.core.conversation import prompt_text


def trl_preference(row: Row) -> list[Row]:
    """Return TRL's standard preference row with an explicit prompt, and the strength as `margin`."""
    strength, chosen, rejected = chosen_and_rejected(row)
    return [text_pair(row, chosen, rejected, float(strength))]


def trl_preference_conversational(row: Row) -> list[Row]:
    """Return TRL's conversational preference row with an explicit prompt."""
    strength, chosen, rejected = chosen_and_rejected(row)
    return [{"prompt": row["messages"], "chosen": turn(chosen), "rejected": turn(rejected), "margin": float(strength)}]


def trl_preference_implicit(row: Row) -> list[Row]:
    """Return TRL's standard preference row with an implicit prompt: both texts begin with it, and none is a column."""
    strength, chosen, rejected = chosen_and_rejected(row)
    prompt = prompt_text(row["messages"])
    return [{"chosen": f"{prompt}\n\n{chosen}", "rejected": f"{prompt}\n\n{rejected}", "margin": float(strength)}]


def trl_preference_implicit_conversational(row: Row) -> list[Row]:
    """Return TRL's conversational preference row with an implicit prompt: two whole conversations."""
    strength, chosen, rejected = chosen_and_rejected(row)
    messages = row["messages"]
    return [
        {"chosen": messages + turn(chosen), "rejected": messages + turn(rejected), "margin": float(strength)},
    ]


def trl_unpaired(row: Row) -> list[Row]:
    """Return TRL's unpaired preference rows, for KTO and BCO: the better response is good, the other one is not."""
    _strength, chosen, rejected = chosen_and_rejected(row)
    prompt = prompt_text(row["messages"])
    return [
        {"prompt": prompt, "completion": completion, "label": label}
        for completion, label in ((chosen, True), (rejected, False))
    ]


def trl_unpaired_conversational(row: Row) -> list[Row]:
    """Return TRL's unpaired preference rows as conversations."""
    _strength, chosen, rejected = chosen_and_rejected(row)
    return [
        {"prompt": row["messages"], "completion": turn(completion), "label": label}
        for completion, label in ((chosen, True), (rejected, False))
    ]


def nemo_rl(row: Row) -> list[Row]:
    """Return a NeMo RL ranking row: completions with their rank, the lower one preferred (docs/guides/rm.md)."""
    _strength, chosen, rejected = chosen_and_rejected(row)
    completions = [{"rank": rank, "completion": turn(text)} for rank, text in enumerate((chosen, rejected))]
    return [{"context": row["messages"], "completions": completions}]


def rewardbench(row: Row) -> list[Row]:
    """Return a RewardBench row; the subset, or else the domain, is what accuracies are reported by.

    Rows that were imported from such a file have their subset before their id, which is unique in its subset only.
    """
    _strength, chosen, rejected = chosen_and_rejected(row)
    better, worse = row["responses"] if favours_first(row) else row["responses"][::-1]
    subset = metadata_text(row, "subset", "")
    return [
        {
            "id": row["external_id"].removeprefix(f"{subset}-") if subset else row["external_id"],
            "subset": subset or metadata_text(row, "domain", "all"),
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
    _strength, chosen, rejected = chosen_and_rejected(row)
    first = favours_first(row)
    images, logps = row["metadata"].get("images"), row["metadata"].get("reference_logps")
    known = isinstance(logps, list) and len(logps) == 2 and all(type(value) in (int, float) for value in logps)
    in_order = [None, None] if not known else [float(value) for value in (logps if first else logps[::-1])]
    return [
        {
            "images": [image for image in images if isinstance(image, str)] if isinstance(images, list) else [],
            "prompt": row["messages"],
            "chosen": turn(chosen),
            "rejected": turn(rejected),
            "ref_chosen_logps": in_order[0],
            "ref_rejected_logps": in_order[1],
        }
    ]


_CONVERSATIONS: dict[str, Column] = {"chosen": MESSAGES, "rejected": MESSAGES, "margin": "float"}
_MPO: dict[str, Column] = {
    "images": ["string"],
    "prompt": MESSAGES,
    "chosen": MESSAGES,
    "rejected": MESSAGES,
    "ref_chosen_logps": "float",
    "ref_rejected_logps": "float",
}

TRAINERS: dict[str, Format] = {
    "trl-preference": Format(
        trl_preference, TEXT_PAIR, _("TRL, OpenRLHF, NeMo RL: prompt, chosen and rejected as text.")
    ),
    "trl-preference-conversational": Format(
        trl_preference_conversational,
        {"prompt": MESSAGES, **_CONVERSATIONS},
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
        {"prompt": MESSAGES, "completion": MESSAGES, "label": "bool"},
        _("TRL's KTO with messages."),
    ),
    "openrlhf": Format(
        trl_preference_conversational,
        {"prompt": MESSAGES, **_CONVERSATIONS},
        _("OpenRLHF with --data.prompt_key prompt and --data.apply_chat_template."),
    ),
    "nemo-rl": Format(
        nemo_rl,
        {"context": MESSAGES, "completions": [{"rank": "int", "completion": MESSAGES}]},
        _("NeMo RL: completions with their rank."),
    ),
    "rewardbench": Format(
        rewardbench,
        dict.fromkeys(("id", "subset", "prompt", "chosen", "rejected", "chosen_model", "rejected_model"), "string"),
        _("RewardBench's rows; the domain is the subset."),
    ),
    "mpo": Format(mpo, _MPO, _("Mixed preference optimisation: messages, images and reference log-probabilities.")),
}
