"""Errors that services raise and doors translate into a page, a problem reply or an exit code."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class FieldError:
    """What is wrong at one place of the input; `pointer` is a JSON pointer such as `/ratings/1/helpfulness`."""

    pointer: str
    detail: str


class AppError(Exception):
    """Base of every expected error: a sentence for the person who caused it, and an HTTP status."""

    status = 400
    title: str | Promise = _("The request cannot be carried out")

    def __init__(self, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)


class InvalidInput(AppError):
    """The input breaks a rule; `errors` name the fields."""

    status = 422
    title = _("The input is not valid")


class NotFound(AppError):
    """There is no such thing, or this person may not know that there is."""

    status = 404
    title = _("Not found")


class Forbidden(AppError):
    """A member lacks the role that this needs."""

    status = 403
    title = _("Not allowed")


class Conflict(AppError):
    """The state of things does not allow it (any more)."""

    status = 409
    title = _("Conflict")


class TooMany(AppError):
    """Somebody asks more often than they may; `retry_after` says in how many seconds it is worth another try."""

    status = 429
    title = _("Too many requests")

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.headers = {"Retry-After": str(retry_after)}
