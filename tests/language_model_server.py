"""A server of somebody else that speaks OpenAI's chat completions: scripted answers, errors, slowness, garbage."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Said:
    """One scripted reply. `body` is sent as it stands; else a completion with `text` and what else is set."""

    text: Any = "ready"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    finish: str = "stop"
    message: dict[str, Any] = field(default_factory=dict)
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})

    @property
    def bytes(self) -> bytes:
        """Return the reply's body."""
        if self.body is not None:
            return self.body
        if self.status >= 400:
            return json.dumps({"error": {"message": self.text, "type": "x", "code": None}}).encode()
        message = {"role": "assistant", "content": self.text, **self.message}
        choice = {"index": 0, "finish_reason": self.finish, "message": message}
        whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return json.dumps({**whole, "usage": self.usage}).encode()


@dataclass
class LanguageModel:
    """A running server: `answer` is given each request's body and says what to reply; `got` keeps them all."""

    url: str = ""
    answer: Callable[[dict[str, Any]], Said] = lambda body: Said()
    got: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def script(self, *replies: Said) -> None:
        """Reply these one after another; the last one for ever."""
        left = list(replies)

        def answer(body: dict[str, Any]) -> Said:
            return left.pop(0) if len(left) > 1 else left[0]

        self.answer = answer


@contextmanager
def speaking(keep: bool = True) -> Iterator[LanguageModel]:
    """Run a server until the end of the block; without `keep` it remembers no bodies."""
    model = LanguageModel()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with model._lock:
                model.got.append(body if keep else {})
                model.keys.append(self.headers["Authorization"])
                model._at_once += 1
                model.most_at_once = max(model.most_at_once, model._at_once)
            try:
                said = model.answer(body)
            finally:
                with model._lock:
                    model._at_once -= 1
            content = said.bytes
            self.send_response(said.status)
            sent = {"Content-Type": "application/json", "Content-Length": str(len(content)), **said.headers}
            for name, value in sent.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    model.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
