"""One running Tiebreak for all browser tests of a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Runner, running_tiebreak, var_folder

ENVIRONMENT = {"SCORING_BATCH": "8", "OUTGOING_ALLOW": "127.0.0.0/8"}
"""Short batches, to be killed in the middle of; and receivers of webhooks are on this machine."""


@pytest.fixture(scope="session")
def tiebreak() -> Iterator[Runner]:
    """Start the demo on a folder of its own; tests share its data, so each makes the project that it changes."""
    with var_folder() as var, running_tiebreak(var, environment=ENVIRONMENT) as running:
        yield running


@pytest.fixture
def var() -> Iterator[Path]:
    """Yield a folder for a runner of one's own."""
    with var_folder() as folder:
        yield folder
