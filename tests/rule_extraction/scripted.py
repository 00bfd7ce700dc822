"""A scripted model that plays a whole extraction: the same answer to the same question, with failures on the way."""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.language_model_server import Said

TOPICS = ("reasons", "examples", "grammar", "tone", "length", "sources", "clarity", "relevance", "insults", "capitals")


def digest(body: dict[str, Any]) -> int:
    """Return a number that is the same for the same question."""
    return int(hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:12], 16)


class Extractor:
    """Answers each kind of question; some fail once, some need a repair, one choice in `hopeless` is never answered.

    `answered` counts by question what was answered with 200. `on_request` is called with the number of each request.
    """

    def __init__(self, *, hopeless: int = 0) -> None:
        self.requests, self.answered = Counter(), Counter()
        self.hopeless = hopeless
        self.on_request: Callable[[int], None] = lambda number: None
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Said:
        key = digest(body)
        with self._lock:
            self.requests[key] += 1
            asked, number = self.requests[key], self.requests.total()
        self.on_request(number)
        said = self._said(body, key, asked)
        if said.status == 200:
            with self._lock:
                self.answered[key] += 1
        return said

    def _said(self, body: dict[str, Any], key: int, asked: int) -> Said:
        system, user = body["messages"][0]["content"], body["messages"][1]["content"]
        if key % 17 == 0 and asked == 1:
            return Said("busy", 503)
        if "why people prefer" in system:
            if self.hopeless and key % self.hopeless == 1:
                return Said("overloaded", 500)
            return Said(f"<think>{key}: the winner has better {TOPICS[key % 10]}.</think>It is better.")
        if "into rules" in system:
            return self._rules(body, user, key)
        return self._merged(user, key)

    def _rules(self, body: dict[str, Any], user: str, key: int) -> Said:
        topic = re.search(r"better (\w+)", user)[1]
        if len(body["messages"]) == 2 and key % 9 == 0:
            return Said(f"Here you are: the response has good {topic}.")
        if len(body["messages"]) == 2 and key % 31 == 0:
            return Said('{"rules": ["The response', finish="length")
        return Said(
            json.dumps({"rules": [f"The response has good {topic}.", f"The {topic} of it convince, {key % 5}."]})
        )

    def _merged(self, user: str, key: int) -> Said:
        lines = re.findall(r"^(\d+)\. (.*)$", user, re.M)
        groups: dict[str, list[int]] = {}
        for number, text in lines:
            groups.setdefault(next(topic for topic in TOPICS if topic in text), []).append(int(number))
        rules = [{"text": f"The response has good {topic}.", "from": numbers} for topic, numbers in groups.items()]
        return Said(json.dumps({"rules": rules}))
