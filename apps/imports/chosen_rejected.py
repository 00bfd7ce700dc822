"""Rows that name the chosen response: TRL's dataset formats, HH-RLHF, RewardBench (arXiv 2403.13787, 2506.01937)."""

import re
from typing import Any

from apps.imports.cells import number
from apps.imports.conversations import Row, are_messages, conversation, kept, last_turn, text_of, turns_of
from apps.imports.rows import BadRow

MAX_COMPLETIONS = 64
_HH_TURN = re.compile(r"\n*(Human|Assistant): ?")


def trl_preference(row: Row) -> list[Row]:
    """Return a TRL row, text or conversational, with its prompt or with one that both sides begin with."""
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if isinstance(chosen, list) and isinstance(rejected, list) and are_messages(chosen) and are_messages(rejected):
        messages, texts = _conversational(prompt, chosen, rejected)
    elif isinstance(chosen, str) and isinstance(rejected, str):
        messages, texts = _plain_text(prompt, chosen, rejected)
    else:
        raise BadRow("/chosen", "Expected `chosen` and `rejected` to be both texts, or both lists of messages.")
    margin = number(row["margin"]) if isinstance(row.get("margin"), str) else row.get("margin")
    strength = round(margin) if isinstance(margin, int | float) and not isinstance(margin, bool) else 1
    return [
        {
            "external_id": row.get("external_id"),
            "messages": messages,
            "responses": [
                {"text": text, "model": row.get(f"{side}_model")}
                for text, side in zip(texts, ("chosen", "rejected"), strict=True)
            ],
            "metadata": kept(row, "split", "domain", "source", "margin"),
            "annotations": [{"annotator": "dataset", "preference": -max(1, min(3, strength))}],
        }
    ]


def _conversational(prompt: Any, chosen: list[Row], rejected: list[Row]) -> tuple[list[Row], list[Any]]:
    if prompt is not None:
        before = conversation(prompt, "/prompt")
    else:
        same = 0
        while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
            same += 1
        before, chosen, rejected = chosen[:same], chosen[same:], rejected[same:]
        if not before:
            raise BadRow("/chosen", "`chosen` and `rejected` begin differently, and there is no `prompt`.")
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if len(turns) != 1 or turns[0].get("role") != "assistant":
            raise BadRow(f"/{name}", "Expected one assistant turn after the prompt.")
    return turns_of(before), [chosen[0].get("content"), rejected[0].get("content")]


def _plain_text(prompt: Any, chosen: str, rejected: str) -> tuple[list[Row], list[str]]:
    if prompt is not None:
        return conversation(prompt, "/prompt"), [chosen, rejected]
    if _HH_TURN.match(chosen) and _HH_TURN.match(rejected):
        return _human_assistant(chosen, rejected)
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    border = max(chosen.rfind(" ", 0, same), chosen.rfind("\n", 0, same))
    if border <= 0:
        raise BadRow("/chosen", "`chosen` and `rejected` begin differently, and there is no `prompt`.")
    return [{"role": "user", "content": chosen[:border]}], [chosen[border:].lstrip(), rejected[border:].lstrip()]


def _human_assistant(chosen: str, rejected: str) -> tuple[list[Row], list[str]]:
    """Split Anthropic's HH-RLHF texts: turns after "Human:" and "Assistant:", of which the last is the response."""
    sides = []
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        _, *parts = _HH_TURN.split(text)
        turns = [
            {"role": "user" if speaker == "Human" else "assistant", "content": said.strip("\n")}
            for speaker, said in zip(parts[::2], parts[1::2], strict=True)
        ]
        if turns[-1]["role"] != "assistant":
            raise BadRow(f"/{name}", "Expected the text to end with an assistant turn.")
        sides.append(turns)
    if sides[0][:-1] != sides[1][:-1]:
        raise BadRow("/chosen", "The two conversations differ before their last turn.")
    return sides[0][:-1], [sides[0][-1]["content"], sides[1][-1]["content"]]


def reward_bench(row: Row) -> list[Row]:
    """Return a RewardBench row, or every chosen with every rejected response of a RewardBench 2 or RM-Bench row."""
    sides: dict[str, list[Any]] = {}
    for side in ("chosen", "rejected"):
        value = row[side]
        texts = value if isinstance(value, list) and not are_messages(value) else [value]
        sides[side] = [text_of(last_turn(text), f"/{side}") for text in texts]
    if not 2 <= len(sides["chosen"]) + len(sides["rejected"]) <= MAX_COMPLETIONS or not all(sides.values()):
        raise BadRow("/chosen", f"Expected 2 to {MAX_COMPLETIONS} responses, some chosen and some rejected.")
    metadata = kept(row, "subset", "domain", "split")
    stem = "-".join(str(row[name]) for name in ("subset", "id") if row.get(name) is not None)
    several = len(sides["chosen"]) + len(sides["rejected"]) > 2
    return [
        {
            "external_id": (f"{stem}#{first}-{second}" if several else stem) if row.get("id") is not None else None,
            "messages": conversation(row.get("prompt"), "/prompt"),
            "responses": [
                {"text": chosen, "model": _model(row, "chosen_model")},
                {"text": rejected, "model": _model(row, "rejected_model")},
            ],
            "metadata": metadata,
            "annotations": [{"annotator": "dataset", "preference": -1}],
        }
        for first, chosen in enumerate(sides["chosen"])
        for second, rejected in enumerate(sides["rejected"])
    ]


def _model(row: Row, name: str) -> str | None:
    model = row.get(name)
    return model if isinstance(model, str) else None
