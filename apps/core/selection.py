"""Which fields of a reply were asked for, with the query parameter `fields`."""

from collections.abc import Iterable

from django.http import HttpRequest


def select_fields(request: HttpRequest, names: Iterable[str]) -> None:
    """Note that only these fields are wanted."""
    request.__dict__["selected_fields"] = frozenset(names)


def selected_fields(request: HttpRequest) -> frozenset[str] | None:
    """Return the fields that are wanted; None for all."""
    selected: frozenset[str] | None = request.__dict__.get("selected_fields")
    return selected
