"""What the API serves outside of /api/v1/: health, the reward service, and a problem for every other address there."""

from django.urls import include, path, re_path

from apps.api.health import livez, readyz
from apps.api.problems import UnknownAddress

urlpatterns = [
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("rm/", include("apps.reward_models.serving_urls")),
    re_path(r"^(api|rm)(/|$)", UnknownAddress.as_view()),
]
