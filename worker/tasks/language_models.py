"""What asks language models in a worker: servers from any of them, local models in the gpu worker's process."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from celery import shared_task

from apps.core.errors import AppError
from apps.endpoints.asking import Asker, Found, Wanted
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.services import fail_test, openai_backend, run_test
from apps.jobs.services import LeaseLost
from worker.core.llm.messages import Backend, CallFailed
from worker.tasks.running import Held, JobFailed

if TYPE_CHECKING:
    from worker.core.llm.local_backend import LocalBackend

Value = TypeVar("Value")


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


class Asking:
    """Questions to the endpoint of a job, for as long as the job is ours."""

    def __init__(self, held: Held, endpoint: int, *, purpose: str) -> None:
        found = ModelEndpoint.objects.filter(pk=endpoint).first()
        if found is None:
            raise JobFailed(
                "The language model that this was started with is deleted. Start it again with another one."
            )
        self.held, self.endpoint, self.purpose = held, found, purpose
        try:
            self.backend: Backend = backend_of(found)
        except CallFailed as error:
            raise JobFailed(error.detail) from error

    def ask(self, questions: Iterable[Wanted[Value]]) -> Iterator[Found[Value]]:
        """Yield what became of each question; raise LeaseLost when the job is no longer ours."""
        claim = self.held.claim
        asker = Asker(
            self.endpoint,
            self.backend,
            purpose=self.purpose,
            holder=f"job-{claim.job_id}:{claim.token}",
            job_number=claim.job_id,
            check=self._check,
        )
        return asker.ask(questions)

    def _check(self) -> None:
        if self.held.lost.is_set():
            raise LeaseLost


@lru_cache(maxsize=1)
def _resident(model: str) -> "LocalBackend":
    from worker.core.llm.local_backend import LocalBackend  # only the gpu worker loads torch

    return LocalBackend(model)
