"""Rows that name the chosen response: TRL's dataset formats, HH-RLHF, RewardBench (arXiv 2403.13787, 2506.01937)."""

import re
from collections.abc import Sequence
from typing import Any

from apps.imports.cells import number
from apps.imports.conversations import Row, are_messages, conversation, kept, last_turn, name_of, text_of, turns_of
from apps.imports.rows import BadRow

MAX_COMPLETIONS = 64
NO_PROMPTS = frozenset({"external_id", "id", "prompt_id", "split", "domain", "source", "subset", "dataset"})
NO_PROMPTS |= {"language", "category", "chosen", "rejected", "chosen_model", "rejected_model"}
"""Columns whose texts say something about a row; any other text beside two whole texts may be what was asked."""
_HH_TURN = re.compile(r"(?:\A\n*|\n+)(Human|Assistant): ?")
_TURN = re.compile(
    r"((?:\A|\n)(?:Assistant|AI|### (?:Response|Assistant)):|<\|im_start\|>assistant|<\|assistant\|>|\[/INST\]"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>|<start_of_turn>model)"
    r"|(?:\A|\n)(?:System|User|Human|### (?:Instruction|Input|User)):"
)
"""Where turns begin in texts; those of the assistant are a group."""
_BEGIN_DIFFERENTLY = "`chosen` and `rejected` begin differently, and there is no `prompt`."


def trl_preference(row: Row) -> list[Row]:
    """Return a TRL row, text or conversational, with its prompt or with one that both sides begin with."""
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if isinstance(chosen, list) and isinstance(rejected, list) and are_messages(chosen) and are_messages(rejected):
        messages, texts = _conversational(prompt, chosen, rejected)
    elif isinstance(chosen, str) and isinstance(rejected, str):
        messages, texts = _plain_text(row, chosen, rejected)
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
    same = _same(turns_of(chosen), turns_of(rejected))
    before = chosen[:same]
    if prompt is None and not before:
        raise BadRow("/chosen", _BEGIN_DIFFERENTLY)
    if prompt is not None and not _says(before, prompt):
        before, same = conversation(prompt, "/prompt"), 0
    chosen, rejected = chosen[same:], rejected[same:]
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if len(turns) != 1 or turns[0].get("role") != "assistant":
            raise BadRow(f"/{name}", "Expected one assistant turn after the prompt.")
    return turns_of(before), [chosen[0].get("content"), rejected[0].get("content")]


def _says(before: list[Row], prompt: Any) -> bool:
    """Say whether the turns that both sides begin with are the prompt; of a text, what the user says in them."""
    turns = turns_of(before)
    if isinstance(prompt, list):
        return turns == turns_of(prompt)
    return [turn["content"] for turn in turns if turn["role"] != "system"] == [prompt]


def _plain_text(row: Row, chosen: str, rejected: str) -> tuple[list[Row], list[str]]:
    if row.get("prompt") is not None:
        return conversation(row["prompt"], "/prompt"), [chosen, rejected]
    shared = chosen[: _same(chosen, rejected)]
    if _HH_TURN.match(chosen) and _HH_TURN.match(rejected) and not _asks_last(shared, chosen, rejected):
        return _human_assistant(chosen, rejected)
    if others := sorted(name for name, value in row.items() if name not in NO_PROMPTS and _is_text(value)):
        named = ", ".join(f"`{name[:60]}`" for name in others[:10])
        raise BadRow("/chosen", f"There is no `prompt`, but text in {named}: give a mapping that says what is what.")
    asked, begin = _border(shared)
    if not shared[:asked].strip():
        raise BadRow("/chosen", _BEGIN_DIFFERENTLY)
    return [{"role": "user", "content": shared[:asked]}], [chosen[begin:], rejected[begin:]]


def _asks_last(shared: str, *texts: str) -> bool:
    """Say whether the last turn of these texts is a question that they share: what follows it is no turn of its own."""
    last = [list(_HH_TURN.finditer(text))[-1] for text in texts]
    return all(turn[1] == "Human" and turn.end() <= len(shared) for turn in last)


def _border(shared: str) -> tuple[int, int]:
    """Return where the prompt ends in what two texts begin with, and where the responses begin.

    That is behind the last turn marker if it is the assistant's, else at the last blank line after it, else, in a text
    without turns, between words, as in the example of TRL's documentation.
    """
    *_, last = [None, *_TURN.finditer(shared)]
    begun = last.end() if last is not None else 1
    if last is not None and last[1]:
        return begun, begun + _spaces(shared[begun:])
    if (blank := shared.rfind("\n\n", begun)) > 0:
        return blank, blank + 2
    space = max(0, shared.rfind(" "), shared.rfind("\n")) if last is None else 0
    return space, space + 1


def _same(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return how far two texts or conversations are the same."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))


def _spaces(text: str) -> int:
    return len(text) - len(text.lstrip())


def _is_text(value: Any) -> bool:
    """Say whether a value may be what was asked: a text that is no number, or a conversation."""
    if not isinstance(value, str):
        return isinstance(value, list) and are_messages(value)
    try:
        float(value)
    except ValueError:
        return bool(value.strip())
    return False


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
    stem = "-".join(name_of(row[name]) for name in ("subset", "id") if row.get(name) is not None)
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
