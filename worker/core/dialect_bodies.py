"""Read bodies of requests for rewards, whatever their dialect: texts, conversations, limits, and what is wrong."""

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.core.conversation import encodable, prompt_of
from worker.core.reward_inputs import (
    MAX_CHARS,
    MAX_INPUTS,
    MAX_TEXT_CHARS,
    Ids,
    Input,
    InputError,
    Pair,
    checked,
)
from worker.core.shaping import sigmoid

MAX_REFERENCES = 16
MAX_REWARD = 1e30
"""Far beyond what a model gives, and within what float32 holds."""
Messages = list[dict[str, str]]


class DialectError(ValueError):
    """A body cannot be read; `pointer` is the JSON pointer of what is wrong with it."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.pointer = pointer
        self.detail = detail


@dataclass(frozen=True)
class Rewarded:
    """What the model said: a reward per input, how many tokens each has, and the model's name."""

    rewards: Sequence[float]
    tokens: Sequence[int]
    model: str


@dataclass(frozen=True)
class Asked:
    """The inputs of a body, where each stands in it, and how its reply is made.

    `conversations` has the prompt of each input as messages, None where the body does not show it.
    """

    inputs: list[Input]
    reply: Callable[[Rewarded], Any]
    places: list[str]
    conversations: list[Messages | None]
    counts_tokens: bool = False
    whole: bool = False
    """An input that is longer than the model reads is refused, not cut."""


@dataclass
class Inputs:
    """Inputs as they are read, each checked."""

    inputs: list[Input] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    conversations: list[Messages | None] = field(default_factory=list)
    chars: int = 0
    beside: int = 0

    def add(self, item: Input, place: str, conversation: Messages | None = None) -> None:
        """Add an input within the limits of a request. Raises DialectError."""
        if len(self.inputs) == MAX_INPUTS:
            raise DialectError(place, f"At most {MAX_INPUTS} responses are scored in one request.")
        try:
            item = checked(item, len(self.inputs))
        except InputError as error:
            raise DialectError(place, error.detail) from error
        self.chars += 0 if isinstance(item, Ids) else sum(map(len, vars(item).values()))
        if self.chars > MAX_CHARS:
            raise DialectError(place, f"The texts of one request have at most {MAX_CHARS} characters.")
        self.inputs.append(item)
        self.places.append(place)
        self.conversations.append(conversation)

    def reserve(self, texts: Sequence[str], place: str) -> None:
        """Count texts that are scored beside the inputs. Raises DialectError."""
        self.beside += len(texts)
        self.chars += sum(map(len, texts))
        if len(self.inputs) + self.beside > MAX_INPUTS or self.chars > MAX_CHARS:
            raise DialectError(place, f"With their references, {MAX_INPUTS} texts are scored in one request at most.")

    def pair(self, prompt: str, response: str, place: str) -> None:
        """Add a prompt of one turn and a response."""
        self.add(Pair(prompt, response), place, [{"role": "user", "content": prompt}])

    def conversation(self, messages: Any, place: str) -> None:
        """Add a conversation that ends with the assistant's turn."""
        turns = read_messages(messages, place)
        if turns[-1]["role"] != "assistant":
            raise DialectError(place, "A conversation to be scored ends with a turn of the assistant.")
        self.answer(turns[:-1], turns[-1]["content"], place)

    def answer(self, prompt: Messages, response: str, place: str) -> None:
        """Add a response to a conversation that ends with a turn of the user."""
        try:
            self.add(Pair(prompt_of(prompt), response), place, prompt)
        except DialectError:
            raise
        except ValueError as error:
            raise DialectError(place, str(error)) from error

    def asked(self, reply: Callable[[Rewarded], Any], *, counts_tokens: bool = False, whole: bool = False) -> Asked:
        """Return what was read, with the way to its reply."""
        return Asked(self.inputs, reply, self.places, self.conversations, counts_tokens, whole)


@dataclass(frozen=True)
class References:
    """What an input is compared with: responses to its prompt that are to be scored, or rewards of such; or neither."""

    texts: Sequence[str] = ()
    rewards: Sequence[float] = ()


@dataclass(frozen=True)
class Request:
    """Our own request: what is scored, how it is shaped and with what, and whether to say how sure the model is.

    `most` is how many references the project's own responses give at most.
    """

    asked: Asked
    shaping: str
    references: list[References]
    most: int
    uncertainty: bool


def read_items(body: Any) -> Request:
    """Read `{"items": [{"messages", "response", "references"}], "shaping", "reference_count", "uncertainty"}`.

    Instead of `references` an item may have `reference_rewards`. Raises DialectError.
    """
    if not isinstance(body, Mapping):
        raise DialectError("", "Expected an object.")
    _refuse_unknown(body, {"items", "shaping", "reference_count", "uncertainty"}, "")
    items, shaping = body.get("items"), body.get("shaping", "none")
    if not isinstance(items, list):
        raise DialectError("/items", "Expected a list.")
    uncertainty = body.get("uncertainty", False)
    if not isinstance(uncertainty, bool):
        raise DialectError("/uncertainty", "Expected true or false.")
    if not isinstance(shaping, str):
        raise DialectError("/shaping", "Expected text.")
    most = body.get("reference_count", MAX_REFERENCES)
    if type(most) is not int or not 0 < most <= MAX_REFERENCES:
        raise DialectError("/reference_count", f"Expected a whole number from 1 to {MAX_REFERENCES}.")
    read, references = Inputs(), []
    for number, item in enumerate(items):
        place = f"/items/{number}"
        if not isinstance(item, Mapping):
            raise DialectError(place, "Expected an object.")
        _refuse_unknown(item, {"messages", "response", "references", "reference_rewards"}, place)
        response = text_of(item, "response", place)
        read.answer(read_messages(item.get("messages"), f"{place}/messages"), response, f"{place}/messages")
        references.append(_references(item, read, place))
    return Request(read.asked(lambda said: said), shaping, references, most, uncertainty)


def _references(item: Mapping[str, Any], read: Inputs, place: str) -> References:
    if "reference_rewards" in item:
        if "references" in item:
            raise DialectError(f"{place}/reference_rewards", "Send references or their rewards, not both.")
        return References(rewards=_rewards(item["reference_rewards"], f"{place}/reference_rewards"))
    if "references" not in item:
        return References()
    texts = texts_of(item, "references", place)
    if not 0 < len(texts) <= MAX_REFERENCES:
        raise DialectError(f"{place}/references", f"Expected 1 to {MAX_REFERENCES} responses.")
    if max(map(len, texts)) > MAX_TEXT_CHARS:
        raise DialectError(f"{place}/references", f"A text has at most {MAX_TEXT_CHARS} characters.")
    read.reserve(texts, f"{place}/references")
    return References(texts=[encodable(text) for text in texts])


def _rewards(value: Any, place: str) -> list[float]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_REFERENCES:
        raise DialectError(place, f"Expected 1 to {MAX_REFERENCES} numbers.")
    if not all(type(number) in (int, float) and abs(number) <= MAX_REWARD for number in value):
        raise DialectError(place, f"Expected numbers of at most {MAX_REWARD:g} either way.")
    return [float(number) for number in value]


def _refuse_unknown(values: Mapping[str, Any], known: set[str], place: str) -> None:
    for name in values:
        if name not in known:
            raise DialectError(f"{place}/{name}", "There is no such field.")


def read_messages(value: Any, place: str) -> Messages:
    """Return the turns of a conversation, their parts of text joined. Raises DialectError."""
    if not isinstance(value, list) or not value:
        raise DialectError(place, "Expected a list of messages.")
    turns = []
    for number, message in enumerate(value):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise DialectError(f"{place}/{number}", "Expected an object with role and content.")
        role = "system" if message["role"] == "developer" else message["role"]
        turns.append({"role": role, "content": content_text(message.get("content"), f"{place}/{number}/content")})
    return turns


def read_rollout(value: Any, place: str) -> Messages:
    """Return the turns of an input of OpenAI's Responses API, tool calls and their results as text.

    A call is a turn of the assistant, `[tool call] name(arguments)`; a result, or a message of a tool, a turn of the
    user, `[tool result] output`. Reasoning is left out; what else is no message is a turn of the assistant with its
    type, `[web_search_call]`. Raises DialectError.
    """
    if not isinstance(value, list) or not value:
        raise DialectError(place, "Expected a list of messages.")
    messages = []
    for number, item in enumerate(value):
        where = f"{place}/{number}"
        if not isinstance(item, Mapping):
            raise DialectError(where, "Expected an object.")
        kind = item.get("type", "message")
        if not isinstance(kind, str):
            raise DialectError(f"{where}/type", "Expected text.")
        if kind == "function_call":
            said = f"[tool call] {text_of(item, 'name', where)}({text_of(item, 'arguments', where)})"
            messages.append({"role": "assistant", "content": said})
        elif kind == "function_call_output":
            messages.append(_tool_result(item.get("output"), f"{where}/output"))
        elif item.get("role") == "tool":
            messages.append(_tool_result(item.get("content"), f"{where}/content"))
        elif kind == "message":
            messages += read_messages([item], where)
        elif kind != "reasoning":
            messages.append({"role": "assistant", "content": f"[{kind[:60]}]"})
    return messages


def _tool_result(value: Any, place: str) -> dict[str, str]:
    return {"role": "user", "content": f"[tool result] {content_text(value, place)}"}


def content_text(value: Any, place: str) -> str:
    """Return a text, or the parts of one joined; a refusal is what it says. Raises DialectError."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = [part.get("text", part.get("refusal")) for part in value if isinstance(part, Mapping)]
        if len(texts) == len(value) and all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise DialectError(place, "Expected text, or a list of parts that are text.")


def activated_by(body: Mapping[str, Any]) -> bool:
    """Say whether the sigmoid is wanted; `activation` and `softmax` are older names that clients still send."""
    return True in {flag_of(body, name) for name in ("use_activation", "activation", "softmax")}


def flag_of(body: Mapping[str, Any], name: str) -> bool | None:
    """Return a field that is true, false or null; None where it is not there. Raises DialectError."""
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise DialectError(f"/{name}", "Expected true or false.")


def activated_value(reward: float, activated: bool) -> float:
    """Return a reward, or its sigmoid."""
    return sigmoid(reward) if activated else reward


def encoding_of(body: Mapping[str, Any]) -> Callable[[list[float]], Any]:
    """Return how numbers are written: as a list, or as base64 of little-endian float32."""
    match body.get("encoding_format"):
        case None | "float":
            return lambda values: values
        case "base64":
            return lambda values: base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    raise DialectError("/encoding_format", 'Use "float" or "base64".')


def best_first(rewards: Sequence[float]) -> list[int]:
    """Return the numbers of the inputs, the highest reward first."""
    return sorted(range(len(rewards)), key=lambda index: (-rewards[index], index))


def text_of(body: Mapping[str, Any], name: str, place: str = "") -> str:
    """Return a text of the body. Raises DialectError."""
    value = body.get(name)
    if not isinstance(value, str):
        raise DialectError(f"{place}/{name}", "Expected text.")
    return value


def texts_of(body: Mapping[str, Any], name: str, place: str = "") -> list[str]:
    """Return a list of texts of the body; one text is a list of one. Raises DialectError."""
    value = body.get(name)
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise DialectError(f"{place}/{name}", "Expected a list of texts.")
    for number, item in enumerate(value):
        if not isinstance(item, str):
            raise DialectError(f"{place}/{name}/{number}", "Expected text.")
    return value


def documents_of(body: Mapping[str, Any], name: str) -> list[str]:
    """Return texts that may also stand in objects with `text`, or with `content` as a list of parts."""
    value = body.get(name)
    if isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, list):
        raise DialectError(f"/{name}", "Expected a text or a list of texts.")
    documents = []
    for number, item in enumerate(value):
        if isinstance(item, Mapping):
            item = item.get("text", item.get("content"))
        documents.append(content_text(item, f"/{name}/{number}"))
    return documents
