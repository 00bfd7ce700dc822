"""One running Tiebreak for all browser tests of a session."""

from collections.abc import Iterator

import pytest

from tests.e2e.running import Runner, running_tiebreak


@pytest.fixture(scope="session")
def tiebreak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Start the demo on a folder of its own; tests share its data, so each makes the project that it changes."""
    with running_tiebreak(tmp_path_factory.mktemp("tiebreak") / "var") as running:
        yield running
