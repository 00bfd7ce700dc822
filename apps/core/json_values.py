"""Questions about JSON values that came from outside."""

from math import isfinite
from typing import Any

from django.utils.translation import gettext as _


def why_unstorable(value: Any) -> str | None:
    """Return why a JSON value cannot be stored (NUL characters, lone surrogates, NaN, too deep), or None if it can.

    The reason goes on a sentence that begins with the value: “The text …”.
    """
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > 40:
            return _("is nested more than 40 levels deep")
        if isinstance(item, str):
            if "\x00" in item:
                return _("has a NUL character, which cannot be stored")
            if not item.isascii() and _has_surrogate(item):
                return _("has half of a surrogate pair, which is no character")
        elif isinstance(item, float) and not isfinite(item):
            return _("has a number that is infinite or none at all")
        elif isinstance(item, dict):
            pending += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list | tuple):
            pending += [(part, depth + 1) for part in item]
    return None


def is_whole(value: Any) -> bool:
    """Say whether a JSON value is a whole number; true and false are not, though Python counts them as integers."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(value: Any) -> int | None:
    """Return a whole number, which JSON may write as 4.0 as well; None for any other value."""
    if type(value) is int:  # and not true or false
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _has_surrogate(text: str) -> bool:
    """Say whether a text has no UTF-8 form: a hundred times faster than looking at each character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
