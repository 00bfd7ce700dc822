"""What a reward model can be asked about, and how that travels to the reward server.

Loads nothing heavy: the web process makes these, the reward server reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.core.conversation import ChatPrompt, encodable, prompt_of

MAX_INPUTS = 1024
MAX_TEXT_CHARS = 200_000
MAX_CHARS = 8_000_000
MAX_TOKENS = 131_072
CHARS_PER_TOKEN = 4
"""About what a token of English takes: enough to tell small requests from large ones before any is tokenised."""


class InputError(ValueError):
    """An input cannot be scored; `place` is its number in the request."""

    def __init__(self, place: int, detail: str) -> None:
        super().__init__(detail)
        self.place = place
        self.detail = detail


@dataclass(frozen=True)
class Pair:
    """A prompt, as `conversation.prompt_of` makes it, and the response to it, put together as in training."""

    prompt: str
    response: str


@dataclass(frozen=True)
class Text:
    """Prompt and response in one text, special tokens and all, as a chat template makes it.

    `prompt` is its beginning, where the caller says how far that goes.
    """

    text: str
    prompt: str = ""


@dataclass(frozen=True)
class Ids:
    """The same as token ids of the model's own tokenizer."""

    ids: tuple[int, ...]


Input = Pair | Text | Ids


def to_wire(item: Input) -> dict[str, Any]:
    """Return an input as JSON."""
    match item:
        case Pair(ChatPrompt() as prompt, response):
            return {"turns": prompt.turns, "response": response}
        case Pair():
            return {"prompt": item.prompt, "response": item.response}
        case Text():
            return {"text": item.text, "prompt": item.prompt}
        case Ids():
            return {"ids": list(item.ids)}


def from_wire(value: Any, place: int) -> Input:
    """Return the input of a JSON object. Raises InputError."""
    if isinstance(value, Mapping):
        names = set(value)
        if names == {"prompt", "response"}:
            return checked(Pair(value["prompt"], value["response"]), place)
        if names == {"turns", "response"}:
            return checked(Pair(_prompt_of_turns(value["turns"], place), value["response"]), place)
        if names == {"text", "prompt"}:
            return checked(Text(value["text"], value["prompt"]), place)
        if names == {"ids"} and isinstance(value["ids"], list):
            return checked(Ids(tuple(value["ids"])), place)
    raise InputError(place, "Expected a prompt with a response, a text, or token ids.")


def _prompt_of_turns(value: Any, place: int) -> str:
    try:
        return prompt_of([{"role": role, "content": content} for role, content in value])
    except (TypeError, ValueError) as error:
        raise InputError(place, "Expected turns of a prompt.") from error


def checked(item: Input, place: int) -> Input:
    """Return the input if it can be scored, lone surrogates replaced. Raises InputError."""
    if isinstance(item, Ids):
        if not 0 < len(item.ids) <= MAX_TOKENS:
            raise InputError(place, f"Expected 1 to {MAX_TOKENS} token ids.")
        if not all(type(number) is int and 0 <= number < 1 << 31 for number in item.ids):
            raise InputError(place, "Token ids are whole numbers from 0 on.")
        return item
    texts = (item.prompt, item.response) if isinstance(item, Pair) else (item.text, item.prompt)
    if not all(isinstance(text, str) for text in texts):
        raise InputError(place, "Expected text.")
    if max(map(len, texts)) > MAX_TEXT_CHARS:
        raise InputError(place, f"A text has at most {MAX_TEXT_CHARS} characters.")
    return type(item)(*map(encodable, texts))


def size_of(item: Input) -> int:
    """Return about how many tokens an input has."""
    match item:
        case Pair():
            return (len(item.prompt) + len(item.response)) // CHARS_PER_TOKEN + 4
        case Text():
            return len(item.text) // CHARS_PER_TOKEN + 2
        case Ids():
            return len(item.ids)
