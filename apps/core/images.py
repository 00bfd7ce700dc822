"""Images that a text names by address: fetched once by the server, never by the browser of the person who reads.

A browser that loads a stranger's image tells that stranger who reads what, and when. So a rendered text points to an
address of ours, signed, so that nothing but what a text names is ever fetched; who opens it gets the copy.
"""

import hashlib
import threading
from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.core.cache.backends.filebased import FileBasedCache
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.errors import AppError, NotFound
from apps.core.outgoing import MAX_ADDRESS_CHARS, Limits, fetch

LIMITS = Limits(seconds=5.0, size=5 << 20, redirects=3)
KEPT_SECONDS = 7 * 24 * 3600
"""The people who compare the same pair should see the same image."""
FAILURE_KEPT_SECONDS = 60
MAX_KEPT = 500
ACCEPT = "image/avif,image/webp,image/png,image/jpeg,image/gif"
_SIGNER = signing.Signer(salt="apps.core.images")
_SLOTS = threading.BoundedSemaphore(settings.IMAGE_FETCHES)


class Busy(AppError):
    """As many images as may be are being fetched; ask again in a moment."""

    status = 503
    title = gettext_lazy("Too much at once")
    retry_after = 1


@dataclass(frozen=True)
class Image:
    """An image as it is served."""

    content_type: str
    body: bytes


def image_address(address: str) -> str | None:
    """Return our own address for an image elsewhere, or None where there is nothing that could be fetched."""
    if not settings.LOAD_IMAGES or len(address) > MAX_ADDRESS_CHARS:
        return None
    if not address.lower().startswith(("http://", "https://")):
        return None
    return f"{reverse('image')}?{urlencode({'address': _SIGNER.sign(address)})}"


def load_image(signed: str) -> Image:
    """Return the image behind a signed address, from the cache if it is there.

    Raise NotFound for an address that we have not signed, and where there is no image to be had (a stranger's broken
    server is no failure of ours), which is remembered for a minute; raise Busy when too many are under way.
    """
    try:
        address = _SIGNER.unsign(signed)
    except signing.BadSignature as error:
        raise NotFound(_("There is no such image.")) from error
    if not settings.LOAD_IMAGES:
        raise NotFound(_("Images are switched off."))
    cache = FileBasedCache(str(settings.CACHE_DIR / "images"), {"OPTIONS": {"MAX_ENTRIES": MAX_KEPT}})
    key = hashlib.sha256(address.encode()).hexdigest()
    kept = cache.get(key)
    if kept is None:
        kept = _fetched(address)
        cache.set(key, kept, FAILURE_KEPT_SECONDS if isinstance(kept, str) else KEPT_SECONDS)
    if isinstance(kept, str):
        raise NotFound(kept)
    return Image(*kept)


def content_type_of(body: bytes) -> str | None:
    """Return the type of an image by its first bytes, or None if it is none of those served; SVG is a program."""
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if body.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    if body[4:8] == b"ftyp" and any(brand in body[8:40] for brand in (b"avif", b"avis")):
        return "image/avif"
    return None


def _fetched(address: str) -> tuple[str, bytes] | str:
    """Return an image's type and content, or why there is none; slow servers get no more than some of our threads."""
    if not _SLOTS.acquire(blocking=False):
        raise Busy(_("Many images are being fetched. Please try again in a moment."))
    try:
        reply = fetch(address, headers={"Accept": ACCEPT}, limits=LIMITS)
    except AppError as error:
        return error.detail
    finally:
        _SLOTS.release()
    content_type = content_type_of(reply.body)
    if reply.status != 200 or content_type is None:
        return _("The server did not answer with an image.")
    return content_type, reply.body
