"""Send what waits: held rows, a bounded number at a time, a few for each endpoint, again with growing pauses.

A row is claimed in a short transaction (`FOR UPDATE SKIP LOCKED`) and held for longer than a request may take. A worker
that dies leaves rows whose hold runs out, and the next one sends them: at least once, under the same webhook-id. Only
the thread of the run touches the database; the threads of the pool only send.
"""

import logging
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.core.errors import AppError
from apps.core.outgoing import Limits, fetch
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.services import disable_endpoint
from apps.webhooks.signing import signed_headers

logger = logging.getLogger(__name__)
LIMITS = Limits(seconds=10.0, size=1 << 20)
HOLD = timedelta(seconds=30)
"""How long a claimed row is nobody else's: longer than LIMITS, so that only a dead worker's hold runs out."""
PAUSES = [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 8 * 3600, 8 * 3600]
"""Seconds between attempts, a day altogether: the beginning of Standard Webhooks' own example."""
JITTER = 0.2
LONGEST_PAUSE = 12 * 3600
"""What Retry-After may ask for at most."""
LOOK_SECONDS = 0.5
"""How often a run looks for what has become due, while all receivers that it asked are still thinking."""
GATHER_SECONDS = 0.01
PARALLEL = 32
PER_ENDPOINT = 4
"""Requests to one endpoint at a time: a slow one keeps four of the 32 threads, however much waits for it."""
DISABLED_AFTER = timedelta(days=5)
"""An endpoint that only failed for so long is switched off."""
KEPT = timedelta(days=30)
CHUNK = 5000
_RUN_LOCK = 0x7765_6268  # "webh": the key of an advisory lock, so that one run works at a time


@dataclass(frozen=True)
class Message:
    """A claimed delivery, as a thread needs it to send it."""

    delivery: int
    attempt: int
    endpoint: int
    url: str
    event_id: str
    payload: str
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What the receiver made of a message; `error` is empty when it took it."""

    status: int | None = None
    error: str = ""
    reply: str = ""
    retry_after: float | None = None


def deliver_due(*, seconds: float = 60.0) -> int:
    """Send what is due until nothing is, for `seconds` at most; return how many attempts were made.

    Another run that is at work makes this one return at once.
    """
    attempts, end, look_again = 0, time.monotonic() + seconds, 0.0
    running: dict[Future[Outcome], Message] = {}
    with _alone() as alone, ThreadPoolExecutor(PARALLEL, thread_name_prefix="webhook") as pool:
        while alone:
            now = time.monotonic()
            if look_again <= now < end and len(running) < PARALLEL:
                claimed = claim(limit=PARALLEL - len(running))
                running |= {pool.submit(send, message): message for message in claimed}
                attempts, look_again = attempts + len(claimed), now + LOOK_SECONDS
            if not running:
                break
            wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            # Quick receivers answer together: what is done within a moment is stored together.
            done, _others = wait(running, timeout=GATHER_SECONDS)
            if done:
                note_all([(running.pop(future), _outcome(future)) for future in done])
                look_again = 0.0
    return attempts


def _outcome(future: Future[Outcome]) -> Outcome:
    """Return what a thread found; what nobody expected counts as a failed attempt, so that it is not made for ever."""
    if error := future.exception():
        logger.error("A webhook could not be sent.", exc_info=error)
        return Outcome(error=f"Unexpected {type(error).__name__}; the worker's log has the details.")
    return future.result()


@transaction.atomic
def claim(*, limit: int) -> list[Message]:
    """Take due deliveries of active endpoints, each endpoint's oldest first, and hold them (two statements)."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "hold": now + HOLD, "limit": limit, "each": PER_ENDPOINT})
        attempts = dict(cursor.fetchall())
    rows = WebhookDelivery.objects.filter(pk__in=attempts).select_related("endpoint").order_by("next_attempt_at", "pk")
    return [
        Message(
            row.pk,
            attempts[row.pk],
            row.endpoint_id,
            row.endpoint.url,
            row.event_id,
            row.payload,
            tuple(row.endpoint.seeds),
        )
        for row in rows
    ]


_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT picked.id
    FROM webhooks_webhookendpoint AS endpoint
    CROSS JOIN LATERAL (
        SELECT delivery.id, delivery.next_attempt_at
        FROM webhooks_webhookdelivery AS delivery
        WHERE delivery.endpoint_id = endpoint.id AND delivery.state = 'pending' AND delivery.next_attempt_at <= %(now)s
            AND (delivery.held_until IS NULL OR delivery.held_until <= %(now)s)
        ORDER BY delivery.next_attempt_at, delivery.id
        LIMIT greatest(0, %(each)s - (
            SELECT count(*) FROM webhooks_webhookdelivery AS held
            WHERE held.endpoint_id = endpoint.id AND held.state = 'pending' AND held.held_until > %(now)s))
        FOR UPDATE SKIP LOCKED
    ) AS picked
    WHERE endpoint.active
    ORDER BY picked.next_attempt_at, picked.id
    LIMIT %(limit)s
)
UPDATE webhooks_webhookdelivery AS delivery
SET attempts = delivery.attempts + 1, held_until = %(hold)s, last_attempt_at = %(now)s
FROM due WHERE delivery.id = due.id
RETURNING delivery.id, delivery.attempts
"""


def send(message: Message) -> Outcome:
    """Send a message once and say what came back; nothing is raised for what a receiver may do."""
    headers = signed_headers(
        event_id=message.event_id, payload=message.payload, seeds=message.seeds, now=datetime.now(UTC)
    )
    try:
        reply = fetch(message.url, method="POST", headers=headers, body=message.payload.encode(), limits=LIMITS)
    except AppError as refused:
        return Outcome(error=refused.detail[:300])
    shown = reply.body[:2000].decode("utf-8", errors="replace").replace("\x00", "\ufffd")[:500]
    if 200 <= reply.status < 300:
        return Outcome(reply.status, reply=shown)
    said = f"The server answered {reply.status}."
    if 300 <= reply.status < 400:
        said = f"The server answered {reply.status}; redirects are not followed."
    return Outcome(reply.status, said, shown, _seconds(reply.headers.get("retry-after", "")))


def note_all(sent: Sequence[tuple[Message, Outcome]]) -> None:
    """Store what became of several attempts: what arrived in two statements, each failure by itself."""
    arrived = [(message, outcome) for message, outcome in sent if not outcome.error]
    if arrived:
        _note_arrived(arrived)
    for message, outcome in sent:
        if outcome.error:
            note_failure(message, outcome)


@transaction.atomic
def _note_arrived(sent: Sequence[tuple[Message, Outcome]]) -> None:
    now = timezone.now()
    endpoints = WebhookEndpoint.objects.filter(pk__in={message.endpoint for message, _outcome in sent})
    endpoints.update(failures=0, failing_since=None, last_success_at=now)
    with connection.cursor() as cursor:
        cursor.execute(
            _ARRIVED,
            {
                "now": now,
                "ids": [message.delivery for message, _outcome in sent],
                "attempts": [message.attempt for message, _outcome in sent],
                "statuses": [outcome.status for _message, outcome in sent],
                "replies": [outcome.reply for _message, outcome in sent],
            },
        )


_ARRIVED = """
UPDATE webhooks_webhookdelivery AS delivery
SET state = 'delivered', finished_at = %(now)s, held_until = NULL, last_error = '',
    last_status = sent.status, reply = sent.reply
FROM unnest(%(ids)s::bigint[], %(attempts)s::integer[], %(statuses)s::integer[], %(replies)s::text[])
    AS sent (id, attempt, status, reply)
WHERE delivery.id = sent.id AND delivery.attempts = sent.attempt AND delivery.state = 'pending'
"""


def note_failure(message: Message, outcome: Outcome) -> None:
    """Store that an attempt failed; what somebody has claimed or replayed meanwhile stays as it is.

    Lock order, as in the services: the endpoint, then its deliveries. Switching it off begins at the project, so it
    waits until this has committed.
    """
    gone = outcome.status == 410
    with transaction.atomic():
        now = timezone.now()
        endpoint = WebhookEndpoint.objects.filter(pk=message.endpoint)
        row = WebhookDelivery.objects.waiting().filter(pk=message.delivery, attempts=message.attempt)
        said = {"last_status": outcome.status, "last_error": outcome.error, "reply": outcome.reply, "held_until": None}
        endpoint.update(failures=F("failures") + 1, failing_since=Coalesce("failing_since", Value(now)))
        if gone or message.attempt > len(PAUSES):
            row.update(state=WebhookDelivery.State.FAILED, finished_at=now, **said)
        else:
            row.update(next_attempt_at=now + pause(message.attempt, outcome.retry_after), **said)
    if gone:
        disable_endpoint(endpoint_id=message.endpoint, reason="The server answered 410: it wants no more messages.")
    elif endpoint.filter(failing_since__lt=now - DISABLED_AFTER).exists():
        reason = f"Nothing was delivered for {DISABLED_AFTER.days} days. The last attempt: {outcome.error}"
        disable_endpoint(endpoint_id=message.endpoint, reason=reason)


def pause(attempt: int, retry_after: float | None) -> timedelta:
    """Return how long to wait after a failed attempt: growing, never in step with others, and as long as was asked."""
    usual = PAUSES[attempt - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311  (a pause, not a secret)
    asked = min(retry_after or 0, LONGEST_PAUSE)
    return timedelta(seconds=max(usual, asked))


def forget_old() -> int:
    """Delete deliveries of more than thirty days ago, in chunks; return how many."""
    old = WebhookDelivery.objects.filter(created_at__lt=timezone.now() - KEPT).order_by("created_at")
    forgotten = 0
    while ids := list(old.values_list("pk", flat=True)[:CHUNK]):
        forgotten += WebhookDelivery.objects.filter(pk__in=ids).delete()[0]
    return forgotten


def _seconds(retry_after: str) -> float | None:
    """Return what a Retry-After header asks for (RFC 9110, 10.2.3): seconds, or a date."""
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())


@contextmanager
def _alone() -> Iterator[bool]:
    """Hold the advisory lock of the run, if nobody has it; a process that dies gives it back with its connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_RUN_LOCK])
        (alone,) = cursor.fetchone()
    try:
        yield bool(alone)
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_RUN_LOCK])
