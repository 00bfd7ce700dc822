"""`make demo` from the first start to the last process: what its runner promises, in one life and a second one."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.e2e.running import ROOT, Runner, free_port, processes_of, running_tiebreak, wait_until

ACCOUNTS = ["manager", *(f"annotator{number}" for number in range(1, 6)), "researcher"]
GPU_DIED = "gpu died (killed by SIGKILL) and is started again"
RESTART_SECONDS = 90
"""Eleven when nothing else runs; here the other tests run as well."""


def run_once(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a runner that is expected to give up."""
    return subprocess.run(
        [sys.executable, *options, "-m", "config.demo"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment},
        capture_output=True,
        text=True,
        timeout=90,
    )


def status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return int(reply.status)


def count_comparisons(runner: Runner) -> int:
    code = "from apps.prompts.models import Comparison; print(Comparison.objects.filter(project__slug='demo').count())"
    return int(runner.manage("shell", "--verbosity", "0", "--command", code).split()[-1])


@pytest.mark.timeout(420)
def test_the_demo_starts_serves_recovers_stops_and_starts_again_with_its_data(tiebreak_to_stop: Runner) -> None:
    runner, var = tiebreak_to_stop, tiebreak_to_stop.var
    assert status(f"{runner.base_url}/readyz") == 200
    assert all(f"{name} " in runner.output for name in ACCOUNTS)
    assert runner.base_url in runner.output
    assert count_comparisons(runner) == 76

    second = run_once(TIEBREAK_VAR=str(var), PORT=str(free_port()))
    assert second.returncode == 1
    assert "runs on" in second.stderr
    assert str(runner.process.pid) in second.stderr

    old = runner.processes()["gpu"]
    children = old.children(recursive=True)
    said = runner.output.count(GPU_DIED)
    old.kill()
    wait_until(lambda: runner.output.count(GPU_DIED) > said, 10, "the runner says that the worker died")
    wait_until(lambda: not psutil.wait_procs(children, timeout=0.1)[1], 10, "the dead worker's children are gone")
    new = runner.processes()["gpu"]
    assert new.pid != old.pid
    assert runner.stop() == 0
    assert not processes_of(var), runner.output
    assert "Traceback" not in runner.output

    began = time.monotonic()
    with running_tiebreak(var) as runner:
        assert time.monotonic() - began < RESTART_SECONDS
        assert count_comparisons(runner) == 76
        assert runner.stop(signal.SIGTERM) == 0
    assert not processes_of(var), runner.output

    broken = run_once(TIEBREAK_VAR=str(var), PORT=str(free_port()), GUNICORN_CMD_ARGS="--config /no/such/file")
    assert broken.returncode == 1
    assert "web died 5 times within a minute" in broken.stderr
    assert f"{var}/log/web.log" in broken.stderr
    assert not processes_of(var), broken.stdout


def test_a_taken_port_gets_a_sentence_with_the_way_out(var: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = run_once(TIEBREAK_VAR=str(var), PORT=str(port))
    assert done.returncode == 1
    assert f"Port {port} is taken" in done.stderr
    assert f"PORT={port + 1} make demo" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_package_gets_a_sentence_with_the_way_out() -> None:
    done = run_once("-S")  # without site-packages
    assert done.returncode == 1
    assert "is not installed" in done.stderr
    assert "make demo" in done.stderr


def test_a_port_that_is_no_port_gets_a_sentence(var: Path) -> None:
    done = run_once(TIEBREAK_VAR=str(var), PORT="eighty")
    assert done.returncode == 1
    assert "PORT must be a number from 1 to 65535, not 'eighty'" in done.stderr
