"""What can go wrong, each with a sentence that can be shown as it is. No message holds a token."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

_ITEM = re.compile(r"^/items/(\d{1,9})(?![^/])")

if TYPE_CHECKING:
    from tiebreak.results import Job


class TiebreakError(Exception):
    """Base of everything this package raises on purpose."""


class NetworkError(TiebreakError):
    """The server could not be reached, or the connection broke; `unsent` when it has certainly seen nothing."""

    def __init__(self, message: str, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.unsent = unsent


class UnexpectedReply(TiebreakError):
    """Something answered that does not speak Tiebreak's API."""


class DownloadDamaged(TiebreakError):
    """A file arrived that is not the one in the manifest."""


class TimedOut(TiebreakError):
    """A job was not done within the time that was given to it; it goes on."""


class JobFailed(TiebreakError):
    """A job has failed or was cancelled."""

    def __init__(self, job: "Job") -> None:
        super().__init__(
            f"Job {job.id} ({job.kind}) {job.state}: {job.error}" if job.error else f"Job {job.id} was {job.state}."
        )
        self.job = job


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong at one place of the input; `pointer` is a JSON pointer such as `/splits`."""

    pointer: str
    detail: str


class ApiError(TiebreakError):
    """The server refused: the problem (RFC 9457) that it answered with."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or self.title)
        self.errors = tuple(
            FieldProblem(str(each.get("pointer", "")), str(each.get("detail", "")))
            for each in problem.get("errors") or ()
            if isinstance(each, Mapping)
        )
        said = [f"{each.pointer}: {each.detail}" for each in self.errors if each.pointer or each.detail != self.detail]
        repeated = any(each.detail == self.detail and each.pointer for each in self.errors)
        super().__init__(" ".join(said if repeated else [self.detail, *said]))

    def with_items_from(self, first: int) -> "ApiError":
        """Return the same error of a request whose first item is not the first of all."""
        errors = [
            {"pointer": _ITEM.sub(lambda found: f"/items/{int(found[1]) + first}", each.pointer), "detail": each.detail}
            for each in self.errors
        ]
        return type(self)(self.status, {"title": self.title, "detail": self.detail, "errors": errors})

    @staticmethod
    def of(status: int, problem: Mapping[str, Any]) -> "ApiError":
        """Return the error whose class says what kind it is."""
        return _CLASSES.get(status, ServerError if status >= 500 else ApiError)(status, problem)


class NotSignedIn(ApiError):
    """401: there is no token, or it is unknown, expired or revoked."""


class NotAllowed(ApiError):
    """403: the role, or the scope of the token, does not allow it."""


class NotFound(ApiError):
    """404: it does not exist, or its project is not yours."""


class Conflict(ApiError):
    """409: the state of things does not allow it (any more)."""


class InvalidInput(ApiError):
    """400, 413 or 422: the input breaks a rule; `errors` says which."""


class TooManyRequests(ApiError):
    """429: more than the server lets through, also after waiting as long as it asked."""


class ServerError(ApiError):
    """5xx: the server failed."""


_CLASSES: dict[int, type[ApiError]] = {
    400: InvalidInput,
    401: NotSignedIn,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    422: InvalidInput,
    429: TooManyRequests,
}
