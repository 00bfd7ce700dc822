"""Idempotency keys (draft-ietf-httpapi-idempotency-key-header-07): the same POST sent twice happens once.

The whole request runs in one transaction that ends with storing its reply, so that a killed process leaves neither an
effect without its key nor a key without its effect; jobs are sent when it commits. Only what was done is kept: a
request that was refused changed nothing and may be sent again, better.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from apps.api.models import StoredReply
from apps.core.errors import AppError, Conflict, InvalidInput

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_REPLY_BYTES = 1 << 20
_KEY = re.compile(r'(?:"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x5b\x5d-\x7e]{1,255}))\Z')
_BOUNDARY = re.compile(r"""multipart/form-data\s*;.*\bboundary="?([^";\s]{1,70})"?""", re.IGNORECASE)
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 7261))"


class WrongKey(AppError):
    """The header holds no key."""

    title = "The idempotency key cannot be read"


class TooLongForKey(AppError):
    """The body is longer than a request with a key may be."""

    status = 413
    title = "Body too large"


class InFlight(Conflict):
    """The same request is being carried out at this moment."""

    headers = {"Retry-After": "1"}


def once(request: HttpRequest, owner: str, carry_out: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    """Carry a request out, or return the reply to its first sending; raise AppError where neither is possible."""
    key = _parse(request.headers[HEADER])
    fingerprint = _fingerprint(request)
    with transaction.atomic():
        # The lock tells "being carried out" from "carried out" without waiting; a commit or a crash lets it go.
        with connection.cursor() as cursor:
            cursor.execute(_TRY_LOCK, [f"{owner} {key}"])
            if not cursor.fetchone()[0]:
                raise InFlight("A request with this key is being carried out; ask again in a moment.")
        stored = StoredReply.objects.filter(owner=owner, key=key).first()
        if stored is not None and stored.created_at <= oldest_kept():
            stored.delete()
        elif stored is not None:
            return _again(stored, fingerprint)
        response = carry_out(request)
        if response.status_code >= 500 or connection.needs_rollback:
            transaction.set_rollback(True)
        elif 200 <= response.status_code < 300:
            _store(owner, key, fingerprint, response)
    return response


def forget_old() -> int:
    """Delete the replies that nobody may ask for any more. Return how many."""
    return StoredReply.objects.filter(created_at__lte=oldest_kept()).delete()[0]


def oldest_kept() -> datetime:
    """Return the time before which replies are forgotten."""
    return timezone.now() - timedelta(hours=settings.API_IDEMPOTENCY_HOURS)


def _parse(header: str) -> str:
    """Return the key; the draft wants quotes around it, and most clients send none."""
    match = _KEY.match(header.strip())
    if match is None:
        raise WrongKey(f"{HEADER} must be 1 to 255 printable ASCII characters, such as a UUID.")
    return match[1] or match[2]


def _fingerprint(request: HttpRequest) -> str:
    try:
        body = request.body
    except RequestDataTooBig as error:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // (1 << 20)
        raise TooLongForKey(
            f"A request with an {HEADER} has at most {limit} MiB. Send larger files without one: "
            "importing the same rows again changes nothing."
        ) from error
    if match := _BOUNDARY.match(request.META.get("CONTENT_TYPE", "")):
        body = body.replace(b"--" + match[1].encode(), b"--")  # clients draw a new one for each sending
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    digest.update(body)
    return digest.hexdigest()


def _again(stored: StoredReply, fingerprint: str) -> HttpResponse:
    if stored.fingerprint != fingerprint:
        raise InvalidInput("This key was used for another request. Send this one with a key of its own.")
    if stored.body is None:
        raise Conflict("The request with this key was carried out; its reply was not kept, for it is secret or long.")
    response = HttpResponse(bytes(stored.body), status=stored.status, content_type=stored.content_type or None)
    if not stored.content_type:
        del response.headers["Content-Type"]
    response.headers[REPLAYED] = "true"
    return response


def _store(owner: str, key: str, fingerprint: str, response: HttpResponse) -> None:
    secret = "no-store" in response.headers.get("Cache-Control", "")
    keeps = not response.streaming and not secret and len(response.content) <= MAX_REPLY_BYTES
    StoredReply.objects.create(
        owner=owner,
        key=key,
        fingerprint=fingerprint,
        status=response.status_code,
        content_type=response.headers.get("Content-Type", ""),
        body=response.content if keeps else None,
    )
