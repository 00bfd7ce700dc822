"""Figures with their intervals."""

from typing import Any

from django import template
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def with_interval(share: dict[str, Any]) -> SafeString:
    """Return a share in percent, with its interval and what it is a share of below; a dash for a share of nothing."""
    if share["share"] is None:
        return SafeString("–")
    below = [number_format(share["of"], force_grouping=True)]
    if share["interval"]:
        low, high = share["interval"]
        below.insert(0, f"{100 * low:.0f}–{100 * high:.0f}")
    return format_html('{} %<div class="hint">{}</div>', f"{100 * share['share']:.0f}", " · ".join(below))


@register.filter
def estimate(figure: dict[str, Any]) -> SafeString:
    """Return a coefficient with its interval below; a dash where it is not defined."""
    if figure["value"] is None:
        return SafeString("–")
    below = ""
    if figure["interval"]:
        below = "–".join(_three(end) for end in figure["interval"])
    return format_html('{}<div class="hint">{}</div>', _three(figure["value"]), below)


@register.filter
def percent_estimate(figure: dict[str, Any]) -> SafeString:
    """Return a share of pairs in percent, with its interval below."""
    if figure["value"] is None:
        return SafeString("–")
    below = ""
    if figure["interval"]:
        below = "–".join(_one(100 * end) for end in figure["interval"])
    return format_html('{} %<div class="hint">{}</div>', _one(100 * figure["value"]), below)


@register.filter
def decimals(value: float | None, places: int = 2) -> str:
    """Return a number with so many decimals and a real minus; a dash for none."""
    return "–" if value is None else number_format(f"{value:.{places}f}", places).replace("-", "−")


def _one(value: float) -> str:
    return number_format(f"{value:.1f}", 1).replace("-", "−")


def _three(value: float) -> str:
    return number_format(f"{value:.3f}", 3).replace("-", "−")
