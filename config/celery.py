"""The Celery app: queues, beat's schedule, and a broker that is the database itself unless another is named.

Why these options: the Job row is the truth (apps.jobs), so messages are acknowledged at once, results are not kept,
and remote control, mingle and gossip are off; cancelling goes through the row.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init
from psycopg.conninfo import make_conninfo

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

from apps.jobs.kinds import CPU, GPU, KINDS
from config import embedded_postgres


def broker_transport_options() -> dict[str, Any]:
    """Return kombu's options; for `pgmq://`, libpq keywords, because a URL cannot carry a socket folder."""
    if not settings.CELERY_BROKER_URL.startswith("pgmq"):
        return {}
    database = settings.DATABASES["default"]
    host = str(embedded_postgres.socket_dir(settings.POSTGRES_DIR)) if settings.EMBEDDED else database["HOST"]
    keywords = {
        "host": host,
        "port": database.get("PORT") or None,
        "user": database["USER"],
        "password": database.get("PASSWORD") or None,
        "dbname": database["NAME"],
    }
    return {
        "conn_string": make_conninfo(**{key: value for key, value in keywords.items() if value}),
        "init_extension": False,  # installed by the migration jobs.0002
        "wait_time_seconds": 0,  # a blocking read would hold up the other queues and shutdown
        "polling_interval": 0.2,
        "pool_size": 2,
    }


@worker_init.connect
@beat_init.connect
def start_database(**kwargs: Any) -> None:
    """Start the embedded PostgreSQL before the broker inside it is asked for messages."""
    if settings.EMBEDDED:
        embedded_postgres.start(settings.POSTGRES_DIR)


UPKEEP = (
    "tiebreak.resend_jobs",
    "tiebreak.expire_leases",
    "tiebreak.refresh_consensus",
    "tiebreak.check_retrain_policies",
    "tiebreak.deliver_webhooks",
    "tiebreak.forget_webhook_deliveries",
    "tiebreak.forget_requests",
)
GPU_UPKEEP = ("tiebreak.test_local_models", "tiebreak.forget_run_folders")

app = Celery("tiebreak")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_transport_options=broker_transport_options(),
    broker_connection_retry_on_startup=True,
    imports=[
        "worker.tasks.upkeep",
        "worker.tasks.scoring",
        "worker.tasks.training",
        "worker.tasks.searching",
        "worker.tasks.datasets",
        "worker.tasks.evaluating",
        "worker.tasks.language_models",
        "worker.tasks.rule_reading",
        "worker.tasks.rule_verification",
        "worker.tasks.rules",
    ],
    task_default_queue=CPU,
    task_routes={kind.task: {"queue": kind.queue} for kind in KINDS.values()}
    | {task: {"queue": CPU} for task in UPKEEP}
    | {task: {"queue": GPU} for task in GPU_UPKEEP},
    task_create_missing_queues=True,
    task_ignore_result=True,
    task_acks_late=False,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_pool_start_method="spawn",
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_soft_shutdown_timeout=10,
    enable_utc=True,
    beat_schedule={
        "resend-jobs": {"task": "tiebreak.resend_jobs", "schedule": settings.BEAT_RESEND_SECONDS},
        "expire-leases": {"task": "tiebreak.expire_leases", "schedule": 60.0},
        "refresh-consensus": {"task": "tiebreak.refresh_consensus", "schedule": 60.0},
        "check-retrain-policies": {"task": "tiebreak.check_retrain_policies", "schedule": settings.BEAT_POLICY_SECONDS},
        "deliver-webhooks": {
            "task": "tiebreak.deliver_webhooks",
            "schedule": settings.BEAT_WEBHOOK_SECONDS,
            "options": {"expires": 60},  # while no worker runs, messages do not pile up
        },
        "test-local-models": {
            "task": "tiebreak.test_local_models",
            "schedule": 15.0,
            "options": {"expires": 60},
        },
        "forget-webhook-deliveries": {"task": "tiebreak.forget_webhook_deliveries", "schedule": 3600.0},
        "forget-run-folders": {
            "task": "tiebreak.forget_run_folders",  # of gpu workers, on whose disks they lie
            "schedule": 6 * 3600.0,
            "options": {"expires": 3600},
        },
        "forget-requests": {"task": "tiebreak.forget_requests", "schedule": 600.0},
    },
)
