"""One URL, page or fragment: the fragment only for an htmx request that is not boosted."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers


def page_or_partial(request: HttpRequest, template: str, partial: str) -> str:
    """Return `template#partial` for an htmx swap and `template` for a page load or a boosted link."""
    htmx = getattr(request, "htmx", None)
    return f"{template}#{partial}" if htmx and not htmx.boosted else template


def render_page(
    request: HttpRequest, template: str, partial: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Render page or fragment and let caches keep the two apart."""
    response = render(request, page_or_partial(request, template, partial), context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response
