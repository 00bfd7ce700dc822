"""Swagger UI, from files of our own, with its script apart from its page."""

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularSwaggerSplitView

# Swagger UI writes style attributes; nothing of what it shows was written by users.
RELAXED = {"style-src": [SELF, UNSAFE_INLINE]}


@method_decorator(csp_update(RELAXED), name="dispatch")
class DocsView(SpectacularSwaggerSplitView):
    """The browsable documentation."""
