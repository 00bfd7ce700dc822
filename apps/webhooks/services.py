"""Set webhooks up, and note in the transaction of an event what is to be sent: an outbox, which `delivery` empties.

Lock order everywhere: the project, then the endpoint, then its deliveries.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import orjson
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput
from apps.core.json_values import why_unstorable
from apps.core.outgoing import AddressRefused, check_address
from apps.projects.models import Project
from apps.projects.services import record
from apps.webhooks.events import EVENTS, TEST
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.signing import new_seed, secret_of

MAX_ENDPOINTS = 20
MAX_DESCRIPTION = 200
OVERLAP_HOURS = 24
"""How long messages carry a signature of the secret that was replaced, so that the receiver can change over."""
_CHANGED = ["url", "events", "description", "active", "disabled_reason", "failures", "failing_since"]
SWITCHED_OFF = "The webhook was switched off before this was delivered."


# --- Setting up ---


@transaction.atomic
def create_endpoint(
    *, project: Project, actor: User | None, url: str, events: Sequence[str], description: str = ""
) -> tuple[WebhookEndpoint, str]:
    """Add an endpoint; return it with its secret, which is not shown again."""
    project = _lock(project)
    if project.webhooks.count() >= MAX_ENDPOINTS:
        raise Conflict(_("A project has at most %(most)s webhooks.") % {"most": MAX_ENDPOINTS})
    _check(url=url, events=events, description=description)
    endpoint = WebhookEndpoint.objects.create(
        project=project,
        url=url,
        events=_in_order(events),
        description=description.strip(),
        seed=new_seed(),
        created_by=actor,
    )
    _note_subscriptions(project)
    record(project=project, actor=actor, verb="added a webhook", webhook=endpoint.pk, host=_host(url))
    return endpoint, secret_of(endpoint.seed)


@transaction.atomic
def change_endpoint(
    *,
    endpoint: WebhookEndpoint,
    actor: User,
    url: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
    active: bool | None = None,
) -> WebhookEndpoint:
    """Change what is given. Switching it off ends what waits to be sent; switching it on forgets earlier failures."""
    project = _lock(endpoint.project)
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    _check(url=url, events=events, description=description)
    if url is not None:
        endpoint.url = url
    if events is not None:
        endpoint.events = _in_order(events)
    if description is not None:
        endpoint.description = description.strip()
    if active is not None and active != endpoint.active:
        endpoint.active, endpoint.disabled_reason = active, ""
        endpoint.failures, endpoint.failing_since = 0, None
        if not active:
            _give_up_waiting(endpoint)
    endpoint.save(update_fields=_CHANGED)
    _note_subscriptions(project)
    changes = {"host": _host(endpoint.url), "events": endpoint.events, "active": endpoint.active}
    record(project=project, actor=actor, verb="changed a webhook", webhook=endpoint.pk, **changes)
    return endpoint


@transaction.atomic
def delete_endpoint(*, endpoint: WebhookEndpoint, actor: User) -> None:
    """Delete an endpoint with its log."""
    project, pk = _lock(endpoint.project), endpoint.pk
    WebhookEndpoint.objects.select_for_update().filter(pk=pk).first()  # before its deliveries, as everywhere
    WebhookEndpoint.objects.filter(pk=pk).delete()
    _note_subscriptions(project)
    record(project=project, actor=actor, verb="deleted a webhook", webhook=pk, host=_host(endpoint.url))


@transaction.atomic
def rotate_secret(*, endpoint: WebhookEndpoint, actor: User) -> tuple[WebhookEndpoint, str]:
    """Replace the secret and return the new one; for a day messages are signed with both."""
    endpoint = (
        WebhookEndpoint.objects.select_for_update(of=("self",), no_key=True)
        .select_related("project")
        .get(pk=endpoint.pk)
    )
    endpoint.earlier_seed, endpoint.seed = endpoint.seed, new_seed()
    endpoint.earlier_until = timezone.now() + timedelta(hours=OVERLAP_HOURS)
    endpoint.save(update_fields=["seed", "earlier_seed", "earlier_until"])
    record(project=endpoint.project, actor=actor, verb="replaced the secret of a webhook", webhook=endpoint.pk)
    return endpoint, secret_of(endpoint.seed)


@transaction.atomic
def disable_endpoint(*, endpoint_id: int, reason: str) -> bool:
    """Switch an endpoint off because it does not work, and say why; what waits for it is given up."""
    found = WebhookEndpoint.objects.select_related("project").filter(pk=endpoint_id).first()
    if found is None:
        return False
    project = _lock(found.project)
    active = WebhookEndpoint.objects.filter(pk=endpoint_id, active=True)
    if not active.update(active=False, disabled_reason=reason[:300]):
        return False
    _give_up_waiting(found)
    _note_subscriptions(project)
    record(project=project, actor=None, verb="switched a webhook off", webhook=endpoint_id, reason=reason)
    return True


def send_test(*, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Note a message that says nothing, to see whether it arrives; raise Conflict where nothing is sent."""
    _check_active(endpoint)
    now = timezone.now()
    data = {"project": endpoint.project.slug, "webhook": str(endpoint.pk)}
    return WebhookDelivery.objects.create(
        project=endpoint.project,
        endpoint=endpoint,
        event_id=_new_id(),
        event=TEST,
        payload=_payload(TEST, data, now.isoformat()),
        next_attempt_at=now,
    )


@transaction.atomic
def replay(*, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send a message once more, under the same id; one that waits already is sent now."""
    locked = WebhookDelivery.objects.select_for_update(of=("self",)).select_related("endpoint").get(pk=delivery.pk)
    _check_active(locked.endpoint)
    locked.state = WebhookDelivery.State.PENDING
    locked.attempts, locked.next_attempt_at, locked.held_until, locked.finished_at = 0, timezone.now(), None, None
    locked.save(update_fields=["state", "attempts", "next_attempt_at", "held_until", "finished_at"])
    return locked


# --- Events ---


def emit(*, project: Project, event: str, data: dict[str, Any]) -> int:
    """Note an event for everybody who subscribed to it; return for how many.

    Call it in the event's transaction. No query when nobody subscribed (`Project.webhook_events`), else one.
    `data` is seen by whoever the project's managers name: ids and facts, no texts, no scores.
    """
    return emit_each(project=project, event=event, data=[data])


def emit_each(*, project: Project, event: str, data: Iterable[dict[str, Any]]) -> int:
    """Note one event for each entry of `data`, all in one statement."""
    if event not in project.webhook_events:
        return 0
    now = timezone.now()
    said = [_payload(event, {"project": project.slug, **each}, now.isoformat()) for each in data]
    if not said:
        return 0
    with connection.cursor() as cursor:
        ids = [_new_id() for _each in said]
        cursor.execute(_INSERT, {"ids": ids, "payloads": said, "now": now, "event": event, "project": project.pk})
        return int(cursor.rowcount)


_INSERT = """
INSERT INTO webhooks_webhookdelivery (created_at, project_id, endpoint_id, event_id, event, payload, state, attempts,
    next_attempt_at, last_error, reply)
SELECT %(now)s, endpoint.project_id, endpoint.id, message.id, %(event)s, message.payload, 'pending', 0, %(now)s, '', ''
FROM webhooks_webhookendpoint AS endpoint
CROSS JOIN unnest(%(ids)s::text[], %(payloads)s::text[]) AS message (id, payload)
WHERE endpoint.project_id = %(project)s AND endpoint.active AND %(event)s = ANY (endpoint.events)
"""


# --- Inside ---


def _payload(event: str, data: dict[str, Any], timestamp: str) -> str:
    return orjson.dumps({"type": event, "timestamp": timestamp, "data": data}).decode()


def _new_id() -> str:
    return f"msg_{uuid4().hex}"


def _lock(project: Project) -> Project:
    """Lock the project's row: whoever changes its subscriptions is alone."""
    return Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _note_subscriptions(project: Project) -> None:
    """Keep on the project, which every request reads anyway, what anybody subscribed to. Call it with the lock."""
    lists = project.webhooks.filter(active=True).values_list("events", flat=True)
    project.webhook_events = _in_order({event for events in lists for event in events})
    project.save(update_fields=["webhook_events"])


def _give_up_waiting(endpoint: WebhookEndpoint) -> None:
    waiting = WebhookDelivery.objects.filter(endpoint=endpoint, state=WebhookDelivery.State.PENDING)
    waiting.update(
        state=WebhookDelivery.State.FAILED, last_error=SWITCHED_OFF, held_until=None, finished_at=timezone.now()
    )


def _check_active(endpoint: WebhookEndpoint) -> None:
    if not endpoint.active:
        raise Conflict(_("The webhook is switched off; switch it on first."))


def _in_order(events: Iterable[str]) -> list[str]:
    asked = set(events)
    return [event for event in EVENTS if event in asked]


def _check(*, url: str | None, events: Sequence[str] | None, description: str | None) -> None:
    errors = []
    if url is not None:
        try:
            check_address(url)
        except AddressRefused as refused:
            errors.append(FieldError("/url", refused.detail))
    if events is not None and (not events or set(events) - set(EVENTS)):
        known = ", ".join(EVENTS)
        errors.append(FieldError("/events", _("Name one or more of %(known)s.") % {"known": known}))
    if description is not None and (len(description) > MAX_DESCRIPTION or why_unstorable(description)):
        most = _("At most %(most)s characters of text.") % {"most": MAX_DESCRIPTION}
        errors.append(FieldError("/description", most))
    if errors:
        raise InvalidInput(_("The webhook cannot be set up like this."), errors)


def _host(url: str) -> str:
    """Return the part of an address that may stand in a log: paths and queries of some services are secrets."""
    return urlsplit(url).hostname or ""
