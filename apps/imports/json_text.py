"""Parse JSON that somebody wrote: what cannot be stored is refused, and whole numbers of any length stay exact."""

import codecs
import json
from typing import Any

import orjson

from apps.imports.rows import BadRow, storable

MAX_BRACKETS = 40
"""A text with no more than these is not nested too deeply, whatever they mean."""
_FIRST_ROUNDED = 2.0**63
"""Whole numbers from here on may be floats by now, which are not exact."""


def loads(text: bytes) -> Any:
    """Return a value; raise orjson.JSONDecodeError for what is no JSON, BadRow for what cannot be stored."""
    value = orjson.loads(text)
    if _may_be_rounded(value):
        value = json.loads(text)
    # orjson refuses what else cannot be stored, so most values need not be walked through.
    if b"\\u0000" in text or text.count(b"{") + text.count(b"[") > MAX_BRACKETS:
        checked = storable(value)
        if isinstance(checked, BadRow):
            raise checked
    return value


def parsed(text: bytes) -> object:
    """Return the value of a line or of an array's element, or a BadRow that says what is wrong with it."""
    try:
        return loads(text)
    except BadRow as bad:
        return bad
    except orjson.JSONDecodeError as error:
        try:
            text.decode()
        except UnicodeDecodeError:
            return BadRow("", "The line is not UTF-8.")
        if text.startswith(codecs.BOM_UTF8):
            return parsed(text[len(codecs.BOM_UTF8) :])
        return BadRow("", f"Not valid JSON: {error}.")


def _may_be_rounded(value: Any) -> bool:
    """Say whether a float is so large that a whole number of more than 64 bits may have become it."""
    pending = [value] if isinstance(value, dict | list) else []
    for item in pending:
        for part in item.values() if type(item) is dict else item:
            kind = type(part)
            if kind is dict or kind is list:
                pending.append(part)
            elif kind is float and abs(part) >= _FIRST_ROUNDED:
                return True
    return False
