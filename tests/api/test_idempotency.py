"""The same POST sent twice happens once, whatever dies or races in between."""

import threading
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.utils import timezone

from apps.accounts.models import ApiToken
from apps.api.idempotency import forget_old
from apps.api.models import StoredReply
from apps.imports.models import Import
from apps.jobs.models import Job
from apps.projects.models import Project
from tests.api.conftest import Api, problem
from tests.factories import PASSWORD
from worker.tasks.upkeep import forget_requests

NEW = {"slug": "moon", "name": "Moon"}
KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


@pytest.fixture
def api(manager):
    return Api(manager, scope="admin")


@pytest.mark.django_db
def test_the_second_sending_gets_the_reply_of_the_first(api):
    first = api.post("projects/", NEW, headers=KEY)
    again = api.post("projects/", NEW, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert Project.objects.filter(slug="moon").count() == 1
    problem(api.post("projects/", NEW), 422)  # without a key it is another request, and the slug is taken


@pytest.mark.django_db
def test_quotes_around_a_key_make_no_other_key(api):
    api.post("projects/", NEW, headers=KEY)
    bare = {"Idempotency-Key": KEY["Idempotency-Key"].strip('"')}
    assert api.post("projects/", NEW, headers=bare).headers["Idempotent-Replayed"] == "true"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["projects/", "projects/tides/members/"])
def test_the_same_key_for_another_request_is_422(api, path):
    api.post("projects/", NEW, headers=KEY)
    assert "another request" in problem(api.post(path, {**NEW, "name": "Mars"}, headers=KEY), 422)["detail"]


@pytest.mark.django_db
def test_what_was_refused_may_be_sent_again_with_the_same_key(api):
    problem(api.post("projects/", {"slug": "moon"}, headers=KEY), 422)
    assert not StoredReply.objects.exists()
    assert api.post("projects/", NEW, headers=KEY).status_code == 201


@pytest.mark.django_db
def test_an_empty_reply_is_kept_too(project, annotator):
    api = Api(annotator)
    path = f"projects/{project.slug}/assignments/"
    assert [api.post(path, headers=KEY).status_code for _ in range(2)] == [204, 204]
    assert StoredReply.objects.get().status == 204


@pytest.mark.django_db
def test_keys_belong_to_a_token(api, manager):
    api.post("projects/", NEW, headers=KEY)
    other = Api(manager)
    problem(other.post("projects/", NEW, headers=KEY), 422)  # carried out, and refused: the slug is taken
    session = Client()
    session.login(username="mara", password=PASSWORD)
    reply = session.post("/api/v1/projects/", NEW, content_type="application/json", headers=KEY)
    problem(reply, 422)


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", '""', "x" * 256, '"a"b"', "a\x01b", "schl\u00fcssel", "two words"])
def test_what_is_no_key_is_refused(api, key):
    assert "printable" in problem(api.post("projects/", NEW, headers={"Idempotency-Key": key}), 400)["detail"]
    assert not Project.objects.filter(slug="moon").exists()


@pytest.mark.django_db
def test_nobody_gets_401_and_no_key_is_kept(db):
    problem(Client().post("/api/v1/projects/", NEW, content_type="application/json", headers=KEY), 401)
    assert not StoredReply.objects.exists()


@pytest.mark.django_db
def test_secrets_are_not_kept(api):
    first = api.post("tokens/", {"name": "n"}, headers=KEY)
    assert first.json()["key"].startswith("tb_")
    assert StoredReply.objects.get().body is None
    assert "not kept" in problem(api.post("tokens/", {"name": "n"}, headers=KEY), 409)["detail"]
    assert ApiToken.objects.filter(name="n").count() == 1


@pytest.mark.django_db
def test_a_key_is_forgotten_after_a_day(api, settings):
    api.post("projects/", NEW, headers=KEY)
    StoredReply.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    problem(api.post("projects/", NEW, headers=KEY), 422)  # carried out again: the slug is taken
    assert not StoredReply.objects.exists()
    api.post("projects/", {**NEW, "slug": "mars"}, headers=KEY)
    assert forget_old() == 0
    StoredReply.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    forget_requests()
    assert not StoredReply.objects.exists()


@pytest.mark.django_db
def test_an_upload_is_the_same_under_another_boundary(api):
    def send(boundary):
        body = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("pairs.jsonl", b'{"prompt": "?"}\n')})
        kind = MULTIPART_CONTENT.replace(BOUNDARY, boundary)
        body = body.replace(BOUNDARY.encode(), boundary.encode())
        return api.post("projects/tides/imports/", body, content_type=kind, headers=KEY)

    assert [send("first").status_code, send("second").status_code] == [202, 202]
    assert Import.objects.count() == Job.objects.count() == 1


@pytest.mark.django_db
def test_a_body_that_is_too_long_for_a_key_is_413(api, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    body = b" " * 1000 + b"{}"
    assert "without one" in problem(api.post("projects/", body, headers=KEY), 413)["detail"]


@pytest.mark.django_db(transaction=True)
def test_an_error_of_ours_keeps_neither_key_nor_effect(api):
    """The reply cannot be stored, as if the process had died just before: what the request did is undone with it."""
    api.client.raise_request_exception = False
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE api_storedreply RENAME COLUMN fingerprint TO gone")
    try:
        assert api.post("projects/", NEW, headers=KEY).status_code == 500
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE api_storedreply RENAME COLUMN gone TO fingerprint")
    assert not Project.objects.filter(slug="moon").exists()
    assert api.post("projects/", NEW, headers=KEY).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_while_the_first_is_carried_out_the_second_is_409(api):
    """The first is held at its commit by a lock on a row that it needs; the second finds its key taken."""
    replies = []
    reached, let_go = threading.Event(), threading.Event()

    def send_first():
        try:
            replies.append(api.post("projects/", NEW, headers=KEY))
        finally:
            connection.close()

    def hold():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE projects_project IN EXCLUSIVE MODE")
            reached.set()
            let_go.wait(20)
        connection.close()

    holder, first = threading.Thread(target=hold), threading.Thread(target=send_first)
    holder.start()
    assert reached.wait(20)
    first.start()
    wait_for_lock()
    busy = api.post("projects/", NEW, headers=KEY)
    assert "being carried out" in problem(busy, 409)["detail"]
    assert busy.headers["Retry-After"] == "1"
    let_go.set()
    first.join(20)
    holder.join(20)
    assert [reply.status_code for reply in replies] == [201]
    assert api.post("projects/", NEW, headers=KEY).headers["Idempotent-Replayed"] == "true"


def wait_for_lock():
    """Wait until some other connection waits for a lock of the table."""
    for _ in range(200_000):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'projects_project'::regclass"
            )
            if cursor.fetchone()[0]:
                return
    pytest.fail("Nobody waits.")


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one(api):
    replies = []
    together = threading.Barrier(6)

    def send():
        together.wait(20)
        try:
            replies.append(api.call("POST", "projects/tides/snapshots/", {"name": "Once"}, headers=KEY))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    made = {reply.json()["id"] for reply in replies if reply.status_code == 202}
    assert len(made) == 1
    assert {reply.status_code for reply in replies} <= {202, 409}
    assert Project.objects.get(slug="tides").snapshots.count() == 1
    assert Job.objects.filter(kind="snapshot").count() == 1
