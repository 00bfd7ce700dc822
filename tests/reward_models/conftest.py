"""Reward models made on the spot, and the reward server that scores with them, in a thread of the test's process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from apps.core.artifacts import local_folder, store_folder
from apps.exports.services import create_snapshot
from apps.projects.models import Project
from apps.reward_models.models import RewardModel
from apps.reward_models.reward_server import _pool, server_token
from apps.signals.models import Scorer
from tests.core.conftest import chat_decoder_folder, encoder_folder  # noqa: F401  (fixtures)
from worker.core.backbone import open_backbone
from worker.core.batching import Limits
from worker.core.training.head import Head
from worker.core.training.recipe import Recipe
from worker.core.training.save import save_model
from worker.core.uncertainty import Laplace
from worker.reward_server import Find, RewardServer, Version, server_app
from worker.serve import listening

MODELS = {"pooler": "encoder_folder", "mean": "encoder_folder", "last": "chat_decoder_folder"}
"""The backbone of each pooling."""


@pytest.fixture(scope="session")
def model_folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return saved models with heads drawn at random, by pooling."""
    folders = {}
    for pooling, backbone in MODELS.items():
        recipe = Recipe(backbone=str(request.getfixturevalue(backbone)), pooling=pooling, max_tokens=48)
        weight = np.random.default_rng(7).normal(size=(1, 8)).astype(np.float32)
        folders[pooling] = tmp_path_factory.mktemp("models") / pooling
        head = Head(("reward",), weight, np.zeros(1, dtype=np.float32))
        sure = Laplace(np.zeros(8, dtype=np.float32), np.eye(8, dtype=np.float32)) if pooling == "mean" else None
        save_model(folders[pooling], recipe, open_backbone(recipe), head, "abc", {}, sure)
    return folders


def stored(version: Version) -> Path:
    """Find a version's folder in this installation's storage."""
    return local_folder(version.folder, list(version.files))


@contextmanager
def serving(address: str, cache: Path, limits: Limits, find: Find = stored) -> Iterator[RewardServer]:
    """Run the reward server of this installation at an address; it asks `find` for each folder it loads."""
    server = RewardServer(find=find, cache=cache, limits=limits)
    app = uvicorn.Server(uvicorn.Config(server_app(server, server_token()), log_config=None, access_log=False))
    with listening(address) as listener:
        thread = threading.Thread(target=app.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield server
        finally:
            app.should_exit = True
            thread.join()


@pytest.fixture
def reward_server(settings: Any, tmp_path: Path) -> Iterator[RewardServer]:
    """Run the reward server where the web process of this test looks for it."""
    settings.REWARD_SERVER_URL = address = f"unix:{tmp_path / 'rewards.sock'}"
    with serving(address, tmp_path / "cache.sqlite3", Limits()) as server:
        yield server
    _pool(address)[0].close()


@pytest.fixture
def make_model(project: Project, model_folders: dict[str, Path]) -> Callable[..., RewardModel]:
    """Return a function that registers a version of a pooling."""

    def make(pooling: str = "pooler", state: str = "current", of: Project = project) -> RewardModel:
        version = of.reward_models.count() + 1
        stored_as = f"reward-models/service-{of.pk}-{version}"
        files = store_folder(model_folders[pooling], stored_as)
        scorer = Scorer.objects.create(project=of, name=f"Reward model {version}", kind="reward_model")
        return RewardModel.objects.create(
            project=of,
            version=version,
            state=state,
            recipe={"pooling": pooling},
            recipe_hash="x",
            snapshot=create_snapshot(project=of, body={"name": f"For {version}"}, created_by=None),
            scorer=scorer,
            folder=stored_as,
            files=files,
        )

    return make
