"""Read a templated conversation back: which text is whose turn.

RLHF trainers send prompt and response as one text, written by the chat template of *their* model. A reward model that
reads pairs needs the turns; the markers below are those of the model families in use.
"""

import re

from worker.core.conversation import prompt_text
from worker.core.reward_inputs import Pair

_ROLES = {"model": "assistant", "developer": "system"}
_FAMILIES = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>|\Z)",  # ChatML: Qwen, and most others
        r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n(.*?)(?:<\|eot_id\|>|\Z)",  # Llama 3
        r"<start_of_turn>(\w+)\n(.*?)(?:<end_of_turn>|\Z)",  # Gemma
        r"<\|(system|user|assistant)\|>\n(.*?)(?:<\|end\|>|</s>|(?=<\|(?:system|user|assistant)\|>)|\Z)",  # Phi, Zephyr
    )
)


def conversation_of(text: str) -> Pair | None:
    """Return prompt and response of a templated conversation that ends with the assistant; None for any other text."""
    for family in _FAMILIES:
        turns = [(_ROLES.get(role, role), content.strip()) for role, content in family.findall(text)]
        if not turns:
            continue
        if turns[-1][0] != "assistant":
            return None
        messages = [{"role": role, "content": content} for role, content in turns[:-1]]
        try:
            return Pair(prompt_text(messages), turns[-1][1])
        except ValueError:
            return None
    return None


def split_text(text: str, prompt: str = "") -> Pair | None:
    """Return prompt and response of one text: by its markers, else by its known prompt; None if neither helps."""
    if (found := conversation_of(text)) is not None:
        return found
    if prompt and text.startswith(prompt):
        return Pair(prompt, text.removeprefix(prompt))
    return None
