"""The name of a request, the language of an answer, and the page for an AppError that reached the edge."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.shortcuts import render
from django.utils import translation

from apps.core import request_ids
from apps.core.errors import AppError


class RequestIdMiddleware:
    """Name every request, outermost, so that whatever goes wrong further in is logged under that name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on and say its name in the reply."""
        name = request_ids.begin(request.headers.get(request_ids.HEADER, ""))
        response = self.get_response(request)
        response.headers[request_ids.HEADER] = name
        return response


class LanguageMiddleware(LocaleMiddleware):
    """Pages speak the language a person chose, or else the browser's; the REST API speaks English to everybody.

    Programs compare what they are told, and the same call must not read differently from another machine.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Activate the language of this request."""
        if not request.path_info.startswith("/api/"):
            super().process_request(request)
            return
        translation.activate(settings.LANGUAGE_CODE)
        request.LANGUAGE_CODE = settings.LANGUAGE_CODE


class AppErrorMiddleware:
    """Render `errors/error.html` for an AppError; other exceptions stay exceptions."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer an AppError with its status; None lets Django go on with any other exception."""
        if not isinstance(exception, AppError):
            return None
        return render(request, "errors/error.html", {"error": exception}, status=exception.status)
