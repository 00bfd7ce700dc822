"""The worker starts as many training processes as a recipe asks for, where the machine has room for them."""

import os
import sys
from pathlib import Path

import pytest

from worker.tasks.running import JobFailed
from worker.tasks.training import training_command

RUN = Path("/run")
TRAINING = ["worker.train", "--run", "/run", "--resume"]


def test_one_process_is_started_without_a_launcher() -> None:
    assert training_command({"tuning": "head"}, RUN) == [sys.executable, "-m", *TRAINING]
    assert training_command({"tuning": "full", "processes": 1}, RUN) == [sys.executable, "-m", *TRAINING]


def test_several_are_started_by_torchrun(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    launched = ["--nproc-per-node=4", "-m", "--", *TRAINING]
    command = training_command({"tuning": "full", "processes": 4}, RUN)
    assert command == [sys.executable, "-m", "torch.distributed.run", "--standalone", *launched]
    settings.TRAINING_TORCHRUN = ["--nnodes=2", "--rdzv-endpoint=gpu1:29400"]
    command = training_command({"tuning": "full", "processes": 4}, RUN)
    assert command[3:] == ["--nnodes=2", "--rdzv-endpoint=gpu1:29400", *launched]


def test_more_than_the_machine_has_cores_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(JobFailed, match="processes: the recipe asks for 3 on this machine, which has 2 cores"):
        training_command({"tuning": "lora", "processes": 3}, RUN)
