"""Working folders of trainings and recipe searches: what is kept of them, and for how long."""

import re
import shutil
import time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from apps.jobs.models import Job
from apps.reward_models.models import RecipeSearch, TrainingRun

KEPT = ("train.log", "metrics.json", "recipe.json")
"""What is left of a training when its version is registered: the model in the folder was copied to the artifacts."""
NAME = re.compile(r"(?P<search>search-)?(?P<pk>\d{1,18})-[0-9a-f]{12}")


def folder_of(run: TrainingRun) -> Path:
    """Return the folder in which a run works, the same one whenever it is taken up."""
    return settings.RUNS_DIR / f"{run.pk}-{run.snapshot.content_hash[:12]}"


def search_folder_of(search: RecipeSearch) -> Path:
    """Return the folder in which a search works."""
    return settings.RUNS_DIR / f"search-{search.pk}-{search.snapshot.content_hash[:12]}"


def reduce_folder(folder: Path) -> None:
    """Remove what a finished training needs no more: inputs, checkpoints, first stage, the copy of the model."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in KEPT:
            entry.unlink()


def forget_old_folders() -> list[str]:
    """Remove the folders of runs and searches that ended RUNS_KEPT_DAYS ago, or that nobody knows; return their names.

    Names that are not of a run are left alone, and so is what is not over.
    """
    if not settings.RUNS_DIR.is_dir():
        return []
    removed = []
    for folder in sorted(settings.RUNS_DIR.iterdir()):
        found = NAME.fullmatch(folder.name)
        if found is not None and folder.is_dir() and _is_old(folder, int(found["pk"]), search=bool(found["search"])):
            shutil.rmtree(folder)
            removed.append(folder.name)
    return removed


def _is_old(folder: Path, pk: int, *, search: bool) -> bool:
    kept = timedelta(days=settings.RUNS_KEPT_DAYS)
    of_it = {"recipe_search" if search else "training_run": pk}
    job = Job.objects.filter(**of_it).first()
    if job is None:  # its project was deleted
        return time.time() - folder.stat().st_mtime > kept.total_seconds()
    return job.finished and job.finished_at is not None and timezone.now() - job.finished_at > kept
