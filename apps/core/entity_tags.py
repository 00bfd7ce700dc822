"""Entity tags of replies (RFC 9110, section 8.8.3): hashes of their bytes, or of what they are made of."""

import hashlib
from typing import Any

from django.utils.http import parse_etags
from rest_framework.request import Request

from apps.core.errors import AppError


class Changed(AppError):
    """It is not what the caller has read any more."""

    status = 412
    title = "Changed since you read it"


def etag_of(content: bytes) -> str:
    """Return the strong entity tag of a reply."""
    return f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'


def etag_by(*versions: object) -> str:
    """Return the strong entity tag of a reply that is too long to be hashed, by what it is made of and nothing else."""
    return etag_of("\n".join(str(version) for version in versions).encode())


def check_if_match(request: Request, shown: Any) -> None:
    """Raise Changed if `If-Match` names another version than what a GET would show now; hold its lock meanwhile."""
    content: Any = request.accepted_renderer.render(shown)
    wanted = parse_etags(request.headers["If-Match"])
    if "*" not in wanted and etag_of(bytes(content)) not in wanted:
        raise Changed("Somebody has changed it since you read it. Read it again, and send your change with its ETag.")
