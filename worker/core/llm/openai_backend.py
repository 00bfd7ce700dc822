"""Ask any server that speaks OpenAI's chat completions: a vendor's, vLLM, SGLang, `transformers serve`.

Servers differ in what they know: one wants `max_completion_tokens`, another knows no JSON schema, a reasoning model
takes no temperature. What a server refuses by name is left out from then on. The reply is read as plain JSON and
checked here: the library's types promise what a server need not keep.
"""

import email.utils
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.core.llm.messages import Answer, CallFailed, Question, storable, without_reasoning

LONGEST_PAUSE = 300.0
"""What Retry-After may ask for at most (seconds)."""
_REASONING = ("reasoning_content", "reasoning")
"""Where servers put it: DeepSeek, vLLM and SGLang · OpenRouter, newer vLLM."""
_HINTS = {
    "response_format": ("response_format", "json_schema"),
    "max_tokens": ("max_tokens",),
    "temperature": ("temperature",),
}
"""What a server may refuse, and the words in its refusal that say so."""
_SENT_HEADERS = ("accept", "authorization", "content-type")
_READ_HEADERS = ("content-type", "retry-after")


@dataclass(frozen=True)
class Sent:
    """What came back for one HTTP request; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Send = Callable[[str, str, Mapping[str, str], bytes], Sent]
"""Send (method, address, headers, body) and return the reply. It decides which addresses may be asked and for how long,
and raises CallFailed."""


class OpenAIBackend:
    """One model of one server, asked through `send`."""

    def __init__(self, *, base_url: str, model: str, api_key: str, send: Send) -> None:
        import openai  # takes half a second, and the web process seldom needs it

        self._openai = openai
        client = openai.DefaultHttpxClient(transport=_transport(send), trust_env=False)
        self._client = openai.OpenAI(base_url=base_url, api_key=api_key or "none", http_client=client, max_retries=0)
        self._model = model
        self._left_out: set[str] = set()

    def ask(self, question: Question) -> Answer:
        """Return the answer; raise CallFailed. What the server refuses by name is left out and asked for again."""
        for _round in range(len(_HINTS) + 1):
            sent = self._body(question)
            try:
                reply = self._client.chat.completions.with_raw_response.create(**sent)
                return read_completion(reply.http_response.content)
            except self._openai.APIStatusError as error:
                if not self._learnt_from(error, sent):
                    raise self._failed(error) from error
            except self._openai.APIConnectionError as error:
                if isinstance(error.__cause__, CallFailed):
                    raise error.__cause__ from None
                raise
        raise CallFailed("The server refuses the request whatever is left out of it.", unusable=True)

    def _body(self, question: Question) -> dict[str, Any]:
        messages = [{"role": role, "content": text} for role, text in question.messages]
        body: dict[str, Any] = {"model": self._model, "messages": messages}
        if "temperature" not in self._left_out:
            body["temperature"] = question.temperature
        most = "max_completion_tokens" if "max_tokens" in self._left_out else "max_tokens"
        body[most] = question.max_tokens
        if question.schema is not None and "response_format" not in self._left_out:
            named = {"name": "answer", "schema": dict(question.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def _learnt_from(self, error: Any, sent: Mapping[str, Any]) -> bool:
        """Note what to leave out from now on; say whether that is anything new."""
        if error.status_code not in {400, 422}:
            return False
        said = str(error.response.text).lower()
        for name, hints in _HINTS.items():
            if name in sent and any(hint in said for hint in hints):
                self._left_out.add(name)
                return True
        return False

    def _failed(self, error: Any) -> CallFailed:
        status, detail = error.status_code, _sentence(error.response)
        if status in {401, 403}:
            return CallFailed(
                f"The server does not accept the key ({status}). {detail}".strip(), unusable=True, status=status
            )
        if status == 404:
            said = f"The server knows no such address or model (404). {detail}".strip()
            return CallFailed(said, unusable=True, status=status)
        again = status in {408, 409, 425, 429} or status >= 500
        pause = retry_after(error.response.headers.get("retry-after"))
        return CallFailed(
            f"The server answered {status}. {detail}".strip(), again=again, retry_after=pause, status=status
        )


def read_completion(body: bytes) -> Answer:
    """Return the answer in the body of a chat completion; raise CallFailed where there is none."""
    try:
        completion = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallFailed("The server's reply is not JSON.", again=True) from error
    choices = completion.get("choices") if isinstance(completion, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise CallFailed("The server's reply has no answer in it.", again=True)
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise CallFailed("The answer is not text.", again=True)
    if isinstance(message.get("refusal"), str) and not content:
        content = message["refusal"]
    text, thought = without_reasoning(storable(content or ""))
    told = next((message[name] for name in _REASONING if isinstance(message.get(name), str)), "")
    reasoning = "\n\n".join(part for part in (storable(told).strip(), thought) if part)
    truncated = choice.get("finish_reason") == "length"
    if not text and not reasoning:
        raise CallFailed("The answer is empty.", again=True)
    usage = completion.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Answer(
        text, reasoning, _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")), truncated
    )


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks to wait: a number or a date; None for anything else."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE) if math.isfinite(seconds) else None


def _count(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 2**31 else 0


def _sentence(response: Any) -> str:
    """Return what the server says about its refusal, one line of it."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return ""
    said = body.get("error", body.get("message")) if isinstance(body, dict) else None
    if isinstance(said, dict):
        said = said.get("message")
    return " ".join(storable(said).split())[:200] if isinstance(said, str) else ""


def _transport(send: Send) -> Any:
    """Return a transport for the HTTP library that `openai` stands on, which hands every request to `send`."""
    import httpx2

    class Transport(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            headers = {name: request.headers[name] for name in _SENT_HEADERS if name in request.headers}
            reply = send(request.method, str(request.url), headers, request.read())
            read = {name: reply.headers[name] for name in _READ_HEADERS if name in reply.headers}
            return httpx2.Response(reply.status, headers=read, content=reply.body)

    return Transport()
