"""Processes that stay: each in a group of its own, ended with all its children, and with this process."""

import os
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from worker.processes import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
DEATHS, DEATHS_SECONDS = 5, 60


@dataclass
class Service:
    """One of the processes that stay, with the time it gets to end its work."""

    name: str
    command: list[str]
    log: Path
    grace: float
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))

    def start(self) -> None:
        """Start the process in a session of its own."""
        self.process = spawn(self.command, self.log, stdout=None)

    @property
    def running(self) -> bool:
        """Say whether the process was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def ask_to_end(self) -> None:
        """Send the signal that lets it finish what it does."""
        if self.process is not None and self.running:
            self.process.terminate()

    def kill_group(self) -> None:
        """Kill what is left of the process and its children, and wait until they are gone."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while group_lives(self.process.pid):
            time.sleep(0.02)
        self.process = None


def spawn(command: list[str], log: Path, *, stdout: int | None) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; what it prints goes to the log, but for a stdout of one's own."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out if stdout is None else stdout,
            stderr=out,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def group_lives(group: int) -> bool:
    """Say whether a process of the group still runs; dead ones that nobody has asked about yet do not count."""
    import psutil

    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def ended_how(code: int) -> str:
    """Return an exit code in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
