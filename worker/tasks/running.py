"""Run a job: claim it, keep its lease alive from a thread, and end it with a result or a sentence."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery import current_task
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection

from apps.core.errors import AppError
from apps.jobs import services as jobs
from apps.jobs.models import Job

logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """The job cannot be done; the message is the sentence its owner reads."""


class Held:
    """A claimed job while it is worked on; `lost` is set when another worker has it or it was cancelled."""

    def __init__(self, job: Job, claim: jobs.Claim) -> None:
        self.job, self.claim = job, claim
        self.lost = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{job.pk}", daemon=True)

    def __enter__(self) -> "Held":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Store the progress; raise LeaseLost when the job is no longer ours."""
        if self.lost.is_set():
            raise jobs.LeaseLost
        jobs.report_progress(self.claim, done=done, total=total, message=message)

    def _beat(self) -> None:
        while not self._over.wait(settings.JOB_HEARTBEAT_SECONDS):
            try:
                jobs.heartbeat(self.claim)
            except jobs.LeaseLost:
                self.lost.set()
                break
            except DatabaseError as error:  # the lease outlives a few missed beats
                logger.warning("The heartbeat of job %s failed: %s", self.job.pk, error)
        connection.close()


def run_job(job_id: int, work: Callable[[Held], dict[str, Any] | None]) -> None:
    """Claim a job and do its work; a message for a job that somebody else holds, or that is finished, is ignored.

    `work` returns the job's result, or None when it has stored the result itself together with its rows.
    """
    close_old_connections()
    claimed = jobs.claim(job_id=job_id, owner=worker_name())
    if claimed is None:
        return
    job, claim = claimed
    try:
        with Held(job, claim) as held:
            result = work(held)
        if result is not None:
            jobs.succeed(claim, result=result)
    except jobs.LeaseLost:
        logger.info("Job %s was taken over or cancelled; this worker stops.", job_id)
    except (OperationalError, InterfaceError):
        raise  # the database is away: the lease ends and another attempt follows
    except (AppError, JobFailed) as error:
        jobs.fail(claim, error=str(error))
    except Exception as error:
        logger.exception("Job %s failed", job_id)
        jobs.fail(claim, error=f"Unexpected {type(error).__name__}: {error}. The worker's log has the details.")


def worker_name() -> str:
    """Return the name of the Celery worker this code runs in, or "local" outside of one."""
    return str(getattr(current_task.request, "hostname", None) or "local") if current_task else "local"
