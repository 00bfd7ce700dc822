"""A batch is decided and copied while the one before is committing, and nothing of that is to be seen in the end."""

import threading
import time
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from apps.imports import batches, known
from apps.imports.known import fetch
from apps.imports.models import Finding
from apps.imports.services import run_import, start_import_of_items
from apps.imports.storing import Storer
from apps.imports.turns import PATIENCE_MS, take_turn
from apps.jobs.models import Job
from apps.labeling.models import QueueItem
from apps.prompts.models import Comparison, Prompt, Response
from tests.e2e.running import wait_until
from tests.factories import ProjectFactory
from tests.imports.rows import row
from tests.imports.test_going_on import figures, mixed
from worker.tasks.datasets import import_pairs

pytestmark = pytest.mark.django_db(transaction=True)


def handed_in(project, rows):
    return start_import_of_items(project=project, items=rows, created_by=None)


def fresh(count, **changes):
    return [row(external_id=f"q-{n}", responses=[f"yes {n}", f"no {n}"], **changes) for n in range(count)]


@contextmanager
def before_copying(monkeypatch, external_id, act):
    """Let somebody act in a thread, with a connection of their own, when the batch with this pair is decided."""
    original, acted = Storer._write, []

    def write(self, decided):
        if not acted and any(pair.external_id == external_id for pair in decided.new):
            acted.append(True)
            thread = threading.Thread(target=lambda: (act(), connection.close()))
            thread.start()
            thread.join()
        return original(self, decided)

    monkeypatch.setattr(Storer, "_write", write)
    yield
    assert acted


def written(monkeypatch):
    """Return a list of what is written from now on: the external ids of each attempt."""
    original, attempts = Storer._write, []

    def write(self, decided):
        attempts.append([pair.external_id for pair in decided.new])
        return original(self, decided)

    monkeypatch.setattr(Storer, "_write", write)
    return attempts


@contextmanager
def no_commit_with(external_id):
    """Let every transaction fail at its commit, as for a foreign key, that stores this pair."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE 'no such tide' USING ERRCODE = 'foreign_key_violation'; END $$;"
            " CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON prompts_comparison DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW WHEN (NEW.external_id = '{external_id}') EXECUTE FUNCTION refuse()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refused ON prompts_comparison; DROP FUNCTION refuse()")


def test_small_batches_find_what_one_large_batch_finds(monkeypatch):
    rows = [{**each, "annotations": []} for each in mixed(60)]
    found = []
    for size in (3, 2000):
        monkeypatch.setattr(batches, "BATCH", size)
        Comparison.objects.all().delete()
        Prompt.objects.all().delete()
        made = handed_in(ProjectFactory(), rows)
        run_import(made=made, on_batch=lambda read: None)
        found.append(figures(made))
    assert found[0] == found[1]
    assert found[0][0]["created"] > 60
    assert found[0][0]["duplicates"]


@pytest.mark.parametrize("was_empty", [True, False])
@pytest.mark.parametrize("same_ids", [True, False])
def test_a_batch_that_another_import_came_before_is_decided_again(monkeypatch, same_ids, was_empty):
    monkeypatch.setattr(batches, "BATCH", 4)
    project = ProjectFactory()
    rows = fresh(12)
    if not was_empty:
        # The texts are there before, so that only the project's turn tells of a pair that came in under another id.
        old = [{**each, "external_id": f"old-{n}"} for n, each in enumerate(rows)]
        run_import(made=handed_in(project, old), on_batch=lambda read: None)
        Comparison.objects.all().delete()
    theirs = handed_in(
        project, rows if same_ids else [{**each, "external_id": f"x-{n}"} for n, each in enumerate(rows)]
    )
    mine = handed_in(project, rows)
    with before_copying(monkeypatch, "q-5", lambda: run_import(made=theirs, on_batch=lambda read: None)):
        run_import(made=mine, on_batch=lambda read: None)
    theirs.refresh_from_db()
    mine.refresh_from_db()
    if same_ids:
        assert (mine.counts["created"], mine.counts["unchanged"]) == (4, 8)
        assert (theirs.counts["created"], theirs.counts["unchanged"]) == (8, 4)
        assert Comparison.objects.count() == 12
    else:
        assert (mine.counts["created"], mine.counts["duplicates"]) == (12, 8)
        assert mine.findings.filter(kind=Finding.Kind.DUPLICATE, line__gt=4).count() == 8
    assert QueueItem.objects.count() == Comparison.objects.count()
    assert (Prompt.objects.count(), Response.objects.count()) == (1, 24)


@pytest.mark.parametrize("last", [False, True])
def test_a_commit_that_fails_in_the_thread_ends_the_job_with_its_message(monkeypatch, last):
    monkeypatch.setattr(batches, "BATCH", 4)
    made = handed_in(ProjectFactory(), fresh(20))
    with no_commit_with("q-18" if last else "q-9"):
        import_pairs(made.job_id)
    job = Job.objects.get(pk=made.job_id)
    assert job.state == "failed"
    assert "IntegrityError: no such tide" in job.error
    made.refresh_from_db()
    stored = 16 if last else 8
    assert (made.position, made.counts["created"], made.is_read) == (stored, stored, False)
    assert (Comparison.objects.count(), Response.objects.count()) == (stored, 2 * stored)
    run_import(made=made, on_batch=lambda read: None)
    assert (Comparison.objects.count(), made.position, made.counts["created"]) == (20, 20, 20)


def test_a_batch_waits_for_nobody_for_long_without_the_lock(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 4)
    project = ProjectFactory()
    locked, attempts = threading.Event(), written(monkeypatch)

    def hold():
        with transaction.atomic():
            take_turn(project.pk)
            locked.set()
            time.sleep(2 * PATIENCE_MS / 1000)
        connection.close()

    holder = threading.Thread(target=hold)
    with before_copying(monkeypatch, "q-5", lambda: (holder.start(), locked.wait())):
        run_import(made=handed_in(project, fresh(12)), on_batch=lambda read: None)
    holder.join()
    assert [names[0] for names in attempts] == ["q-0", "q-4", "q-4", "q-8"]
    assert (Comparison.objects.count(), Response.objects.count()) == (12, 24)


def test_an_empty_project_is_asked_for_nothing_but_what_the_file_had_before(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 4)
    asked = []

    def remembering(statement, values):
        asked.append(values[-1])
        return fetch(statement, values)

    monkeypatch.setattr(known, "fetch", remembering)
    rows = [{**each, "messages": [{"role": "user", "content": f"Why {n}?"}]} for n, each in enumerate(fresh(12))]
    rows[9]["messages"] = rows[2]["messages"]
    rows[10] = rows[1]
    project = ProjectFactory()
    run_import(made=handed_in(project, rows), on_batch=lambda read: None)
    assert asked[0] == ["q-1"]
    assert len(asked) == 3  # and the prompt of rows 2 and 9, and the texts of that
    assert Comparison.objects.count() == 11
    assert Prompt.objects.count() == 10


def test_no_connection_is_left_when_a_run_ends(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 4)

    def count():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return cursor.fetchone()[0]

    before, used = count(), connection.connection
    run_import(made=handed_in(ProjectFactory(), fresh(20)), on_batch=lambda read: None)
    assert connection.connection is used
    wait_until(lambda: count() == before, 10, "the server has seen that the other connections are closed")
