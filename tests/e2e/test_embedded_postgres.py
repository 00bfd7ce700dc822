"""The embedded server stops with its last user, and starts again after everything was killed."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.running import ROOT

USE = """
import sys
from pathlib import Path
from config import embedded_postgres
print(embedded_postgres.start(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


class User:
    """A process that uses the server until it is told to leave."""

    def __init__(self, data_dir: Path) -> None:
        command = [sys.executable, "-c", USE, str(data_dir)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the server did not start"

    def leave(self) -> None:
        self.process.communicate(timeout=60)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=60)


@pytest.fixture
def use(var: Path) -> Callable[[], User]:
    return lambda: User(var / "postgres")


def server(var: Path) -> psutil.Process:
    return psutil.Process(int((var / "postgres" / "postmaster.pid").read_text().split("\n")[0]))


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_the_server_stops_with_its_last_user_although_another_one_was_killed(
    var: Path, use: Callable[[], User]
) -> None:
    first, second = use(), use()
    running = server(var)
    first.kill()
    third = use()
    second.leave()
    assert lives(running)
    third.leave()
    assert not lives(running)


def test_a_killed_server_starts_again_although_its_process_id_was_given_to_another(
    var: Path, use: Callable[[], User]
) -> None:
    user = use()
    killed = server(var)
    killed.send_signal(signal.SIGKILL)
    user.kill()
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        left = var / "postgres" / name
        left.write_text(left.read_text().replace(str(killed.pid), str(psutil.Process().pid), 1))
    again = use()
    running = server(var)
    assert running.name() == "postgres"
    again.leave()
    assert not lives(running)
