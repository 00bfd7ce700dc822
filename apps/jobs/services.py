"""The life of a job: enqueue, claim, heartbeat, finish, take over. Only this module sends Celery messages."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from kombu.exceptions import OperationalError

from apps.accounts.models import User
from apps.core.errors import Conflict
from apps.jobs.kinds import KINDS, QUEUES
from apps.jobs.models import Job, WorkerSeen
from apps.projects.models import Project
from apps.webhooks.events import JOB_FAILED
from apps.webhooks.services import emit
from config.celery import app as celery_app

logger = logging.getLogger(__name__)
ENDED = {
    Job.State.SUCCEEDED: _("The job has succeeded already."),
    Job.State.FAILED: _("The job has failed already."),
    Job.State.CANCELLED: _("The job was cancelled already."),
}


class LeaseLost(Exception):
    """Another worker took the job over, or it was cancelled: stop and store nothing more."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a job until somebody with a higher token takes it over."""

    job_id: int
    token: int


def enqueue(
    *, kind: str, project: Project, inputs: dict[str, Any], created_by: User | None = None, key: str | None = None
) -> Job:
    """Store a job and send its message when the transaction commits.

    With a `key` that an unfinished job of the project has, return that job instead: a button pressed twice is one job.
    A broker that is down delays the job, never loses it: beat sends again what nobody holds.
    """
    while True:
        try:
            with transaction.atomic():
                job = Job.objects.create(project=project, kind=kind, inputs=inputs, created_by=created_by, key=key)
        except IntegrityError:
            unfinished = Job.objects.unfinished().filter(project=project, key=key).first()
            if unfinished is not None:
                return unfinished
            continue  # it finished between the two statements
        transaction.on_commit(partial(send, job))
        return job


def send(job: Job) -> None:
    """Ring the doorbell: send the job's id to the queue of its kind."""
    kind = KINDS[job.kind]
    try:
        celery_app.send_task(kind.task, args=[job.pk], task_id=str(job.pk), queue=kind.queue)
    except (OperationalError, psycopg.Error) as error:
        logger.warning("The broker did not take the message of job %s (%s); beat will send it again.", job.pk, error)
        return
    Job.objects.filter(pk=job.pk).update(sent_at=timezone.now())


def resend_unheld() -> int:
    """Send again every unfinished job that no living worker holds; give up on one that died too often."""
    sent, live = 0, live_queues()
    for job in Job.objects.unheld().order_by("id")[:500]:
        if job.attempt >= settings.JOB_MAX_ATTEMPTS:
            _give_up(
                Job.objects.filter(pk=job.pk, fencing_token=job.fencing_token).unfinished(),
                job.pk,
                f"The worker died {job.attempt} times on this job; see its log before starting it again.",
            )
        elif job.state == Job.State.RUNNING or job.queue in live:
            send(job)
            sent += 1
    return sent


def claim(*, job_id: int, owner: str) -> tuple[Job, Claim] | None:
    """Take a job that is queued or whose lease ran out; None when there is nothing to take (one row lock)."""
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).select_related("project").filter(pk=job_id).first()
        if job is None or job.finished:
            return None
        now = timezone.now()
        if job.state == Job.State.RUNNING and job.lease_until and job.lease_until > now:
            return None
        job.state = Job.State.RUNNING
        job.attempt += 1
        job.fencing_token += 1
        job.lease_owner = owner
        job.lease_until = _lease_end(now)
        job.started_at = job.started_at or now
        job.save()
        return job, Claim(job.pk, job.fencing_token)


def heartbeat(claim: Claim) -> None:
    """Prolong the lease; raise LeaseLost when the job is no longer ours or was cancelled."""
    if not _held(claim).update(lease_until=_lease_end(timezone.now())):
        raise LeaseLost


def report_progress(claim: Claim, *, done: int, total: int, message: str = "") -> None:
    """Store how far the job is, and prolong its lease; raise LeaseLost as `heartbeat` does."""
    lease_until = _lease_end(timezone.now())
    changed = _held(claim).update(done=done, total=total, message=message[:300], lease_until=lease_until)
    if not changed:
        raise LeaseLost


def note_advance(claim: Claim) -> None:
    """Count the attempts anew: what this one has done is kept, so a worker that is restarted gives nothing up."""
    _held(claim).filter(attempt__gt=1).update(attempt=1)


def release(claim: Claim) -> None:
    """Give a job back that a worker which shuts down cannot finish; the attempt does not count."""
    given_back = {"state": Job.State.QUEUED, "lease_owner": "", "lease_until": None, "attempt": F("attempt") - 1}
    if _held(claim).update(**given_back):
        send(Job.objects.get(pk=claim.job_id))


@contextmanager
def storing(claim: Claim) -> Iterator[Job]:
    """Open the transaction in which results are stored: the row lock keeps a takeover out until it commits."""
    with transaction.atomic():
        job = _held(claim).select_for_update().first()
        if job is None:
            raise LeaseLost
        yield job


@transaction.atomic
def succeed(claim: Claim, *, result: dict[str, Any], done: int = 0) -> None:
    """Finish the job; call it inside `storing` so that results and state commit together.

    `done` is how much it was where nobody knew before: a short job ends before any of its progress is stored.
    """
    amount = Greatest("total", done) if done else F("total")
    if not _finish(_held(claim), Job.State.SUCCEEDED, result=result, done=amount, total=amount, message=""):
        raise LeaseLost
    _tell(claim.job_id)


def fail(claim: Claim, *, error: str) -> None:
    """Finish the job with a sentence; a job that is no longer ours stays as it is."""
    _give_up(_held(claim), claim.job_id, error)


def release_owned(*, owner: str) -> int:
    """End the leases of a worker that is known to be gone, so that its jobs go on at once. Return how many."""
    owned = Job.objects.filter(state=Job.State.RUNNING, lease_owner=owner)
    now = timezone.now()
    released = list(owned.values_list("pk", flat=True))
    owned.update(lease_until=now)
    for job in Job.objects.filter(pk__in=released):
        send(job)
    return len(released)


def cancel(*, job: Job) -> Job:
    """Cancel a job; a worker that has it notices at its next heartbeat and stores nothing more."""
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=job.pk)
        if job.finished:
            raise Conflict(str(ENDED[Job.State(job.state)]))
        _finish(Job.objects.filter(pk=job.pk), Job.State.CANCELLED)
    job.refresh_from_db()
    return job


def note_worker(*, name: str, queues: list[str]) -> None:
    """Remember that a worker is alive; rows of workers that left a day ago go."""
    now = timezone.now()
    WorkerSeen.objects.update_or_create(name=name, defaults={"queues": queues, "seen_at": now})
    WorkerSeen.objects.filter(seen_at__lt=now - timedelta(days=1)).delete()


def forget_worker(*, name: str) -> None:
    """Drop the row of a worker that shuts down in order."""
    WorkerSeen.objects.filter(name=name).delete()


def worker_seen(queue: str) -> bool:
    """Say whether a worker of this queue was heard in the last minute."""
    return queue in live_queues()


def live_queues() -> set[str]:
    """Return the queues that a worker was heard on in the last minute (one query)."""
    since = timezone.now() - timedelta(seconds=settings.WORKER_SEEN_SECONDS)
    rows = WorkerSeen.objects.filter(seen_at__gte=since).values_list("queues", flat=True)
    return {queue for queues in rows for queue in queues if queue in QUEUES}


def _held(claim: Claim) -> Any:
    return Job.objects.filter(pk=claim.job_id, fencing_token=claim.token, state=Job.State.RUNNING)


def _finish(jobs: Any, state: str, **fields: Any) -> int:
    return int(jobs.update(state=state, finished_at=timezone.now(), lease_until=None, **fields))


@transaction.atomic
def _give_up(jobs: Any, job_id: int, error: str) -> None:
    if _finish(jobs, Job.State.FAILED, error=error):
        _tell(job_id)


def _tell(job_id: int) -> None:
    """Tell the project's webhooks how a job has ended: its ids and counts, and none of the texts that it met."""
    job = Job.objects.select_related("project").get(pk=job_id)
    event = KINDS[job.kind].event_of(job.inputs) if job.state == Job.State.SUCCEEDED else JOB_FAILED
    if not event:
        return
    found = {**job.inputs, **(job.result or {})}
    facts = {name: value for name, value in found.items() if name in KINDS or isinstance(value, int)}
    emit(project=job.project, event=event, data={"job": str(job.pk), "kind": job.kind, **_as_ids(facts)})


def _as_ids(facts: dict[str, Any]) -> dict[str, Any]:
    """Write ids, which are named after a kind of job, as REST writes them: opaque strings."""
    return {name: str(value) if name in KINDS else value for name, value in facts.items()}


def _lease_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.JOB_LEASE_SECONDS)
