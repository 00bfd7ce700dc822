"""What belongs to no project: the images that texts name."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from apps.core.errors import AppError
from apps.core.images import Busy, load_image
from apps.core.signed_in import signed_in

_KEEP = "private, max-age=86400, immutable"


@require_safe
@signed_in
def image(request: HttpRequest) -> HttpResponse:
    """Serve an image that a rendered text names; opened by itself it is still nothing but an image."""
    try:
        found = load_image(request.GET.get("address", ""))
    except AppError as error:
        # A broken image shows its words; nobody sees this page, so it is a sentence.
        response = HttpResponse(error.detail, status=error.status, content_type="text/plain; charset=utf-8")
        if isinstance(error, Busy):
            response.headers["Retry-After"] = str(error.retry_after)
        return response
    return HttpResponse(
        found.body,
        content_type=found.content_type,
        headers={
            "Cache-Control": _KEEP,
            "Content-Disposition": "inline",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        },
    )
