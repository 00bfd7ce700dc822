"""Template filters for text and figures."""

from typing import Any

from django import template
from django.utils.formats import number_format
from django.utils.safestring import SafeString

from apps.core.counts import MAX_LISTED
from apps.core.markdown import render_markdown

register = template.Library()


@register.filter
def markdown(text: str) -> SafeString:
    """Render Markdown that may be hostile."""
    return render_markdown(text)


@register.filter
def document(text: str) -> SafeString:
    """Render Markdown that was written in lines of limited length."""
    return render_markdown(text, hard_wrapped=True)


@register.filter
def percent(share: float | str | None, digits: int = 1) -> str:
    """Return a share of 1 as percent; a dash when it was not measured."""
    return "–" if share in (None, "") else f"{number_format(f'{100 * share:.{digits}f}', digits)} %"


@register.filter
def signed(value: float | None) -> str:
    """Return a number with its sign, and a real minus."""
    return "–" if value in (None, "") else number_format(f"{value:+g}").replace("-", "−") if value else "0"


@register.filter
def signed_percent(share: float | None, digits: int = 1) -> str:
    """Return a difference of shares in points with its sign, and a real minus."""
    return "–" if share in (None, "") else number_format(f"{100 * share:+.{digits}f}", digits).replace("-", "−")


@register.filter
def item(mapping: dict[Any, Any], key: Any) -> Any:
    """Return an entry of a mapping, or nothing."""
    return mapping.get(key, "")


@register.filter
def upto(count: int) -> str:
    """Return a number that was counted up to a limit: "10,000+" when it was reached."""
    return number_format(count, force_grouping=True) + ("+" if count >= MAX_LISTED else "")
