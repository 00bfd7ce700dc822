"""The protocol without a network: operations are generators that say what to send and when to pause.

An operation yields a `Request`, a `Fetch`, a `Pause` or a `Work`, and is sent what comes of it; a connection that
breaks is thrown into it as `NetworkError`. The synchronous and the asynchronous client differ only in how they carry
these out. Files on this machine are read and written by the operations themselves.
"""

import json
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import uuid4

from tiebreak.errors import ApiError, NetworkError, UnexpectedReply
from tiebreak.results import Item, Page, Raw, decoded

Result = TypeVar("Result")
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent twice (RFC 9110, 9.2.2); a POST may when it has an Idempotency-Key."""
BUSY = frozenset({429, 502, 503, 504})
IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True)
class Request:
    """What to send.

    `path` is relative to the API, or begins with a slash and is relative to the server. A whole address is one that the
    server has sent us to: it gets no token.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """A JSON value."""
    content: bytes | None = None
    """A body as it is."""
    upload: Path | None = None
    """A file that is sent as the field `file` of a form."""
    keyed: bool = True
    """Whether a POST gets an Idempotency-Key; a server keeps none for a body that it does not hold in memory."""

    @property
    def may_be_repeated(self) -> bool:
        """Say whether sending it twice does what sending it once does."""
        return self.method in REPEATABLE or IDEMPOTENCY_KEY in self.headers


@dataclass(frozen=True)
class Reply:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise UnexpectedReply("The server's answer is not JSON; is this the address of a Tiebreak?") from error

    def problem(self) -> ApiError:
        """Return the error that the server answered with; a proxy's page in HTML is one without details."""
        try:
            said = json.loads(self.body)
        except ValueError:
            said = {}
        known = said if isinstance(said, Mapping) else {}
        return ApiError.of(self.status, known or {"detail": f"The server answered {self.status}."})


@dataclass(frozen=True)
class Fetch:
    """A request whose body is handed on as it comes.

    `begin` is called with the status line and the headers, and returns what takes the body's parts; None for a body
    that is to be in the reply, such as a problem's.
    """

    request: Request
    begin: Callable[[Reply], Callable[[bytes], object] | None]


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Something that takes long on this machine, such as the hash of a large file; what it returns is the answer."""

    do: Callable[[], Any]


Effect: TypeAlias = Request | Fetch | Pause | Work
Operation: TypeAlias = Generator[Effect, Any, Result]


@dataclass(frozen=True)
class Retries:
    """How often and after how long a request is sent again: exponential, with full jitter."""

    attempts: int = 6
    base: float = 0.5
    longest: float = 30.0
    longest_asked: float = 300.0
    """What a Retry-After header may ask for; who asks for more is told that it takes too long."""

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait after a failed attempt."""
        return random.uniform(0, min(self.longest, self.base * 2 ** (attempt - 1)))  # noqa: S311  (no secret)


def call(request: Request, retries: Retries) -> Operation[Reply]:
    """Send a request until it is answered; return the reply, or raise ApiError or NetworkError.

    What may not be sent twice is sent again only when the server has certainly not seen it.
    """
    if request.method == "POST" and request.keyed and IDEMPOTENCY_KEY not in request.headers:
        request = replace(request, headers={**request.headers, IDEMPOTENCY_KEY: str(uuid4())})
    attempt = 1
    while True:
        try:
            reply: Reply = yield request
        except NetworkError as error:
            if attempt >= retries.attempts or not (request.may_be_repeated or error.unsent):
                raise
            pause = retries.pause(attempt)
        else:
            if reply.status < 400:
                return reply
            pause = _pause_for(request, reply, attempt, retries)
        attempt += 1
        yield Pause(pause)


def _pause_for(request: Request, reply: Reply, attempt: int, retries: Retries) -> float:
    """Return how long to wait before a refused request is sent again; raise the problem if it is not."""
    asked = retry_after(reply.headers.get("retry-after", ""))
    # What was turned away for its rate was not begun, whatever its method is. A conflict that passes with time is an
    # earlier sending of this request, under the same key, which is still being carried out.
    passing = reply.status in BUSY or (reply.status == 409 and asked is not None)
    hopeful = reply.status == 429 or (passing and request.may_be_repeated)
    if not hopeful or attempt >= retries.attempts or (asked or 0) > retries.longest_asked:
        raise reply.problem()
    return max(asked or 0.0, retries.pause(attempt))


def retry_after(header: str) -> float | None:
    """Return the seconds that a Retry-After header asks for: a number, or a date."""
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())


def page(request: Request, read: Callable[[Raw], Item], retries: Retries) -> Operation[Page[Item]]:
    """Read one page of a list. Of the address of the next one only the query is used: the token goes nowhere else."""
    raw = (yield from call(request, retries)).json

    def whole(raw: Raw) -> Page[Item]:
        following = raw["next"]
        query = dict(parse_qsl(urlsplit(following).query, keep_blank_values=True)) if following else None
        return Page(tuple(read(each) for each in raw["results"]), query)

    return decoded(whole, raw)


def segment(value: object) -> str:
    """Return a value as one segment of a path, whatever is in it."""
    text = str(value)
    if text in {"", ".", ".."}:
        raise ValueError(f"{text!r} is not an id.")
    return quote(text, safe="")
