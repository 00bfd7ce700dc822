"""Whether this process lives, and whether what it depends on does."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.jobs.kinds import QUEUES
from apps.jobs.services import live_queues
from apps.reward_models.reward_server import HOW_TO_START, answers

logger = logging.getLogger(__name__)
BROKER_SECONDS = 1
REDIS_TIMEOUTS = {"socket_connect_timeout": BROKER_SECONDS, "socket_timeout": BROKER_SECONDS}
Check = dict[str, Any]


@require_safe
@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """Answer 200 as long as the process answers at all."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, broker and migrations are fine, else 503; the rest is reported, not required."""
    database = _checked(_check_database)
    unknown = {"ok": False, "detail": "Not known: the database does not answer."}
    checks: dict[str, Any] = {
        "database": database,
        "broker": _checked(_check_broker) if database["ok"] or not _broker_is_database() else unknown,
        "migrations": _checked(_check_migrations) if database["ok"] else unknown,
    }
    ready = all(check["ok"] for check in checks.values())
    live = live_queues() if checks["migrations"]["ok"] else set()
    checks["workers"] = {queue: queue in live for queue in QUEUES}
    checks["reward_server"] = {"ok": True, "detail": None} if answers() else {"ok": False, "detail": str(HOW_TO_START)}
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": checks}, status=200 if ready else 503)


def _checked(check: Callable[[], str]) -> Check:
    """Run a check that returns what is wrong, or nothing; what its errors tell of addresses stays in the log."""
    try:
        detail = check()
    except Exception as error:  # noqa: BLE001  (whatever goes wrong here is what the reply is about)
        logger.warning("%s: %s", check.__name__, error)
        detail = "It does not answer; the log of this process has the details."
    return {"ok": not detail, "detail": detail or None}


def _check_database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


def _check_broker() -> str:
    if _broker_is_database():
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('pgmq.meta') IS NOT NULL")
            installed = cursor.fetchone()[0]
        return "" if installed else "PGMQ is not installed; run the migrations."
    options = REDIS_TIMEOUTS if settings.CELERY_BROKER_URL.startswith("redis") else {}
    with current_app.connection_for_write(
        settings.CELERY_BROKER_URL, connect_timeout=BROKER_SECONDS, transport_options=options
    ) as broker:
        broker.ensure_connection(max_retries=0)
    return ""


def _broker_is_database() -> bool:
    return bool(settings.CELERY_BROKER_URL.startswith("pgmq"))


def _check_migrations() -> str:
    missing = len(_known_migrations() - set(MigrationRecorder(connection).applied_migrations()))
    return f"{missing} migrations are not applied; run `manage.py migrate`." if missing else ""


@cache
def _known_migrations() -> frozenset[tuple[str, str]]:
    """Return the migrations of the code, which cannot change while the process lives."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)
