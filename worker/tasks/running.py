"""Run a job: claim it, keep its lease alive from a thread, and end it with a result or a sentence."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import current_task
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection

from apps.core.errors import AppError
from apps.jobs import services as jobs
from apps.jobs.models import Job

logger = logging.getLogger(__name__)
PROGRESS_SECONDS = 0.5
stopping = threading.Event()
"""Set when the worker shuts down in order."""
_working: set["Held"] = set()


class WorkerStops(Exception):
    """The worker shuts down in order; the job goes on elsewhere from what it has kept."""


class JobFailed(Exception):
    """The job cannot be done; the message is the sentence its owner reads."""


class Held:
    """A claimed job while it is worked on; `lost` is set when another worker has it or it was cancelled.

    A thread with a connection of its own renews the lease and writes the progress, so that both go on while the work
    sits in a long transaction or in a library. When the job is lost, the thread also calls `on_lost`; so does
    `stop_working` when the worker shuts down.
    """

    def __init__(self, job: Job, claim: jobs.Claim) -> None:
        self.job, self.claim = job, claim
        self.lost = threading.Event()
        self.amount = 0
        self.on_lost: Callable[[], object] = lambda: None
        self._progress: tuple[int, int, str] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{job.pk}", daemon=True)

    def __enter__(self) -> "Held":
        self._thread.start()
        _working.add(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _working.discard(self)
        self._over.set()
        self._thread.join()

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Note how far the work is, to be stored within a second; raise LeaseLost when the job is no longer ours."""
        if self.lost.is_set():
            raise jobs.LeaseLost
        self._progress, self.amount = (done, total, message), max(done, total)

    def _beat(self) -> None:
        beat_at = time.monotonic()
        while not self._over.wait(PROGRESS_SECONDS):
            noted, self._progress = self._progress, None
            if noted is None and time.monotonic() < beat_at + settings.JOB_HEARTBEAT_SECONDS:
                continue
            beat_at = time.monotonic()
            try:
                if noted is None:
                    jobs.heartbeat(self.claim)
                else:
                    jobs.report_progress(self.claim, done=noted[0], total=noted[1], message=noted[2])
            except jobs.LeaseLost:
                self.lost.set()
                self.on_lost()
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
            jobs.succeed(claim, result=result, done=held.amount)
    except jobs.LeaseLost:
        logger.info("Job %s was taken over or cancelled; this worker stops.", job_id)
    except WorkerStops:
        jobs.release(claim)
        logger.info("Job %s is given back: this worker shuts down.", job_id)
    except (OperationalError, InterfaceError):
        raise  # the database is away: the lease ends and another attempt follows
    except (AppError, JobFailed) as error:
        jobs.fail(claim, error=str(error))
    except Exception as error:
        logger.exception("Job %s failed", job_id)
        jobs.fail(claim, error=f"Unexpected {type(error).__name__}: {error}. The worker's log has the details.")


def stop_working() -> None:
    """Ask what can be taken up again to stop now, instead of being killed when patience ends."""
    stopping.set()
    for held in list(_working):
        held.on_lost()


def worker_name() -> str:
    """Return the name of the Celery worker this code runs in, or "local" outside of one."""
    return str(getattr(current_task.request, "hostname", None) or "local") if current_task else "local"
