"""Servers of one's own: the tests name them in variables, as `.ci/run` does, and are skipped without."""

import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict


def named_server(variable: str) -> str:
    """Return the address in a variable, or skip the test by that name."""
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    return os.environ[variable]


@pytest.fixture
def database_url() -> Iterator[str]:
    """Yield the address of an empty database on the server of TEST_DATABASE_URL."""
    server = named_server("TEST_DATABASE_URL")
    name = f"tiebreak_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield server.removesuffix(f"/{conninfo_to_dict(server)['dbname']}") + f"/{name}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(params=["TEST_AMQP_URL", "TEST_REDIS_URL"], ids=["rabbitmq", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Return the address of each broker in turn."""
    return named_server(request.param)
