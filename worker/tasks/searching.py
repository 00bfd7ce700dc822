"""Searching a recipe: one supervised training per trial, each stored when it is done."""

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from celery import shared_task

from apps.exports.services import write_snapshot
from apps.jobs.services import LeaseLost
from apps.reward_models.models import RecipeSearch
from apps.reward_models.run_folders import search_folder_of
from apps.reward_models.run_inputs import write_inputs
from apps.reward_models.searches import store_trial, trials_of
from worker.core.files import write_json
from worker.core.training.search import best_trial, first_of_its_training
from worker.tasks.running import Held, JobFailed, WorkerStops, run_job, stopping
from worker.tasks.training import training_process

KEPT = ("n", "accuracy", "accuracy_interval", "log_loss", "length_baseline", "accuracy_shorter_won", "n_shorter_won")


@shared_task(name="tiebreak.search_recipe")
def search_recipe(job_id: int) -> None:
    """Try the recipes of a search that have not been tried yet, within its time."""
    run_job(job_id, _search)


def _search(held: Held) -> dict[str, Any]:
    search = RecipeSearch.objects.select_related("project", "snapshot").get(job=held.job)
    held.progress(0, 0, "Freezing the snapshot")
    write_snapshot(snapshot=search.snapshot, claim=held.claim)
    root = search_folder_of(search)
    trials = trials_of(search)
    for number in range(len(search.trials), len(trials)):
        left = search.minutes * 60 - sum(trial["seconds"] for trial in search.trials)
        held.progress(number, len(trials), f"Trying {number + 1} of {len(trials)}: {json.dumps(trials[number])}")
        folder = root / str(first_of_its_training(trials, number))
        trial = _try(held, search, trials[number], folder, left) if left > 0 else None
        if trial is None:
            break
        store_trial(search=search, claim=held.claim, trial=trial)
        if number + 1 == len(trials) or root / str(first_of_its_training(trials, number + 1)) != folder:
            shutil.rmtree(folder)
    best = best_trial(search.trials)
    if best is None:
        raise JobFailed(_why_nothing(search))
    shutil.rmtree(root, ignore_errors=True)  # with what the last trial had no time for
    return {"recipe_search": str(search.pk), "tried": len(search.trials), "of": len(trials), "best": best}


def _try(
    held: Held, search: RecipeSearch, changes: dict[str, Any], folder: Path, seconds: float
) -> dict[str, Any] | None:
    """Train once and return what was measured, or why it failed; None when the time is over before that."""
    started, over = time.monotonic(), threading.Event()
    recipe = {**search.recipe, **changes}
    if not (folder / "settings.json").exists():
        write_inputs(project=search.project, recipe=recipe, snapshot=search.snapshot, folder=folder)
    write_json(folder / "recipe.json", recipe)  # of the same training with another factor, too
    said: dict[str, Any] = {}
    with training_process(folder) as (process, lines):

        def stop() -> None:
            over.set()
            process.terminate()

        held.on_lost = process.terminate
        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            for line in lines:
                if held.lost.is_set():
                    raise LeaseLost
                event = json.loads(line)
                if event["event"] in {"saved", "error"}:
                    said = event
        finally:
            timer.cancel()
        code = process.wait()
    if held.lost.is_set():
        raise LeaseLost
    if stopping.is_set() and said.get("event") != "saved":
        raise WorkerStops
    result: dict[str, Any] = {"changes": changes, "seconds": round(time.monotonic() - started, 1)}
    if said.get("event") == "saved":
        measured = said["metrics"]["validation"]
        if measured is None:
            return result | {"error": "There is no held-out pair to choose by."}
        return result | {"validation": {name: measured[name] for name in KEPT}}
    if over.is_set():
        return None
    return result | {"error": said.get("message", f"The training process ended with code {code}.")}


def _why_nothing(search: RecipeSearch) -> str:
    errors = [trial["error"] for trial in search.trials if trial.get("error")]
    return errors[0] if errors else f"No trial was done within {search.minutes} minutes; allow more."
