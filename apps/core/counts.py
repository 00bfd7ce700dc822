"""Counts of what may be very many: up to a limit, or kept for a while."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.cache import cache
from django.core.paginator import Paginator
from django.db.models import QuerySet

LARGE = 20_000
"""What has more rows than this is not counted for every page."""
KEPT_SECONDS = 30
MAX_LISTED = 10_000
Counted = TypeVar("Counted")


def counted(key: str, count: Callable[[], Counted], *, size: Callable[[Counted], int]) -> Counted:
    """Return what `count` returns; if that is large, what it returned within the last 30 seconds in this process."""
    kept: Counted | None = cache.get(key)
    if kept is None:
        kept = count()
        if size(kept) > LARGE:
            cache.set(key, kept, KEPT_SECONDS)
    return kept


class LongPaginator(Paginator):
    """Pages of a list that may be very long: its first 10,000 rows, taken at once, so give it ids or the like."""

    def __init__(self, rows: QuerySet[Any, Any], per_page: int) -> None:
        found = list(rows[: MAX_LISTED + 1])
        self.has_more = len(found) > MAX_LISTED
        super().__init__(found[:MAX_LISTED], per_page)
