"""What every list of the REST API shares: filters by allow-list."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import generics

from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import why_unstorable

MAX_ID_DIGITS = 18


@dataclass(frozen=True)
class Filter:
    """A query parameter that narrows a list: the lookup it becomes, and the values it may have (any text if empty)."""

    lookup: str
    choices: Collection[str] = ()
    is_id: bool = False

    def why_not(self, value: str) -> str | None:
        """Return what is wrong with a value, or None."""
        if problem := why_unstorable(value):
            return f"The value {problem}."
        if self.choices and value not in self.choices:
            return f"Use one of {', '.join(self.choices)}."
        if self.is_id and not (value.isascii() and value.isdecimal() and len(value) <= MAX_ID_DIGITS):
            return "Expected an id."
        return None


class ListView(generics.ListAPIView[Any]):
    """A paginated list; a query parameter that is not in `filters` is an error, not silence."""

    filters: ClassVar[Mapping[str, Filter]] = {}

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the filters of the request."""
        known = {*self.filters, *getattr(self.paginator, "query_params", ())}
        values = self.request.query_params
        errors = [
            FieldError(f"/{name}", f"There is no such filter; known are {', '.join(sorted(known))}.")
            for name in sorted(set(values) - known)
        ]
        errors += [
            FieldError(f"/{name}", problem)
            for name in sorted(set(values) & set(self.filters))
            if (problem := self.filters[name].why_not(values[name]))
        ]
        if errors:
            raise InvalidInput("The list cannot be filtered like this.", errors)
        return queryset.filter(**{self.filters[name].lookup: values[name] for name in values if name in self.filters})
