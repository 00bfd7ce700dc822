"""What the API serves outside of /api/v1/: health, and a problem for every other address below /api/."""

from django.urls import path, re_path

from apps.api.health import livez, readyz
from apps.api.problems import UnknownAddress

urlpatterns = [
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    re_path(r"^api(/|$)", UnknownAddress.as_view()),
]
