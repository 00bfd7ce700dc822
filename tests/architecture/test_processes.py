"""What each kind of process loads, and where each task runs."""

import subprocess
import sys

import pytest
from django.core.management import call_command

from apps.jobs.kinds import KINDS, QUEUES
from config.celery import app


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the heavy libraries it has loaded."""
    script = f"{code}\nimport sys\nprint(*sorted({{'torch', 'transformers', 'sklearn'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_web_process_does_not_load_the_heavy_libraries():
    assert loaded_by("import config.wsgi, config.urls") == set()


def test_a_workers_parent_process_and_the_cpu_worker_do_not_load_them_either():
    assert loaded_by("from config.celery import app; app.loader.import_default_modules()") == set()


def test_the_probe_would_see_them():
    assert loaded_by("import torch") == {"torch"}


def our_tasks() -> set[str]:
    app.loader.import_default_modules()
    return {name for name in app.tasks if name.startswith("tiebreak.")}


def test_every_task_is_routed_to_a_queue_that_a_worker_serves():
    routes = app.conf.task_routes
    assert set(routes) == our_tasks()
    assert {route["queue"] for route in routes.values()} <= set(QUEUES)


def test_every_kind_of_job_and_every_entry_of_beat_names_a_registered_task():
    named = {kind.task for kind in KINDS.values()} | {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert named <= our_tasks()


def test_every_task_takes_at_most_one_id():
    for name in our_tasks():
        code = app.tasks[name].run.__code__
        assert code.co_argcount <= 1, f"{name} takes more than the id of its job"


@pytest.mark.django_db
def test_no_migration_is_pending():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
