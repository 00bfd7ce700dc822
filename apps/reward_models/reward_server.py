"""Ask the reward server (`python -m worker.serve`), which has the models in its memory; web loads none."""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpcore
import orjson
from django.conf import settings
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.errors import AppError
from worker.core.reward_inputs import Input, InputError, to_wire

if TYPE_CHECKING:
    from apps.reward_models.models import RewardModel  # the reward server imports this module and has no models

logger = logging.getLogger(__name__)
CONNECT_SECONDS = 2.0
TURN_SECONDS = 10.0
KEEP_SECONDS = 30.0
HEALTH_SECONDS = 1.0
HOW_TO_START = gettext_lazy(
    "The reward server does not answer. `make demo` starts it; on servers start `python -m worker.serve` "
    "(docs/serving.md)."
)


class RewardServerDown(AppError):
    """Nobody scores at the moment; it is worth asking again in a while."""

    status = 503
    title = gettext_lazy("The reward server does not answer")

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(retry_after)}


class RewardServerFailed(AppError):
    """The reward server answered, but not with rewards."""

    status = 502
    title = gettext_lazy("The reward server failed")


class RewardServerSlow(AppError):
    """The rewards took longer than a request may last."""

    status = 504
    title = gettext_lazy("The reward server took too long")


@dataclass(frozen=True)
class Said:
    """What the model says of inputs, in their order: raw rewards, their standard deviations, tokens if counted."""

    rewards: list[float]
    stds: list[float | None]
    tokens: list[int]


def ask(*, model: "RewardModel", inputs: Sequence[Input], count: bool = False, whole: bool = False) -> Said:
    """Return the raw rewards of inputs; raise InputError for one that the model cannot read, else an AppError.

    With `whole`, an input that is longer than the model reads is one of these, and is not cut.
    """
    if not inputs:
        return Said([], [], [])
    body = {
        "model": {"folder": model.folder, "files": model.files},
        "inputs": [to_wire(item) for item in inputs],
        "count": count,
        "whole": whole,
    }
    with _turn():
        status, said, headers = _send("POST", "/score", orjson.dumps(body), settings.REWARD_SECONDS)
    if status == 200:
        return Said(said["rewards"], said["stds"], said["tokens"])
    if status == 422:
        raise InputError(said["place"], said["detail"])
    if status == 503:
        raise RewardServerDown(said["detail"], int(headers.get("retry-after", 1)))
    logger.error("The reward server answered %s: %s", status, said.get("detail"))
    raise RewardServerFailed(
        _("Version %(number)s could not be used; the log of the reward server says why.") % {"number": model.version}
    )


def answers() -> bool:
    """Say whether the reward server answers within a second."""
    try:
        return _send("GET", "/health", b"", HEALTH_SECONDS)[0] == 200
    except AppError:
        return False


def server_token() -> str:
    """Return what web and reward server know each other by: derived, so that nobody has to set it."""
    return salted_hmac("tiebreak.reward-server", "token", algorithm="sha256").hexdigest()


def _send(method: str, path: str, content: bytes, seconds: float) -> tuple[int, dict[str, Any], dict[str, str]]:
    headers: dict[bytes | str, bytes | str] = {
        "Host": "reward-server",
        "Authorization": f"Bearer {server_token()}",
        "Content-Type": "application/json",
    }
    connect = min(CONNECT_SECONDS, seconds)
    timeout = {"connect": connect, "pool": seconds, "read": seconds, "write": seconds}
    path_of_socket = socket_path(settings.REWARD_SERVER_URL)
    if path_of_socket is not None and not path_of_socket.exists():
        raise RewardServerDown(str(HOW_TO_START), 5)
    pool, base = _pool(settings.REWARD_SERVER_URL)
    try:
        reply = pool.request(method, f"{base}{path}", headers=headers, content=content, extensions={"timeout": timeout})
        said = orjson.loads(reply.content)
    except httpcore.ReadTimeout as error:
        raise RewardServerSlow(
            _("No rewards came within %(seconds)g seconds; send fewer items in one request.") % {"seconds": seconds}
        ) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
        raise RewardServerDown(str(HOW_TO_START), 5) from error
    except orjson.JSONDecodeError as error:
        raise RewardServerFailed(_("At the address of the reward server is something else.")) from error
    received = {name.decode("ascii").lower(): value.decode("latin-1") for name, value in reply.headers}
    return reply.status, said if isinstance(said, dict) else {}, received


def socket_path(address: str) -> Path | None:
    """Return the path of a Unix socket in an address, None for one of HTTP."""
    return Path(address.removeprefix("unix:").removeprefix("//")) if address.startswith("unix:") else None


@lru_cache(maxsize=4)
def _pool(address: str) -> tuple[httpcore.ConnectionPool, str]:
    """Return this process's connections to an address, `unix:PATH` or `http://HOST:PORT`, and how URLs begin there."""
    path = socket_path(address)
    uds = None if path is None else str(path)
    pool = httpcore.ConnectionPool(uds=uds, max_connections=64, keepalive_expiry=KEEP_SECONDS)
    return pool, "http://reward-server" if path else address.rstrip("/")


class Turns:
    """So many threads at a time, the others in the order of their coming.

    A semaphore of the standard library is not fair: threads that come back at once would take the turn of one that
    waits, for as long as they go on.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._line: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def take(self, seconds: float) -> bool:
        """Wait for a turn; return whether it came in time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            mine = threading.Event()
            self._line.append(mine)
        if mine.wait(seconds):
            return True
        with self._lock:
            if not mine.is_set():
                self._line.remove(mine)
            return mine.is_set()  # it came in the last moment

    @property
    def waiting(self) -> int:
        """Return how many wait for a turn."""
        return len(self._line)

    def give_back(self) -> None:
        """Hand the turn to whoever waits longest."""
        with self._lock:
            if self._line:
                self._line.popleft().set()
            else:
                self._free += 1


@lru_cache(maxsize=4)
def _turns(number: int) -> Turns:
    return Turns(number)


@contextmanager
def _turn() -> Iterator[None]:
    """Take one of the threads that may wait for rewards, so that pages always find one that does not."""
    turns = _turns(settings.REWARD_REQUESTS)
    if not turns.take(TURN_SECONDS):
        raise RewardServerDown(_("Too many requests for rewards are waiting in this process; ask again."), 1)
    try:
        yield
    finally:
        turns.give_back()
