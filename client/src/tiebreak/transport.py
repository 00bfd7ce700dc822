"""What both clients share around httpx: where requests go, with which token, and what its exceptions become."""

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from tiebreak.errors import NetworkError, TiebreakError
from tiebreak.exchange import Reply, Request

API = "/api/v1/"
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
HEADERS = {"Accept": "application/json", "User-Agent": "tiebreak-client/0.1"}
_TOKEN = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True)
class Target:
    """The address of a Tiebreak and a token for it, which no text of this object shows."""

    address: str
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise TiebreakError(
                f"{self.address!r} is not the address of a Tiebreak, such as https://tiebreak.example.org."
            )
        if parts.username or parts.password:
            raise TiebreakError("The address of a Tiebreak has no user name or password in it.")
        if not _TOKEN.fullmatch(self.token):
            raise TiebreakError("The token has characters that no token has, or there is none.")
        object.__setattr__(self, "address", self.address.rstrip("/"))

    def url(self, path: str) -> str:
        """Return the address of a path of the API, of one that begins at the server's root, or of another server."""
        if is_elsewhere(path):
            return path
        if not path.startswith("/"):
            return f"{self.address}{API}{path}"
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}{path}"


def is_elsewhere(path: str) -> bool:
    """Say whether a path is a whole address: one that gets no token, whoever is there."""
    return path.startswith(("https://", "http://"))


class TokenAuth(httpx.Auth):
    """Adds the token as late as possible, so that no variable of ours holds it when something is raised."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        request.headers["Authorization"] = f"Token {self._target.token}"
        yield request


@contextmanager
def arguments(target: Target, request: Request) -> Iterator[dict[str, Any]]:
    """Yield what httpx is to send; a file to upload is open meanwhile."""
    sent: dict[str, Any] = {
        "method": request.method,
        "url": target.url(request.path),
        "params": request.params or None,
        "headers": {**HEADERS, **request.headers},
    }
    if is_elsewhere(request.path):
        sent["auth"] = None
    with ExitStack() as stack:
        if request.upload is not None:
            stream = stack.enter_context(request.upload.open("rb"))
            sent["files"] = {"file": (request.upload.name, stream, "application/octet-stream")}
        elif request.content is not None:
            sent["content"] = request.content
        elif request.body is not None:
            sent["json"] = request.body
        yield sent


@contextmanager
def translated(target: Target) -> Iterator[None]:
    """Turn httpx's exceptions into one that names the server and nothing else: theirs carry the request."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NetworkError(f"{target.address} cannot be reached: {_said(error)}.", unsent=True) from None
    except httpx.TimeoutException:
        raise NetworkError(f"{target.address} took too long to answer.") from None
    except (httpx.TransportError, httpx.DecodingError, httpx.StreamError) as error:
        raise NetworkError(f"The connection to {target.address} broke: {_said(error)}.") from None
    except httpx.InvalidURL as error:
        raise TiebreakError(f"{target.address} is not an address: {error}.") from None


def head(response: httpx.Response) -> Reply:
    """Return a reply without its body."""
    headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers)


def _said(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
