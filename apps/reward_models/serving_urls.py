"""Addresses of the reward service: below /rm/, without slashes at their ends, as the clients of others write them."""

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from apps.reward_models import serving_api_views as views

POSTS = {
    "get_reward": views.GetReward,
    "classify": views.Classify,
    "score": views.PairScore,
    "rerank": views.Rerank,
    "pooling": views.Pooling,
    "embeddings": views.Embeddings,
    "predict": views.Predict,
    "verify": views.Verify,
}
GETS = {"models": views.ModelNames, "health": views.RewardHealth}
VIEWS: dict[str, Any] = {**POSTS, **GETS}
_ANSWERS = {name: view.as_view() for name, view in VIEWS.items()}


@csrf_exempt  # the views behind it see to that, as everywhere in REST
def at_other_address(request: HttpRequest, *, slug: str, name: str, id: str | None = None) -> HttpResponseBase:
    """Answer below the id of a version, at `v1/classify`, `v2/rerank` and the like, and with a slash at the end."""
    return _ANSWERS[name](request, slug=slug, id=id)


urlpatterns = [
    *(path(f"<slug:slug>/{name}", view.as_view()) for name, view in VIEWS.items()),
    re_path(
        rf"^(?P<slug>[-a-zA-Z0-9_]+)/(?:(?P<id>\d+)/)?(?:v[12]/)?(?P<name>{'|'.join(VIEWS)})/?$",
        at_other_address,
        name="rewards-elsewhere",
    ),
]
