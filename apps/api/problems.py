"""Every error of the API as `application/problem+json` (RFC 9457), with a JSON pointer for each wrong field."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.utils.functional import Promise
from django.views import defaults
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.views import APIView, set_rollback

from apps.core import request_ids
from apps.core.errors import AppError, FieldError, Forbidden, InvalidInput, NotFound

logger = logging.getLogger(__name__)
CONTENT_TYPE = "application/problem+json"

TITLES: Mapping[type[exceptions.APIException], str | Promise] = {
    exceptions.ParseError: "The body cannot be read",
    exceptions.NotAuthenticated: "Not signed in",
    exceptions.AuthenticationFailed: "Not signed in",
    exceptions.PermissionDenied: Forbidden.title,
    exceptions.NotFound: NotFound.title,
    exceptions.MethodNotAllowed: "Method not allowed",
    exceptions.UnsupportedMediaType: "Unsupported media type",
}


class UnknownAddress(APIView):
    """Answer every address that does not exist with a problem, whoever asks."""

    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse before any method is looked at."""
        raise NotFound("There is no such address. Addresses of this API end with a slash; those of files do not.")


def problem_response(error: Exception, context: dict[str, Any]) -> JsonResponse:
    """Translate any exception of a view into a problem; what nobody expected is logged, and 500 tells nothing of it."""
    set_rollback()
    headers = dict(getattr(error, "headers", {}))
    match error:
        case AppError():
            return app_problem(error)
        case exceptions.ValidationError():
            errors = list(_field_errors(error.detail))
            detail = errors[0].detail if len(errors) == 1 else "Some fields are not valid."
            return _problem(InvalidInput.status, InvalidInput.title, detail, errors)
        case exceptions.APIException():
            if challenge := getattr(error, "auth_header", None):
                headers["WWW-Authenticate"] = challenge
            title = TITLES.get(type(error), str(error.default_detail))
            return _problem(error.status_code, title, str(error.detail), headers=headers)
        case Http404():
            return _problem(404, NotFound.title, "There is no such thing.")
        case PermissionDenied():
            return _problem(403, Forbidden.title, "This is not allowed.")
        case RequestDataTooBig():
            return _problem(413, "Body too large", "The body is too large.")
        case SuspiciousOperation() | UnreadablePostError():
            return _unreadable()
    request = context["request"]
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    got_request_exception.send(sender=type(context["view"]), request=request._request)
    return _internal()


def app_problem(error: AppError) -> JsonResponse:
    """Translate an error that services raise."""
    return _problem(error.status, error.title, error.detail, error.errors, getattr(error, "headers", None))


# --- What goes wrong outside of the API's views: in a middleware, or before any view is found ---


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refuses to read, such as one for a host that we are not."""
    return _unreadable() if _is_api(request) else defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a PermissionDenied that no view has caught."""
    if _is_api(request):
        return _problem(403, Forbidden.title, "This is not allowed.")
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a Http404 that no view has caught."""
    if _is_api(request):
        return _problem(404, NotFound.title, "There is no such thing.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what nobody expected; Django has logged it."""
    return _internal() if _is_api(request) else defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith(("/api/", "/rm/"))


def _unreadable() -> JsonResponse:
    return _problem(400, "The body cannot be read", "The request cannot be read.")


def _internal() -> JsonResponse:
    name = request_ids.current()
    where = f"its log has the details under {name}" if name else "its log has the details"
    return _problem(500, "Internal error", f"Something went wrong on the server; {where}.")


def _problem(
    status: int,
    title: str | Promise,
    detail: str,
    errors: Any = (),
    headers: Mapping[str, str] | None = None,
) -> JsonResponse:
    body = {
        "type": "about:blank",
        "title": str(title),
        "status": status,
        "detail": detail,
        "errors": [{"pointer": error.pointer, "detail": error.detail} for error in errors],
    }
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE, headers=dict(headers or {}))


def _field_errors(detail: Any, pointer: str = "") -> Iterator[FieldError]:
    """Flatten DRF's nested errors; a name with a slash is escaped as JSON pointers want it (RFC 6901)."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = name == api_settings.NON_FIELD_ERRORS_KEY
            yield from _field_errors(inner, pointer if own else f"{pointer}/{_escaped(str(name))}")
    elif isinstance(detail, list | tuple):
        for inner in detail:
            yield from _field_errors(inner, pointer)
    else:
        yield FieldError(pointer, str(detail))


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
