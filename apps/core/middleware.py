"""Turn an AppError that reached the edge into a page with its status and its sentence."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.core.errors import AppError


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
