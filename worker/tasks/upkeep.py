"""What beat asks for, and how a worker says that it lives."""

import contextlib
import logging
import os
import signal
import threading
from typing import Any

from billiard import active_children
from celery import shared_task
from celery.signals import worker_process_init, worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, connection

from apps.api.idempotency import forget_old as forget_old_replies
from apps.core.allowances import forget_full as forget_full_allowances
from apps.endpoints.services import forget_old_calls
from apps.jobs.services import forget_worker, note_worker, release_owned, resend_unheld
from apps.labeling.consensus import refresh_consensus as settle_what_is_stuck
from apps.labeling.leasing import expire_leases as give_back_overdue_leases
from apps.reward_models.run_folders import forget_old_folders
from apps.reward_models.services import check_retrain_policies as start_due_trainings
from apps.webhooks.delivery import deliver_due, forget_old
from worker.processes import die_with_parent
from worker.tasks.running import stop_working

logger = logging.getLogger(__name__)
_stopping = threading.Event()
TOLD_TO_STOP = signal.SIGURG  # which billiard leaves alone, and a process without a handler ignores


@shared_task(name="tiebreak.resend_jobs")
def resend_jobs() -> None:
    """Send again the jobs that no living worker holds."""
    resend_unheld()


@shared_task(name="tiebreak.expire_leases")
def expire_leases() -> None:
    """Give overdue comparisons back to the queue."""
    give_back_overdue_leases()


@shared_task(name="tiebreak.refresh_consensus")
def refresh_consensus() -> None:
    """Settle what a changed protocol has left open."""
    settle_what_is_stuck()


@shared_task(name="tiebreak.check_retrain_policies")
def check_retrain_policies() -> None:
    """Start the trainings that are due."""
    start_due_trainings()


@shared_task(name="tiebreak.deliver_webhooks")
def deliver_webhooks() -> None:
    """Send what webhooks have to tell."""
    deliver_due()


@shared_task(name="tiebreak.forget_webhook_deliveries")
def forget_webhook_deliveries() -> None:
    """Delete the log of what was sent a month ago."""
    forget_old()


@shared_task(name="tiebreak.forget_requests")
def forget_requests() -> None:
    """Drop stored replies that nobody may ask for any more, whole allowances, and old calls to language models."""
    forget_old_replies()
    forget_full_allowances()
    forget_old_calls()


@shared_task(name="tiebreak.forget_run_folders")
def forget_run_folders() -> None:
    """Remove working folders of trainings that ended long ago, on a machine that has some."""
    forget_old_folders()


@worker_process_init.connect
def _tie_child_to_worker(**kwargs: Any) -> None:
    die_with_parent()
    signal.signal(TOLD_TO_STOP, lambda number, frame: stop_working())


@worker_ready.connect
def _start_saying_alive(sender: Any, **kwargs: Any) -> None:
    name, queues = sender.hostname, [queue.name for queue in sender.task_consumer.queues]
    # A worker that starts under this name has no earlier self any more: what that one held is free.
    release_owned(owner=name)
    threading.Thread(target=_say_alive, args=(name, queues), name="alive", daemon=True).start()


@worker_shutting_down.connect
def _stop_saying_alive(**kwargs: Any) -> None:
    _stopping.set()


@worker_shutting_down.connect
def _tell_children(**kwargs: Any) -> None:
    """Tell the processes of the pool, which a shutdown in order waits for and says nothing to."""
    for child in active_children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, TOLD_TO_STOP)


def _say_alive(name: str, queues: list[str]) -> None:
    while True:
        try:
            note_worker(name=name, queues=queues)
        except DatabaseError as error:
            logger.warning("Could not say that %s is alive: %s", name, error)
        connection.close()
        if _stopping.wait(settings.WORKER_SEEN_SECONDS / 4):
            break
    forget_worker(name=name)
    connection.close()
