"""Cursor pagination over ascending ids."""

import base64
import binascii
import json
from typing import Any

from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from apps.core.errors import FieldError, InvalidInput

AFTER, BEFORE = "after", "before"
MAX_ID = 2**63 - 1
Cursor = tuple[str, int]


class IdCursorPagination(BasePagination):
    """Pages of rows in the order of their ids: `{"results", "next", "previous"}`.

    A cursor names an id, not a position, so rows that come or go between two requests shift nothing: what was there
    when the reading began, and stays, is read exactly once. Every page is one query.
    """

    page_size = 50
    max_page_size = 500
    query_params = ("cursor", "page_size")

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """Return the page that the request's cursor asks for."""
        self.url = request.build_absolute_uri()
        size = self._size(request.query_params.get("page_size"))
        cursor = decode_cursor(request.query_params.get("cursor"))
        way, border = cursor or (AFTER, 0)
        if way == AFTER:
            rows = list(queryset.filter(pk__gt=border).order_by("pk")[: size + 1])
            page, more = rows[:size], len(rows) > size
        else:
            rows = list(queryset.filter(pk__lt=border).order_by("-pk")[: size + 1])
            page, more = rows[:size][::-1], len(rows) > size
        first, last = (page[0].pk, page[-1].pk) if page else (border + 1, border - 1)
        self.next = (AFTER, last) if more or way == BEFORE else None
        self.previous = (BEFORE, first) if (more if way == BEFORE else cursor) else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page with the addresses of its neighbours."""
        return Response({"results": data, "next": self._link(self.next), "previous": self._link(self.previous)})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe a page for the OpenAPI schema."""
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": link},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe the query parameters for the OpenAPI schema."""
        return [
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "schema": {"type": "string"},
                "description": "Opaque; taken from `next` or `previous`.",
            },
            {
                "name": "page_size",
                "in": "query",
                "required": False,
                "schema": {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size},
            },
        ]

    def _size(self, text: str | None) -> int:
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= self.max_page_size):
            detail = f"Expected a whole number from 1 to {self.max_page_size}."
            raise InvalidInput(detail, [FieldError("/page_size", detail)])
        return int(text)

    def _link(self, cursor: Cursor | None) -> str | None:
        return None if cursor is None else replace_query_param(self.url, "cursor", encode_cursor(cursor))


def encode_cursor(cursor: Cursor) -> str:
    """Return the opaque form of a cursor."""
    return base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode().rstrip("=")


def decode_cursor(text: str | None) -> Cursor | None:
    """Return the cursor in a query parameter; raise InvalidInput for one that this API never gave out."""
    if text is None:
        return None
    try:
        match json.loads(base64.urlsafe_b64decode(text.encode() + b"=="[: -len(text) % 4])):
            case [("after" | "before") as way, int() as border] if -1 <= border <= MAX_ID and border is not True:
                return way, border
    except (ValueError, RecursionError, binascii.Error):
        pass
    detail = "The cursor is not one of this list."
    raise InvalidInput(detail, [FieldError("/cursor", detail)])
