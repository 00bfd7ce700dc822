"""The OpenAPI schema as a file: made once in a process, for it takes a second of the processor and anybody may ask."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

_WRITTEN: dict[str, bytes] = {}
"""Media type → the schema in it."""


class SchemaView(SpectacularAPIView):
    """The description of every address, as YAML or JSON; all callers get the same one."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the schema in the form that the caller accepts."""
        renderer: Any = request.accepted_renderer
        if renderer.media_type not in _WRITTEN:
            schema = SchemaGenerator().get_schema(request=None, public=True)
            _WRITTEN[renderer.media_type] = renderer.render(schema, renderer_context={})
        return HttpResponse(
            _WRITTEN[renderer.media_type],
            content_type=f"{renderer.media_type}; charset=utf-8",
            headers={"Content-Disposition": f'inline; filename="Tiebreak.{renderer.format}"'},
        )
