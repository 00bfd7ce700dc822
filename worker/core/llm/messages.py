"""A question to a language model, its answer, and what can go wrong between them."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MAX_ANSWER_TOKENS = 32_768
"""The longest answer that anybody can ask for: what AutoRule's release gives its reasoning model."""
_THINKING = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)
_SURROGATES = re.compile("[\ud800-\udfff\x00]")


@dataclass(frozen=True)
class Question:
    """What a language model is asked: turns, sampling, and the JSON schema of the answer where one is wanted.

    `repetition` tells apart questions that are asked several times on purpose; everything else that is equal is asked
    once (`request_hash`).
    """

    messages: tuple[tuple[str, str], ...]
    temperature: float = 0.0
    max_tokens: int = 4096
    schema: Mapping[str, Any] | None = None
    repetition: int = 0

    def __post_init__(self) -> None:
        if not self.messages or any(role not in {"system", "user", "assistant"} for role, _text in self.messages):
            raise ValueError("A question has turns of the roles system, user and assistant.")
        if not 0.0 <= self.temperature <= 2.0:
            raise ValueError("The temperature is from 0 to 2.")
        if not 1 <= self.max_tokens <= MAX_ANSWER_TOKENS:
            raise ValueError(f"An answer has 1 to {MAX_ANSWER_TOKENS} tokens.")

    def request_hash(self, *, backend: str) -> str:
        """Return the SHA-256 of everything the answer depends on; `backend` names address and model."""
        parts = [backend, self.messages, self.temperature, self.max_tokens, self.schema, self.repetition]
        content = json.dumps(parts, ensure_ascii=True, sort_keys=True)
        return hashlib.sha256(content.encode("ascii")).hexdigest()

    @property
    def most_tokens_in(self) -> int:
        """Return an upper bound of the tokens that are sent: no tokenizer makes more than one of a byte."""
        return sum(len(text.encode(errors="replace")) + 16 for _role, text in self.messages) + 64


@dataclass(frozen=True)
class Answer:
    """What a model said, its reasoning kept apart; tokens are 0 where the server does not count."""

    text: str
    reasoning: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    truncated: bool = False


class Backend(Protocol):
    """Something that answers questions; used from several threads at a time."""

    def ask(self, question: Question) -> Answer:
        """Return the answer; raise CallFailed."""


class CallFailed(Exception):
    """One call brought no answer; the message is a sentence without secrets.

    `again` says whether the same call may succeed later, `retry_after` when (seconds), and `unusable` that no call to
    this model can succeed as things are: a wrong key, an unknown model, a refused address.
    """

    def __init__(
        self,
        detail: str,
        *,
        again: bool = False,
        unusable: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail, self.again, self.unusable = detail, again, unusable
        self.retry_after, self.status = retry_after, status


def storable(text: str) -> str:
    """Return a text with U+FFFD for what no database stores: NUL, and halves of surrogate pairs."""
    return _SURROGATES.sub("\ufffd", text)


def without_reasoning(text: str) -> tuple[str, str]:
    """Return (visible text, reasoning) of an answer that thinks aloud in `<think>…</think>` before it speaks.

    Chat templates often open the block in the prompt, so a text may only close it; a block that is never closed is an
    answer that was cut off while it was thinking, and has no visible text.
    """
    if match := _THINKING.match(text):
        return text[match.end() :].strip(), match[1].strip()
    if text.lstrip().startswith("<think>"):
        return "", text.lstrip().removeprefix("<think>").strip()
    thought, closed, rest = text.partition("</think>")
    if closed and "<think>" not in thought:
        return rest.strip(), thought.strip()
    return text.strip(), ""
