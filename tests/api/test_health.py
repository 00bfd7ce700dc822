"""Health: alive without asking anybody, ready only when database, broker and migrations are."""

import socket
import threading
import time

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from apps.jobs.services import note_worker
from apps.reward_models.reward_server import HOW_TO_START

QUICK_SECONDS = 4  # what hangs does so for longer


def ready():
    started = time.monotonic()
    reply = Client().get("/readyz")
    assert time.monotonic() - started < QUICK_SECONDS
    return reply.status_code, reply.json()


def test_livez_asks_nothing_of_the_database():
    reply = Client().get("/livez")  # pytest-django refuses a query without the mark
    assert (reply.status_code, reply.content) == (200, b"ok\n")
    assert "no-cache" in reply.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_is_only_read(path):
    assert Client().post(path).status_code == 405
    assert Client().head("/livez").status_code == 200


@pytest.mark.django_db
def test_readyz_names_every_check_and_the_workers(settings, tmp_path):
    settings.REWARD_SERVER_URL = f"unix:{tmp_path / 'nobody.sock'}"
    fine = {"ok": True, "detail": None}
    assert ready() == (
        200,
        {
            "status": "ok",
            "checks": {
                "database": fine,
                "broker": fine,
                "migrations": fine,
                "workers": {"cpu": False, "gpu": False},
                "reward_server": {"ok": False, "detail": str(HOW_TO_START)},
            },
        },
    )
    note_worker(name="cpu@here", queues=["cpu"])
    assert ready()[1]["checks"]["workers"] == {"cpu": True, "gpu": False}


@pytest.mark.django_db
def test_the_database_is_the_broker_when_pgmq_is_installed(settings, django_assert_num_queries):
    settings.CELERY_BROKER_URL = "pgmq://"
    assert ready()[0] == 200
    with django_assert_num_queries(5):  # select 1, pgmq, two of the migration table, workers
        ready()
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA pgmq CASCADE")
    status, body = ready()
    assert (status, body["status"]) == (503, "unavailable")
    assert "PGMQ" in body["checks"]["broker"]["detail"]


@pytest.mark.django_db
def test_a_missing_migration_is_503():
    MigrationRecorder.Migration.objects.filter(app="signals").delete()
    status, body = ready()
    assert status == 503
    assert "migrate" in body["checks"]["migrations"]["detail"]


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
@pytest.mark.django_db
def test_a_broker_that_refuses_is_503(settings, scheme):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings.CELERY_BROKER_URL = f"{scheme}://user:secret@127.0.0.1:{port}//0"
    status, body = ready()
    assert status == 503
    assert body["checks"]["database"]["ok"]
    assert not body["checks"]["broker"]["ok"]
    assert "secret" not in str(body)


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
@pytest.mark.django_db
def test_a_broker_that_never_answers_is_503_in_time(settings, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CELERY_BROKER_URL = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}//0"
        status, body = ready()
    assert (status, body["checks"]["broker"]["ok"]) == (503, False)


@pytest.mark.django_db
def test_the_broker_check_leaves_no_connection_open(settings):
    """A small server that speaks just enough of Redis: each of its threads ends when its client has gone."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve_redis, args=(server, threads), daemon=True).start()
        settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        for _ in range(3):
            assert ready()[0] == 200
        assert len(threads) >= 3
        for thread in threads:
            thread.join(timeout=5)
            assert not thread.is_alive(), "the check kept its connection"


@pytest.mark.django_db(transaction=True)
def test_a_database_that_does_not_answer_is_503():
    name = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = "not_there"
    try:
        status, body = ready()
    finally:
        connection.settings_dict["NAME"] = name
    assert status == 503
    assert not body["checks"]["database"]["ok"]
    assert "not_there" not in str(body)
    assert body["checks"]["workers"] == {"cpu": False, "gpu": False}
    assert ready()[0] == 200


def _serve_redis(server: socket.socket, threads: list[threading.Thread]) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threads.append(threading.Thread(target=_answer, args=(client,), daemon=True))
        threads[-1].start()


def _answer(client: socket.socket) -> None:
    with client, client.makefile("rwb") as stream:
        while header := stream.readline():  # *<number of arguments>, then $<length> and value of each
            arguments = [(stream.readline(), stream.readline())[1] for _ in range(int(header[1:]))]
            greeting = arguments[0].strip().upper() == b"HELLO"
            stream.write(b"%2\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n" if greeting else b"+PONG\r\n")
            stream.flush()
