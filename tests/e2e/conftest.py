"""One running Tiebreak for all browser tests of a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Runner, running_tiebreak, var_folder

ENVIRONMENT = {
    "SCORING_BATCH": "8",
    "JOB_LEASE_SECONDS": "15",
    "JOB_HEARTBEAT_SECONDS": "3",
    "BEAT_RESEND_SECONDS": "2",
    "OUTGOING_ALLOW": "127.0.0.0/8",
}
"""Short batches, to be killed in the middle of, and soon taken up; receivers of webhooks are on this machine."""


@pytest.fixture(scope="session")
def tiebreak() -> Iterator[Runner]:
    """Start the demo on a folder of its own; tests share its data, so each makes the project that it changes."""
    with var_folder() as var, running_tiebreak(var, environment=ENVIRONMENT) as running:
        yield running


@pytest.fixture
def tiebreak_to_stop(tiebreak: Runner) -> Runner:
    """Return the same one to the test that stops it, which therefore comes after all that use it."""
    return tiebreak


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of the shared Tiebreak, the one that stops it last: it shall not run beside all others."""

    def turn(item: pytest.Item) -> int:
        uses = getattr(item, "fixturenames", ())
        return 1 if "tiebreak_to_stop" in uses else 0 if "tiebreak" in uses else 2

    items.sort(key=turn)


@pytest.fixture
def var() -> Iterator[Path]:
    """Yield a folder for a runner of one's own."""
    with var_folder() as folder:
        yield folder
