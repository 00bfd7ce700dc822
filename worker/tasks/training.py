"""Training: supervise `worker.train` as a subprocess, then judge, register and promote what it made."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from celery import shared_task
from django.conf import settings

from apps.exports.services import write_snapshot
from apps.jobs.services import LeaseLost, note_advance, storing
from apps.reward_models.cards import write_card
from apps.reward_models.models import TrainingRun
from apps.reward_models.run_folders import folder_of, reduce_folder
from apps.reward_models.run_inputs import write_run_folder
from apps.reward_models.services import current_model, note_event, register_version, started_from
from worker.processes import die_with_parent
from worker.tasks.evaluating import failing_in_sentences, judge_version
from worker.tasks.running import Held, JobFailed, WorkerStops, run_job, stopping

NOTE_SECONDS = 1.0
STOP_SECONDS = 20
STOP_SECONDS_OF_BACKBONES = 120  # a checkpoint of billions of weights takes longer than one of a head
KEPT_EVENTS = {"pairs", "overlong", "features", "step", "evaluation"}


@shared_task(name="tiebreak.train_reward_model")
def train_reward_model(job_id: int) -> None:
    """Freeze the snapshot, train, compare with the current version, and register the new one."""
    run_job(job_id, _train)


def _train(held: Held) -> None:
    run = TrainingRun.objects.select_related("project", "snapshot").get(job=held.job)
    held.progress(0, 0, "Freezing the snapshot")
    write_snapshot(snapshot=run.snapshot, claim=held.claim)
    folder = folder_of(run)
    if not (folder / "settings.json").exists():  # written last: a half-written folder is written again
        write_run_folder(run=run, folder=folder)
    saved = _supervise(held, run, folder)
    held.progress(1, 1, "Comparing with the current version")
    current, made = current_model(run.project), Path(saved["model"])
    parent = started_from(run)
    with failing_in_sentences():
        judged = judge_version(
            held,
            recipe=run.recipe,
            snapshot=run.snapshot,
            folder=made,
            versions=[] if parent is None else [parent],
            against=current,
        )
    write_card(folder=made, result=judged, data=run.snapshot.manifest, parent=parent, against=current)
    register_version(
        run=run,
        claim=held.claim,
        folder=made,
        metrics=saved["metrics"],
        judged=judged if judged["card"] else None,
        judged_against=current,
    )
    reduce_folder(folder)


def _supervise(held: Held, run: TrainingRun, folder: Path) -> dict[str, Any]:
    """Run the training to its end, passing on what it reports; return its last event."""
    saved: dict[str, Any] | None = None
    noted = 0.0
    with training_process(folder) as (process, lines):
        held.on_lost = process.terminate  # a training that says nothing must not keep its gpu
        for line in lines:
            event = json.loads(line)
            if held.lost.is_set():
                raise LeaseLost
            match event["event"]:
                case "features":
                    held.progress(event["done"], event["total"], f"Reading texts, {event['computed']} of them new")
                case "error":
                    raise JobFailed(event["message"])
                case "saved":
                    saved = event
                case "checkpoint":
                    note_advance(held.claim)
                case "step" if event["step"] < event["total"] and time.monotonic() - noted < NOTE_SECONDS:
                    continue
                case "step":
                    noted = time.monotonic()
                    held.progress(event["step"], event["total"], _step_in_words(event))
            if event["event"] in KEPT_EVENTS:
                with storing(held.claim):
                    _note(run, event)
        code = process.wait()
    if held.lost.is_set():
        raise LeaseLost
    if saved is None and stopping.is_set():
        raise WorkerStops
    if saved is None:
        killed = " It was killed, which is how a machine answers that runs out of memory." if code == -9 else ""
        raise JobFailed(
            f"The training process ended with code {code} and no message; its log is {folder / 'train.log'}.{killed}"
        )
    return saved


def _step_in_words(event: dict[str, Any]) -> str:
    words = f"Step {event['step']}, loss {event['loss']:.4f}"
    if "pairs_per_second" in event:
        words += f", {event['pairs_per_second']:.3g} pairs/s, {event['tokens_per_second']:,.0f} tokens/s"
    return words


def training_command(recipe: dict[str, Any], folder: Path) -> list[str]:
    """Return the command that trains: one process, or torchrun with as many as the recipe asks for on each machine."""
    python, arguments = [sys.executable, "-m"], ["worker.train", "--run", str(folder), "--resume"]
    processes = recipe.get("processes", 1)
    if processes == 1:
        return [*python, *arguments]
    cores = os.cpu_count() or 1
    if processes > cores:
        raise JobFailed(f"processes: the recipe asks for {processes} on this machine, which has {cores} cores.")
    machines = settings.TRAINING_TORCHRUN or ["--standalone"]
    return [*python, "torch.distributed.run", *machines, f"--nproc-per-node={processes}", "-m", "--", *arguments]


def _note(run: TrainingRun, event: dict[str, Any]) -> None:
    """Keep one line per batch of features rather than all of them, and every step and evaluation."""
    if event["event"] == "features" and run.history and run.history[-1]["event"] == "features":
        run.history = run.history[:-1]
    note_event(run=run, event=event)


@contextmanager
def training_process(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start the training; on the way out ask it to checkpoint, then make it stop."""
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    processes = recipe.get("processes", 1)
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}
    if processes > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    command = training_command(recipe, folder)
    with (folder / "train.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            preexec_fn=die_with_parent,
        )
    lines = cast(IO[bytes], process.stdout)
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS if recipe.get("tuning", "head") == "head" else STOP_SECONDS_OF_BACKBONES)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        lines.close()
