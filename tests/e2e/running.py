"""Tiebreak as a user runs it: the real runner, with its own folder, database and port."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from apps.pages.demo import PASSWORD

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS, STOP_SECONDS = 240, 60
COMMANDS = {"web": "config.wsgi", "cpu": "cpu@%h", "gpu": "gpu@%h", "beat": "beat"}
"""What tells the services apart in their command lines."""


class Runner:
    """A running `python -m config.demo`."""

    password = PASSWORD

    def __init__(self, var: Path, port: int, environment: Mapping[str, str]) -> None:
        self.var, self.base_url = var, f"http://127.0.0.1:{port}"
        self.environment = {**os.environ, "TIEBREAK_VAR": str(var), "PORT": str(port), **environment}
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)  # that of the tests
        self.output = ""
        self._said = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.demo"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for_output(self, text: str, seconds: float) -> None:
        """Wait until the runner has printed `text`; fail with all it printed when it ends or says nothing of it."""
        with self._said:
            self._said.wait_for(lambda: text in self.output or self.process.poll() is not None, seconds)
            assert text in self.output, f"The runner did not say {text!r} but:\n{self.output}\n{self.logs()}"

    def processes(self) -> dict[str, psutil.Process]:
        """Return the main process of each service."""
        children = psutil.Process(self.process.pid).children()
        return {
            name: child
            for child in children
            for name, mark in COMMANDS.items()
            if child.status() != psutil.STATUS_ZOMBIE and mark in child.cmdline()
        }

    def manage(self, *arguments: str) -> str:
        """Run a management command on the same data and return what it prints."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def token(self, username: str, scope: str) -> str:
        """Return a new API token of this person."""
        return self.manage("create_token", username, "--scope", scope).splitlines()[-1]

    def pid(self, service: str) -> int | None:
        """Return the process id of a service's main process, None while it does not run."""
        process = self.processes().get(service)
        return process.pid if process else None

    def logs(self) -> str:
        """Return the end of every service's log."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in sorted(self.var.glob("log/*.log")))

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send the signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            if self.process.poll() is None:
                self.process.kill()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._said:
                    self.output += line
                    self._said.notify_all()
        self.process.wait()
        with self._said:
            self._said.notify_all()


@contextmanager
def running_tiebreak(
    var: Path, port: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Runner]:
    """Start Tiebreak on a private folder, wait until it is ready, and stop it in order at the end."""
    runner = Runner(var, port or free_port(), environment or {})
    try:
        runner.wait_for_output("Stop with Ctrl-C", READY_SECONDS)
        yield runner
    finally:
        runner.stop()


@contextmanager
def var_folder() -> Iterator[Path]:
    """Yield an empty folder for a runner, removed afterwards.

    Not below pytest's temporary folder: the next session of pytest on this machine makes that unreadable for the
    account that PostgreSQL runs under when tests run as root.
    """
    folder = Path(tempfile.mkdtemp(prefix="tiebreak-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], seconds: float, what: str, pause: float = 0.1) -> Any:
    """Wait for a condition of another process and return its true value; fail with `what` was expected."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"Not within {seconds} seconds: {what}"
        time.sleep(pause)
    return value


def processes_of(var: Path) -> list[str]:
    """Return the command lines of the living processes that belong to a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("TIEBREAK_VAR") == str(var) or f"{var}/postgres" in process.cmdline()
            if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
