"""The pages of a project's webhooks: for managers, the secret once, the log with a button that sends again."""

import re

import pytest

from apps.webhooks.delivery import deliver_due
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.services import send_test
from tests.webhooks.conftest import only_delivery

pytestmark = pytest.mark.django_db
PAGE = "/projects/tides/webhooks/"
BODY = {"url": "https://example.org/hook?key=<b>", "description": "Pager <b>", "events": ["job.failed"]}


@pytest.fixture
def page(client, manager):
    client.force_login(manager)
    return client


@pytest.fixture
def hook(page):
    assert page.post(PAGE, BODY).status_code == 200
    return WebhookEndpoint.objects.get()


def test_a_new_webhook_shows_its_secret_once_and_in_no_cache(page):
    reply = page.post(PAGE, BODY)
    (secret,) = re.findall(r"whsec_[A-Za-z0-9+/]{43}=", reply.content.decode())
    assert reply.headers["Cache-Control"] == "no-store"
    html = page.get(PAGE).content.decode()
    assert secret not in html
    assert "Pager &lt;b&gt;" in html
    assert "<b>" not in html


def test_wrong_fields_are_shown_at_their_place(page):
    reply = page.post(PAGE, {"url": "http://10.0.0.1/", "events": ["job.failed"]})
    assert reply.status_code == 422
    assert "10.0.0.1 is not a public address" in reply.content.decode()
    assert page.post(PAGE, {"url": "https://example.org/"}).status_code == 422
    assert not WebhookEndpoint.objects.exists()


def test_the_page_of_a_webhook_changes_it(page, hook):
    address = f"{PAGE}{hook.pk}/"
    assert page.get(address).status_code == 200
    reply = page.post(address, {**BODY, "events": ["model.promoted", "snapshot.ready"], "description": ""})
    assert reply.status_code == 302
    hook.refresh_from_db()
    assert (hook.events, hook.description) == (["snapshot.ready", "model.promoted"], "")
    assert page.post(address, {**BODY, "events": ["nonsense"]}).status_code == 422


def test_it_is_switched_off_and_on_tested_given_a_new_secret_and_deleted(page, hook):
    address = f"{PAGE}{hook.pk}/"
    assert page.post(f"{address}test/").status_code == 302
    assert only_delivery().event == "webhook.test"
    assert page.post(f"{address}switch/", {"active": "false"}).status_code == 302
    assert not WebhookEndpoint.objects.get().active
    said = page.post(f"{address}test/", follow=True).content.decode()
    assert "The webhook is switched off; switch it on first." in said
    page.post(f"{address}switch/", {"active": "true"})
    assert WebhookEndpoint.objects.get().active
    rotated = page.post(f"{address}secret/")
    assert rotated.headers["Cache-Control"] == "no-store"
    assert "whsec_" in rotated.content.decode()
    assert "whsec_" not in page.get(address).content.decode()
    assert page.post(f"{address}delete/").status_code == 302
    assert not WebhookEndpoint.objects.exists()


def test_the_log_polls_while_something_waits_and_sends_again(page, receiver):
    page.post(PAGE, {**BODY, "url": receiver.url})
    hook = WebhookEndpoint.objects.get()
    address = f"{PAGE}{hook.pk}/"
    receiver.status, receiver.body = 418, b"<script>alert(1)</script>"
    delivery = send_test(endpoint=hook)
    waiting = page.get(address).content.decode()
    assert 'hx-trigger="every 3s"' in waiting
    deliver_due()
    fragment = page.get(address, headers={"HX-Request": "true"}).content.decode()
    assert page.get(address, headers={"HX-Request": "true"}).status_code == 200  # it waits for its next attempt
    assert fragment.strip().startswith("<section")
    assert "The server answered 418." in fragment
    assert "Send again" in fragment
    message = page.get(f"{address}messages/{delivery.pk}/").content.decode()
    assert "&lt;script&gt;" in message
    assert "<script>alert" not in message
    receiver.status = 200
    assert page.post(f"{address}messages/{delivery.pk}/replay/").status_code == 302
    deliver_due()
    assert only_delivery().state == "delivered"
    last = page.get(address, headers={"HX-Request": "true"})
    assert (last.status_code, "Nothing waits to be sent any more." in last.content.decode()) == (286, True)
    done = page.get(address).content.decode()
    assert "every 3s" not in done
    assert page.get(f"{address}?state=failed").content.decode().count("webhook.test") == 0


def test_the_page_takes_few_queries_however_long_the_log(page, hook, django_assert_max_num_queries):
    for _ in range(60):
        send_test(endpoint=hook)
    with django_assert_max_num_queries(8):
        html = page.get(f"{PAGE}{hook.pk}/").content.decode()
    assert html.count('action="') > 25
    assert "Page 1 of 3" in html


@pytest.mark.parametrize(("who", "status"), [("annotator", 403), ("researcher", 403), ("stranger", 404)])
def test_nobody_else_comes_in(request, client, page, hook, who, status):
    send_test(endpoint=hook)
    delivery = WebhookDelivery.objects.get()
    client.force_login(request.getfixturevalue(who))
    address = f"{PAGE}{hook.pk}/"
    for path in (PAGE, address, f"{address}messages/{delivery.pk}/"):
        assert client.get(path).status_code == status
    for path in ("test/", "secret/", "switch/", "delete/", f"messages/{delivery.pk}/replay/"):
        assert client.post(address + path).status_code == status
        assert client.get(address + path).status_code == 405


def test_the_anonymous_are_sent_to_sign_in(client, project):
    assert client.get(PAGE).url.startswith("/login/")


def test_the_admin_shows_neither_secret_nor_seed(client, hook, django_user_model):
    root = django_user_model.objects.create(username="root", is_superuser=True, is_staff=True)
    client.force_login(root)
    html = client.get(f"/admin/webhooks/webhookendpoint/{hook.pk}/change/").content.decode()
    assert "Pager" in html
    assert hook.seed not in html
    assert "whsec_" not in html
