"""REST: webhooks are set up by managers, and their secrets are given out once."""

import pytest

from apps.webhooks.delivery import deliver_due
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from tests.api.conftest import Api, pointers, problem

pytestmark = pytest.mark.django_db
HOOKS = "projects/tides/webhooks/"


@pytest.fixture
def api(manager):
    return Api(manager, scope="admin")


@pytest.fixture
def made(api):
    reply = api.post(HOOKS, {"url": "https://example.org/hook", "events": ["snapshot.ready", "job.failed"]})
    assert reply.status_code == 201, reply.content
    assert reply.headers["Cache-Control"] == "no-store"
    return reply.json()


def test_a_webhook_is_made_changed_and_deleted(api, made, project):
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["snapshot.ready", "job.failed"]
    path = f"{HOOKS}{made['id']}/"
    assert api.get(path).json() == {name: value for name, value in made.items() if name != "secret"}
    project.refresh_from_db()
    assert project.webhook_events == ["snapshot.ready", "job.failed"]
    changed = api.call("PATCH", path, {"events": ["model.promoted"], "description": "Pager"}).json()
    assert (changed["events"], changed["description"], changed["url"]) == (["model.promoted"], "Pager", made["url"])
    project.refresh_from_db()
    assert project.webhook_events == ["model.promoted"]
    off = api.call("PATCH", path, {"active": False}).json()
    assert off["active"] is False
    project.refresh_from_db()
    assert project.webhook_events == []
    assert api.call("DELETE", path).status_code == 204
    problem(api.get(path), 404)
    verbs = set(project.audit_events.values_list("verb", flat=True))
    assert verbs == {"added a webhook", "changed a webhook", "deleted a webhook"}


def test_a_secret_is_in_no_reply_but_the_first(api, made):
    path = f"{HOOKS}{made['id']}/"
    rotated = api.post(f"{path}rotate/")
    assert rotated.headers["Cache-Control"] == "no-store"
    again = rotated.json()
    assert again["secret"].startswith("whsec_")
    assert again["secret"] != made["secret"]
    api.post(f"{path}test/")
    said = b"".join(api.get(each).content for each in (HOOKS, path, f"{path}deliveries/")).decode()
    assert "whsec_" not in said
    assert WebhookEndpoint.objects.get().seed not in said


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["/events", "/url"]),
        ({"url": "ftp://example.org", "events": ["job.failed"]}, ["/url"]),
        ({"url": "http://127.0.0.1:5432/", "events": ["job.failed"]}, ["/url"]),
        ({"url": "http://[::1]/", "events": ["job.failed"]}, ["/url"]),
        ({"url": "http://169.254.169.254/latest/", "events": ["job.failed"]}, ["/url"]),
        ({"url": "https://user:password@example.org/", "events": ["job.failed"]}, ["/url"]),
        ({"url": "https://example.org:22/", "events": ["job.failed"]}, []),  # a name is looked up when it is asked
        ({"url": "http://8.8.8.8:22/", "events": ["job.failed"]}, ["/url"]),
        ({"url": "https://exam ple.org/\r\nX: y", "events": ["job.failed"]}, ["/url"]),
        ({"url": "https://example.org/", "events": []}, ["/events"]),
        ({"url": "https://example.org/", "events": ["everything"]}, ["/events"]),
        ({"url": "https://example.org/", "events": "job.failed"}, ["/events"]),
        ({"url": "https://example.org/", "events": ["job.failed"], "description": "x" * 201}, ["/description"]),
        ({"url": "https://example.org/", "events": ["job.failed"], "secret": "mine"}, ["/secret"]),
        ({"url": 7, "events": ["job.failed"]}, ["/url"]),
    ],
)
def test_what_cannot_be_set_up_is_refused_at_its_field(api, body, wrong):
    reply = api.post(HOOKS, body)
    assert (pointers(reply) if wrong else [reply.status_code]) == (wrong or [201])


def test_there_is_an_end_to_how_many(api, made):
    for _ in range(19):
        assert api.post(HOOKS, {"url": "https://example.org/", "events": ["job.failed"]}).status_code == 201
    problem(api.post(HOOKS, {"url": "https://example.org/", "events": ["job.failed"]}), 409)


@pytest.mark.parametrize("who", ["annotator", "researcher", "reviewer"])
def test_others_of_the_project_are_refused(request, made, who):
    api = Api(request.getfixturevalue(who))
    path = f"{HOOKS}{made['id']}/"
    assert Api(request.getfixturevalue("manager")).post(f"{path}test/").status_code == 202
    delivery = WebhookDelivery.objects.get()
    problem(api.get(HOOKS), 403)
    problem(api.post(HOOKS, {"url": "https://example.org/", "events": ["job.failed"]}), 403)
    for method in ("GET", "PATCH", "DELETE"):
        problem(api.call(method, path, {}), 403)
    for address in (f"{path}test/", f"{path}rotate/", f"webhook-deliveries/{delivery.pk}/replay/"):
        problem(api.post(address), 403)
    problem(api.get(f"{path}deliveries/"), 403)


def test_a_token_that_may_only_write_cannot_have_events_sent_anywhere_new(manager, made):
    api = Api(manager, scope="write")
    path = f"{HOOKS}{made['id']}/"
    body = {"url": "https://evil.example/", "events": ["job.failed"]}
    refused = (api.post(HOOKS, body), api.call("PATCH", path, body), api.post(f"{path}rotate/"))
    assert all("needs a token with the scope admin" in problem(reply, 403)["detail"] for reply in refused)
    assert [row["url"] for row in api.get(HOOKS).json()["results"]] == [made["url"]]
    sent = api.post(f"{path}test/")
    assert (sent.status_code, api.call("DELETE", path).status_code) == (202, 204)


def test_strangers_find_nothing(made, stranger):
    api = Api(stranger)
    for address in (HOOKS, f"{HOOKS}{made['id']}/", f"{HOOKS}{made['id']}/deliveries/"):
        problem(api.get(address), 404)


def test_a_webhook_of_another_project_is_not_found(api, made):
    from tests.factories import MembershipFactory

    manager = WebhookEndpoint.objects.get().created_by
    MembershipFactory(project__slug="waves", user=manager, role="manager")
    problem(api.get(f"projects/waves/webhooks/{made['id']}/"), 404)


def test_the_log_shows_what_was_sent_and_sends_it_again(api, receiver):
    made = api.post(HOOKS, {"url": receiver.url, "events": ["job.failed"]}).json()
    path = f"{HOOKS}{made['id']}/"
    sent = api.post(f"{path}test/")
    assert sent.status_code == 202
    assert (sent.json()["state"], sent.json()["next_attempt_at"] is None) == ("pending", False)
    deliver_due()
    (row,) = api.get(f"{path}deliveries/?state=delivered").json()["results"]
    assert (row["event"], row["attempts"], row["last_status"]) == ("webhook.test", 1, 204)
    assert row["payload"]["data"] == {"project": "tides", "webhook": made["id"]}
    assert row["next_attempt_at"] is None
    assert api.get(f"{path}deliveries/?event=job.failed").json()["results"] == []
    assert pointers(api.get(f"{path}deliveries/?state=lost")) == ["/state"]
    assert api.post(f"webhook-deliveries/{row['id']}/replay/").status_code == 202
    deliver_due()
    assert len(receiver.verified(made["secret"])) == 2
    api.call("PATCH", path, {"active": False})
    problem(api.post(f"webhook-deliveries/{row['id']}/replay/"), 409)
    problem(api.post(f"{path}test/"), 409)
