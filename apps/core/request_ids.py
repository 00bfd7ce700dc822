"""A name for each request, in its reply and in every line of the log that it caused."""

import logging
import re
import secrets
from contextvars import ContextVar

HEADER = "X-Request-Id"
_GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
_current: ContextVar[str] = ContextVar("request_id", default="")


def begin(given: str) -> str:
    """Name the request: as the caller or a proxy did, if that is a plain word, so that their logs and ours agree.

    The name stays until the thread's next request, because Django logs an error after all middleware is done.
    """
    name = given if _GIVEN.match(given) else secrets.token_hex(8)
    _current.set(name)
    return name


def current() -> str:
    """Return the name of the request that this thread works on, or "" where there was none."""
    return _current.get()


class RequestIdFilter(logging.Filter):
    """Give every record `request_id`: ` [name]`, or nothing outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything through."""
        name = current()
        record.request_id = f" [{name}]" if name else ""
        return True
