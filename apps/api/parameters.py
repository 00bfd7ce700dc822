"""Query parameters: what the schema describes is known, all else is an error; and `fields`, which every GET has."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from apps.core.errors import FieldError, InvalidInput
from apps.core.selection import select_fields, selected_fields

FIELDS = "fields"


@dataclass(frozen=True)
class Known:
    """The query parameters of one operation, and the fields that can be chosen with `fields`."""

    names: frozenset[str]
    fields: tuple[str, ...]


_KNOWN: dict[tuple[type, str], Known] = {}


class KnownParameters(BasePermission):
    """Refuse a query parameter that does not exist, in silence of which somebody would read a whole list as a part.

    A permission class because those run after the caller is known and before the view does anything.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Let everything known through; raise InvalidInput for the rest."""
        values = request.query_params
        method = str(request.method)
        if not values or not hasattr(view, method.lower()):
            return True
        known = known_parameters(type(view), "GET" if method == "HEAD" and hasattr(view, "get") else method)
        unknown = sorted(set(values) - known.names)
        if unknown:
            listed = f"known are {', '.join(sorted(known.names))}" if known.names else "it takes none"
            errors = [FieldError(f"/{name}", f"There is no such parameter; {listed}.") for name in unknown]
            raise InvalidInput("This address does not know such a parameter.", errors)
        repeated = [name for name in values if len(values.getlist(name)) > 1]
        if repeated:
            errors = [FieldError(f"/{name}", "Send this parameter once.") for name in repeated]
            raise InvalidInput("A parameter is there more than once.", errors)
        if FIELDS in values:
            _select(request._request, values[FIELDS], known.fields)
        return True


def known_parameters(view_class: type, method: str) -> Known:
    """Return what the schema says about an operation (looked up once in a process)."""
    known = _KNOWN.get((view_class, method))
    if known is None:
        known = _KNOWN[view_class, method] = _look_up(view_class, method)
    return known


def _look_up(view_class: type, method: str) -> Known:
    view, schema = described(view_class, method)
    declared = [each for each in schema.get_override_parameters() if isinstance(each, OpenApiParameter)]
    names = {each.name for each in declared if each.location == OpenApiParameter.QUERY}
    if method == "GET":
        names |= set(getattr(getattr(view, "paginator", None), "query_params", ()))
    return Known(frozenset(names), field_names(view, schema) if method == "GET" else ())


def described(view_class: Any, method: str) -> tuple[Any, Any]:
    """Return a view and the schema object that describes one of its methods, as drf-spectacular would make them."""
    view = view_class()
    view.setup(None)
    own = getattr(getattr(view, method.lower()), "kwargs", {}).get("schema")
    schema = own() if own else view.schema
    schema.view, schema.method, schema.path = view, method, ""
    return view, schema


def field_names(view: Any, schema: Any) -> tuple[str, ...]:
    """Return the fields of what a GET answers with; none where it is not an object that a serializer describes."""
    serializer: Any = getattr(view, "serializer_class", None) or schema.get_response_serializers()
    if isinstance(serializer, dict):
        serializer = serializer.get(200)
    if isinstance(serializer, type) and issubclass(serializer, Serializer):
        return tuple(serializer().fields)
    return ()


def chosen(request: HttpRequest, data: Any) -> Any:
    """Return what was asked for of a reply that is one object; lists leave fields out before they are made."""
    names = selected_fields(request)
    return data if names is None else {name: value for name, value in data.items() if name in names}


def _select(request: HttpRequest, text: str, known: tuple[str, ...]) -> None:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        detail = f"There is no field {unknown[0]!r}; known are {', '.join(known)}."
        raise InvalidInput(detail, [FieldError(f"/{FIELDS}", detail)])
    select_fields(request, names)
