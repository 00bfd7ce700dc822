"""Turn a conversation into the text a reward model reads, and texts into content hashes."""

import hashlib
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii

Turn = tuple[str, str]
SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant"}


def prompt_text(messages: Sequence[Mapping[str, str]]) -> str:
    """Return the prompt as text: the bare content of a lone user turn, else one labelled paragraph per turn.

    Raises ValueError when there is no message, a role is unknown, a content is not text, or the last turn
    is not the user's.
    """
    if not messages:
        raise ValueError("A prompt needs at least one message.")
    for position, message in enumerate(messages, start=1):
        if message.get("role") not in SPEAKERS:
            raise ValueError(f"Message {position} has the role {message.get('role')!r}; use system, user or assistant.")
        if not isinstance(message.get("content"), str):
            raise ValueError(f"The content of message {position} is not text.")
    if messages[-1]["role"] != "user":
        raise ValueError("A prompt ends with a user turn.")
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{SPEAKERS[message['role']]}: {message['content']}" for message in messages)


class ChatPrompt(str):
    """The text of a prompt of several turns that still knows them, as (role, content).

    Encoders read the text, decoders the turns. It is equal to the same turns only: a lone turn that spells out others,
    labels and all, is another prompt.
    """

    __slots__ = ("turns",)
    turns: tuple[Turn, ...]

    def __new__(cls, text: str, turns: tuple[Turn, ...]) -> "ChatPrompt":
        """Put text and turns together; `prompt_of` makes both."""
        made = super().__new__(cls, text)
        made.turns = turns
        return made

    def __getnewargs__(self) -> tuple[str, tuple[Turn, ...]]:  # type: ignore[override]
        """Let copies and pickles keep the turns."""
        return str(self), self.turns

    def __eq__(self, other: object) -> bool:
        """Compare the turns."""
        return isinstance(other, ChatPrompt) and self.turns == other.turns

    def __ne__(self, other: object) -> bool:
        """Compare the turns."""
        return not self == other

    def __hash__(self) -> int:
        """Hash the turns."""
        return hash(self.turns)


def prompt_of(messages: Sequence[Mapping[str, str]]) -> str:
    """Return what a reward model reads of a prompt: a lone user turn's content, else a ChatPrompt.

    Raises ValueError as `prompt_text` does.
    """
    text = prompt_text(messages)
    turns = tuple((message["role"], message["content"]) for message in messages)
    return text if len(turns) == 1 else ChatPrompt(text, turns)


def turns_of(prompt: str) -> tuple[Turn, ...]:
    """Return the turns of a prompt; a text that knows of none is one of the user."""
    return prompt.turns if isinstance(prompt, ChatPrompt) else (("user", prompt),)


def folded(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns that alternate from the user on, for templates that take no others.

    What the system says begins the user's turn that follows, and turns of one role in a row become one, a blank line
    between them. An assistant's turn before any user's is kept, labelled, in the user's.
    """
    found: list[Turn] = []
    for role, content in turns:
        if role == "assistant" and not found:
            role, content = "user", f"{SPEAKERS[role]}: {content}"
        role = "user" if role == "system" else role
        if found and found[-1][0] == role:
            content = f"{found.pop()[1]}\n\n{content}"
        found.append((role, content))
    return found


def encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can carry and no tokenizer accepts; of a ChatPrompt in its turns, too."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    if isinstance(text, ChatPrompt):
        return ChatPrompt(clean, tuple((role, encodable(content)) for role, content in text.turns))
    return clean


def content_hash(*parts: str) -> str:
    """Return the SHA-256 (hex) of an ordered list of texts; moving a border between parts changes it.

    The parts are hashed as one JSON array, in ASCII, so that any Python string has exactly one encoding.
    """
    encoded = ",".join(map(encode_basestring_ascii, parts))
    return hashlib.sha256(f"[{encoded}]".encode("ascii")).hexdigest()
