"""Messages arrive signed, again when they did not, and no receiver can hold up, fool or lose those of others."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from apps.webhooks import delivery as sending
from apps.webhooks.delivery import DISABLED_AFTER, PAUSES, claim, deliver_due, forget_old, note_all, pause, send
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.services import change_endpoint, emit, emit_each, replay, rotate_secret, send_test
from tests.webhooks.conftest import only_delivery, receiving

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


def fail_a_job(project, number=1):
    return emit(project=project, event="job.failed", data={"job": str(number), "kind": "training"})


def make_due():
    WebhookDelivery.objects.update(next_attempt_at=timezone.now())


# --- Arriving ---


def test_a_message_arrives_signed_and_says_what_happened(project, subscribe, receiver):
    endpoint, secret = subscribe(receiver.url)
    assert fail_a_job(project) == 1
    assert deliver_due() == 1
    (said,) = receiver.verified(secret)
    assert said["type"] == "job.failed"
    assert said["data"] == {"project": "tides", "job": "1", "kind": "training"}
    assert datetime.fromisoformat(said["timestamp"]).tzinfo is not None
    (got,) = receiver.got
    row = only_delivery()
    assert got.headers["webhook-id"] == row.event_id
    assert got.headers["content-type"] == "application/json"
    assert got.body.decode() == row.payload
    assert (row.state, row.attempts, row.last_status, row.held_until) == ("delivered", 1, 204, None)
    endpoint.refresh_from_db()
    assert (endpoint.failures, endpoint.failing_since) == (0, None)
    assert endpoint.last_success_at is not None
    assert deliver_due() == 0


def test_a_changed_body_or_another_secret_is_no_signature(project, subscribe, receiver):
    _endpoint, secret = subscribe(receiver.url)
    fail_a_job(project)
    deliver_due()
    (got,) = receiver.got
    other = "whsec_" + "A" * 43 + "="
    for key, body in ((secret, got.body.replace(b"tides", b"waves")), (other, got.body)):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(body, got.headers)


def test_both_secrets_are_right_for_a_day_after_one_was_replaced(project, manager, subscribe, receiver):
    endpoint, old = subscribe(receiver.url)
    _endpoint, new = rotate_secret(endpoint=endpoint, actor=manager)
    fail_a_job(project)
    deliver_due()
    assert old != new
    assert len(receiver.verified(old)) == len(receiver.verified(new)) == 1
    WebhookEndpoint.objects.update(earlier_until=timezone.now())
    receiver.got.clear()
    fail_a_job(project, 2)
    deliver_due()
    assert len(receiver.verified(new)) == 1
    with pytest.raises(WebhookVerificationError):
        receiver.verified(old)


def test_a_secret_outlives_a_change_of_the_servers_key(project, subscribe, receiver, settings):
    _endpoint, secret = subscribe(receiver.url)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another key of the server"
    fail_a_job(project)
    deliver_due()
    assert len(receiver.verified(secret)) == 1


def test_the_database_does_not_hold_the_secret(subscribe, receiver):
    _endpoint, secret = subscribe(receiver.url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(e)::text FROM webhooks_webhookendpoint AS e")
        (row,) = cursor.fetchone()
    assert secret.removeprefix("whsec_") not in row


# --- Again ---


def test_what_failed_is_sent_again_under_the_same_id(project, subscribe, receiver):
    endpoint, secret = subscribe(receiver.url)
    receiver.status, receiver.body = 500, b"out of \x00 order"
    fail_a_job(project)
    deliver_due()
    row = only_delivery()
    assert (row.state, row.last_status, row.reply) == ("pending", 500, "out of \ufffd order")
    assert row.last_error == "The server answered 500."
    wait = (row.next_attempt_at - row.last_attempt_at).total_seconds()
    assert PAUSES[0] <= wait <= PAUSES[0] * 1.2 + 1
    assert deliver_due() == 0  # not before its time
    endpoint.refresh_from_db()
    assert (endpoint.failures, endpoint.failing_since is None) == (1, False)
    receiver.status = 200
    make_due()
    assert deliver_due() == 1
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert len(receiver.verified(secret)) == 2
    assert (only_delivery().state, only_delivery().attempts) == ("delivered", 2)


def test_the_pauses_grow_over_a_day_and_never_run_in_step():
    waits = [pause(attempt, None).total_seconds() for attempt in range(1, len(PAUSES) + 1)]
    assert all(usual <= wait <= usual * 1.2 for usual, wait in zip(PAUSES, waits, strict=True))
    assert 23 * 3600 < sum(PAUSES) < 25 * 3600
    assert len({pause(3, None) for _ in range(20)}) > 1


def test_after_the_last_attempt_a_message_is_given_up(project, subscribe, receiver):
    subscribe(receiver.url)
    receiver.status = 503
    fail_a_job(project)
    WebhookDelivery.objects.update(attempts=len(PAUSES))
    deliver_due()
    row = only_delivery()
    assert (row.state, row.attempts, row.finished_at is None) == ("failed", len(PAUSES) + 1, False)
    make_due()
    assert deliver_due() == 0
    assert len(receiver.got) == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_a_receiver_may_ask_for_more_time(project, subscribe, receiver, as_date):
    subscribe(receiver.url)
    asked = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True) if as_date else "3600"
    receiver.status, receiver.headers = 429, {"Retry-After": asked}
    fail_a_job(project)
    deliver_due()
    row = only_delivery()
    assert 3590 < (row.next_attempt_at - row.last_attempt_at).total_seconds() < 3700


@pytest.mark.parametrize("asked", ["soon", "-5", "9" * 400, "Wed, 99 Foo", "", "1e9"])
def test_nonsense_in_retry_after_neither_crashes_nor_waits_for_ever(project, subscribe, receiver, asked):
    subscribe(receiver.url)
    receiver.status, receiver.headers = 503, {"Retry-After": asked}
    fail_a_job(project)
    deliver_due()
    row = only_delivery()
    assert row.next_attempt_at - row.last_attempt_at <= timedelta(hours=12, minutes=1)


def test_410_switches_the_webhook_off_and_says_so(project, subscribe, receiver):
    endpoint, _secret = subscribe(receiver.url)
    receiver.status = 410
    fail_a_job(project)
    fail_a_job(project, 2)
    deliver_due()
    endpoint.refresh_from_db()
    assert not endpoint.active
    assert "410" in endpoint.disabled_reason
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"failed"}
    project.refresh_from_db()
    assert project.webhook_events == []
    assert fail_a_job(project) == 0
    assert project.audit_events.filter(verb="switched a webhook off").count() == 1


def test_a_webhook_that_only_fails_for_days_is_switched_off_and_can_be_switched_on(
    project, manager, subscribe, receiver
):
    endpoint, _secret = subscribe(receiver.url)
    receiver.status = 500
    WebhookEndpoint.objects.update(failing_since=timezone.now() - DISABLED_AFTER - timedelta(seconds=1))
    fail_a_job(project)
    deliver_due()
    endpoint.refresh_from_db()
    assert not endpoint.active
    assert endpoint.disabled_reason == "Nothing was delivered for 5 days. The last attempt: The server answered 500."
    change_endpoint(endpoint=endpoint, actor=manager, active=True)
    endpoint.refresh_from_db()
    assert (endpoint.active, endpoint.disabled_reason, endpoint.failing_since) == (True, "", None)
    project.refresh_from_db()
    assert fail_a_job(project) == 1


def test_a_replay_sends_the_same_message_once_more(project, subscribe, receiver):
    _endpoint, secret = subscribe(receiver.url)
    fail_a_job(project)
    deliver_due()
    replay(delivery=only_delivery())
    deliver_due()
    first, second = receiver.got
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert len(receiver.verified(secret)) == 2
    assert only_delivery().state == "delivered"


# --- Hostile and broken receivers ---


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/", "http://localhost:{port}/"])
def test_our_own_network_is_not_told_even_if_a_name_leads_there(project, subscribe, local, settings, address):
    with receiving() as inside:
        subscribe(address.format(port=inside.url.split(":")[2].split("/")[0]))
        settings.OUTGOING_ALLOW = []  # as if the name had begun to lead inside after it was set up
        fail_a_job(project)
        deliver_due()
        assert inside.got == []
    row = only_delivery()
    assert row.state == "pending"
    assert "not a public address" in row.last_error


def test_redirects_are_not_followed(project, subscribe, receiver):
    with receiving() as elsewhere:
        subscribe(receiver.url)
        receiver.status, receiver.headers = 307, {"Location": elsewhere.url}
        fail_a_job(project)
        deliver_due()
        assert elsewhere.got == []
    assert only_delivery().last_error == "The server answered 307; redirects are not followed."


def test_a_server_that_is_away_and_one_that_sends_endlessly_are_failures(project, subscribe, receiver):
    subscribe(receiver.url)
    receiver.status, receiver.body = 200, b"x" * ((1 << 20) + 1)
    fail_a_job(project)
    deliver_due()
    assert "larger than" in only_delivery().last_error
    WebhookEndpoint.objects.update(url="http://127.0.0.1:9/")
    make_due()
    deliver_due()
    assert only_delivery().last_error == "The server could not be reached."


def test_slow_receivers_do_not_hold_up_the_others(project, subscribe, receiver, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(sending, "LIMITS", sending.Limits(seconds=5.0))
    with receiving() as slow:
        slow.before = lambda: released.wait(4)
        receiver.before = lambda: released.set() if len(receiver.got) == 40 else None
        subscribe(slow.url)
        subscribe(receiver.url)
        for number in range(40):
            fail_a_job(project, number)
        began = time.monotonic()
        deliver_due(seconds=3)
        assert released.is_set()  # by the fortieth message, long before the slow one answered anything
        assert time.monotonic() - began < 10
    assert len(receiver.got) == 40


def test_an_endpoint_gets_four_requests_at_a_time_and_its_oldest_messages_first(project, subscribe, receiver):
    subscribe(receiver.url)
    for number in range(6):
        fail_a_job(project, number)
    first = claim(limit=16)
    assert [json.loads(message.payload)["data"]["job"] for message in first] == ["0", "1", "2", "3"]
    assert claim(limit=16) == []
    for message in first:
        note_all([(message, send(message))])
    assert [json.loads(message.payload)["data"]["job"] for message in claim(limit=16)] == ["4", "5"]


def test_a_flood_of_events_is_one_statement_and_arrives_once(project, subscribe, receiver, django_assert_num_queries):
    _endpoint, secret = subscribe(receiver.url)
    with django_assert_num_queries(1):
        emit_each(project=project, event="job.failed", data=[{"job": str(number)} for number in range(300)])
    assert deliver_due(seconds=60) == 300
    said = receiver.verified(secret)
    assert sorted(int(each["data"]["job"]) for each in said) == list(range(300))
    assert len({each.headers["webhook-id"] for each in receiver.got}) == 300
    assert not WebhookDelivery.objects.waiting().exists()


def test_an_event_that_nobody_subscribed_to_costs_no_query(project, subscribe, receiver, django_assert_num_queries):
    subscribe(receiver.url, "snapshot.ready")
    with django_assert_num_queries(0):
        assert fail_a_job(project) == 0


# --- Workers that die or disagree ---


def test_what_a_dead_worker_held_is_sent_by_the_next(project, subscribe, receiver):
    subscribe(receiver.url)
    fail_a_job(project)
    (lost,) = claim(limit=16)  # and the worker is killed here
    assert deliver_due() == 0  # held
    WebhookDelivery.objects.update(held_until=timezone.now())
    assert deliver_due() == 1
    assert (only_delivery().state, only_delivery().attempts) == ("delivered", 2)
    note_all(
        [(lost, sending.Outcome(status=500, error="late")), (lost, sending.Outcome(status=299))]
    )  # it was only slow, and comes back
    assert (only_delivery().state, only_delivery().last_error, only_delivery().last_status) == ("delivered", "", 204)


def test_a_test_message_and_a_replay_need_a_webhook_that_is_on(project, manager, subscribe, receiver):
    endpoint, secret = subscribe(receiver.url)
    delivery = send_test(endpoint=endpoint)
    deliver_due()
    assert receiver.verified(secret)[0]["type"] == "webhook.test"
    endpoint = change_endpoint(endpoint=endpoint, actor=manager, active=False)
    for refused in (lambda: send_test(endpoint=endpoint), lambda: replay(delivery=delivery)):
        with pytest.raises(Exception, match="switched off"):
            refused()


def test_switching_off_gives_up_what_waits(project, manager, subscribe, receiver):
    endpoint, _secret = subscribe(receiver.url)
    fail_a_job(project)
    change_endpoint(endpoint=endpoint, actor=manager, active=False)
    assert deliver_due() == 0
    row = only_delivery()
    assert (row.state, row.last_error) == ("failed", "The webhook was switched off before this was delivered.")


def test_the_log_is_kept_for_thirty_days(project, subscribe, receiver):
    subscribe(receiver.url)
    for number in range(3):
        fail_a_job(project, number)
    old = WebhookDelivery.objects.order_by("pk").first()
    WebhookDelivery.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=30, seconds=1))
    assert forget_old() == 1
    assert WebhookDelivery.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_sender_that_is_killed_in_the_middle_loses_nothing(project, subscribe, receiver):
    """SIGKILL while a receiver is thinking: the message comes again, under the same id."""
    _endpoint, secret = subscribe(receiver.url)
    fail_a_job(project)
    arrived, never = threading.Event(), threading.Event()
    receiver.before = lambda: (arrived.set(), never.wait(20))
    database = connection.settings_dict["NAME"]
    script = (
        "import django\n"
        "django.setup()\n"
        "from django.conf import settings\n"
        "from django.db import connection\n"
        "settings.OUTGOING_ALLOW = ['127.0.0.0/8']\n"
        f"connection.settings_dict['NAME'] = {database!r}\n"
        "from apps.webhooks.delivery import deliver_due\n"
        "deliver_due()\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    sender = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment)
    try:
        assert arrived.wait(30)
        # Another run leaves at once: one sends at a time.
        assert deliver_due() == 0
    finally:
        sender.send_signal(signal.SIGKILL)
        sender.wait()
    receiver.before = lambda: None
    never.set()
    WebhookDelivery.objects.update(held_until=timezone.now())
    deadline = time.monotonic() + 10
    while not deliver_due() and time.monotonic() < deadline:  # until the server has noticed that its client is gone
        pass
    assert len(receiver.got) == 2
    assert len({each.headers["webhook-id"] for each in receiver.got}) == 1
    assert only_delivery().state == "delivered"
    assert receiver.verified(secret)
