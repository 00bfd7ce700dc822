"""Working folders go when their runs ended long ago, and nothing else does."""

import os
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.exports.services import create_snapshot
from apps.jobs.models import Job
from apps.reward_models.models import TrainingRun
from apps.reward_models.run_folders import folder_of, forget_old_folders

pytestmark = pytest.mark.django_db
HASH = "0123456789ab"


def test_folders_of_runs_that_ended_long_ago_go(project, settings, tmp_path):
    settings.RUNS_DIR = tmp_path / "runs"
    assert forget_old_folders() == []
    snapshot = create_snapshot(project=project, body={"name": "First"}, created_by=None)
    type(snapshot).objects.update(content_hash=HASH)
    snapshot.refresh_from_db()
    now = timezone.now()
    ended = {"ended": 31, "failed lately": 29, "running": None}
    folders = {}
    for name, days in ended.items():
        at = now - timedelta(days=days) if days else None
        job = Job.objects.create(
            project=project, kind="training", state="failed" if days else "running", finished_at=at
        )
        folders[name] = folder_of(TrainingRun.objects.create(project=project, recipe={}, snapshot=snapshot, job=job))
    folders["unknown"] = settings.RUNS_DIR / f"search-99999-{HASH}"
    folders["unknown and new"] = settings.RUNS_DIR / f"99999-{HASH}"
    folders["somebody's"] = settings.RUNS_DIR / "notes-1"
    for name, folder in folders.items():
        (folder / "model").mkdir(parents=True)
        if name != "unknown and new":
            os.utime(folder, (0, time.time() - 31 * 86_400))
    assert forget_old_folders() == sorted([folders["ended"].name, folders["unknown"].name])
    assert {name for name, folder in folders.items() if folder.exists()} == set(folders) - {"ended", "unknown"}
