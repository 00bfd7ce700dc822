"""Read JSON bodies: bounded in size and depth, and nothing in them that JSON does not have."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

MAX_DEPTH = 60


class BodyTooLarge(APIException):
    """The body is longer than one request may be."""

    status_code = 413
    default_detail = "The body is too large. Split it, or send a file."
    default_code = "body_too_large"


class StrictJSONParser(BaseParser):
    """UTF-8 JSON without NaN, infinities or endless nesting, of at most DATA_UPLOAD_MAX_MEMORY_SIZE bytes."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the value; raise ParseError that says where the JSON breaks off."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge
        try:
            value = json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite)
        except UnicodeDecodeError as error:
            raise ParseError(f"The body is not UTF-8: byte {error.start} cannot be read.") from error
        except RecursionError as error:
            raise ParseError("The JSON is nested too deep.") from error
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}.") from error
        if _deeper_than(value, MAX_DEPTH):
            raise ParseError(f"The JSON is nested more than {MAX_DEPTH} levels deep.")
        return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [part for item in level for part in _containers(item)]
    return any(isinstance(item, dict | list) for item in level)


def _containers(item: Any) -> list[Any]:
    parts = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [part for part in parts if isinstance(part, dict | list)]
