"""What asks language models in a worker: servers from any of them, local models in the gpu worker's process."""

from functools import lru_cache
from typing import TYPE_CHECKING

from celery import shared_task

from apps.core.errors import AppError
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.services import fail_test, openai_backend, run_test
from worker.core.llm.messages import Backend, CallFailed

if TYPE_CHECKING:
    from worker.core.llm.local_backend import LocalBackend


@shared_task(name="tiebreak.test_local_models")
def test_local_models() -> None:
    """Ask each local model that somebody wants tested for one word."""
    for endpoint in ModelEndpoint.objects.filter(test_wanted_at__isnull=False):
        try:
            run_test(endpoint=endpoint, backend=backend_of(endpoint))
        except (CallFailed, AppError) as error:
            fail_test(endpoint=endpoint, error=error.detail)


def backend_of(endpoint: ModelEndpoint) -> Backend:
    """Return what asks this endpoint; raise CallFailed when its model cannot be loaded."""
    if endpoint.kind == ModelEndpoint.Kind.LOCAL:
        return _resident(endpoint.model)
    return openai_backend(endpoint)


@lru_cache(maxsize=1)
def _resident(model: str) -> "LocalBackend":
    from worker.core.llm.local_backend import LocalBackend  # only the gpu worker loads torch

    return LocalBackend(model)
