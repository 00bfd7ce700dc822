"""Django database backend that starts the embedded PostgreSQL on the first connection."""

from pathlib import Path
from typing import Any

from django.db.backends.postgresql.base import DatabaseWrapper as PostgresWrapper

from config import embedded_postgres


class DatabaseWrapper(PostgresWrapper):
    """PostgreSQL whose server lives in the folder named by `OPTIONS["data_dir"]`."""

    def get_connection_params(self) -> dict[str, Any]:
        """Start the server if needed and point libpq at its socket."""
        params = super().get_connection_params()
        data_dir = Path(params.pop("data_dir"))
        params["host"] = str(embedded_postgres.start(data_dir))
        return params
