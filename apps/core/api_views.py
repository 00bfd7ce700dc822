"""What every list of the REST API shares: filters by allow-list, and only the fields that were asked for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import generics

from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import why_unstorable
from apps.core.selection import selected_fields

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
    """A paginated list with `filters` by allow-list; a parameter that is none of them is refused before it is read."""

    filters: ClassVar[Mapping[str, Filter]] = {}

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the filters of the request."""
        values = {name: self.request.query_params[name] for name in self.filters if name in self.request.query_params}
        errors = [
            FieldError(f"/{name}", problem)
            for name, value in sorted(values.items())
            if (problem := self.filters[name].why_not(value))
        ]
        if errors:
            raise InvalidInput("The list cannot be filtered like this.", errors)
        return queryset.filter(**{self.filters[name].lookup: value for name, value in values.items()})

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        """Return the serializer without the fields that were not asked for: they are not even computed."""
        serializer: Any = super().get_serializer(*args, **kwargs)
        names = selected_fields(self.request._request)
        if names is not None:
            fields = getattr(serializer, "child", serializer).fields
            for name in set(fields) - names:
                del fields[name]
        return serializer
