"""Turn a conversation into the text a reward model reads, and texts into content hashes."""

import hashlib
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii

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


def content_hash(*parts: str) -> str:
    """Return the SHA-256 (hex) of an ordered list of texts; moving a border between parts changes it.

    The parts are hashed as one JSON array, in ASCII, so that any Python string has exactly one encoding.
    """
    encoded = ",".join(map(encode_basestring_ascii, parts))
    return hashlib.sha256(f"[{encoded}]".encode("ascii")).hexdigest()
