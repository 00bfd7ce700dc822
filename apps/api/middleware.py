"""What every reply below /api/ has in common, whatever view makes it: limits, keys, entity tags, cache headers."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from rest_framework.response import Response

from apps.api import idempotency
from apps.api.callers import identify, limit_headers
from apps.api.parameters import chosen
from apps.api.problems import app_problem
from apps.core.entity_tags import etag_of
from apps.core.errors import AppError
from apps.core.selection import selected_fields

PREFIXES = ("/api/", "/rm/")
VARY = ("Authorization", "Cookie", "Accept")
SAFE = frozenset({"GET", "HEAD"})
OF_THE_CONTENT = frozenset({"Content-Type", "Content-Length", "Content-Disposition"})


class LengthRequired(AppError):
    """The body comes in chunks, which our web server's interface would read as no body at all."""

    status = 411
    title = "Length required"


class ApiMiddleware:
    """Innermost, so that a request is charged once and the reply it sees is the one that the view made."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a request of the API; pass all others on."""
        if not request.path_info.startswith(PREFIXES):
            return self.get_response(request)
        try:
            response = self._answer(request)
        except AppError as error:
            response = app_problem(error)
        return with_cache_headers(request, response)

    def process_template_response(self, request: HttpRequest, response: Response) -> Response:
        """Cut one object down to the fields asked for, before it is rendered; lists have done so themselves."""
        if selected_fields(request) is not None and "results" not in response.data:
            response.data = chosen(request, response.data)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponse:
        caller = identify(request)
        try:
            if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
                raise LengthRequired("Send the length of the body in Content-Length; chunked bodies are not read.")
            if request.method == "POST" and caller.owner and idempotency.HEADER in request.headers:
                response = idempotency.once(request, caller.owner, self.get_response)
            else:
                response = self.get_response(request)
        except AppError as error:
            response = app_problem(error)
        if caller.left is not None:
            for name, value in limit_headers(caller.left).items():
                response.headers[name] = value
        return response


def with_cache_headers(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Say whom a reply is for and whether it may be kept; a GET whose content the caller has becomes 304."""
    patch_vary_headers(response, VARY)
    if request.method not in SAFE or response.status_code != 200:
        response.headers.setdefault("Cache-Control", "no-store")
        return response
    response.headers.setdefault("Cache-Control", "private, no-cache")
    if "no-store" in response.headers["Cache-Control"]:
        return response
    if "ETag" not in response.headers:
        if response.streaming:
            return response
        response.headers["ETag"] = etag_of(response.content)
    etag, wanted = response.headers["ETag"], parse_etags(request.headers.get("If-None-Match", ""))
    if "*" in wanted or etag in {tag.removeprefix("W/") for tag in wanted}:
        kept = {name: value for name, value in response.headers.items() if name not in OF_THE_CONTENT}
        unchanged = HttpResponse(status=304, headers=kept)
        del unchanged.headers["Content-Type"]
        return unchanged
    return response
