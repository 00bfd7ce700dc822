"""The import contracts hold, and each of them breaks when somebody crosses its line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]


def lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LINT, *options], cwd=folder, capture_output=True, text=True, check=False)


def test_every_contract_is_kept():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("contract", "path", "line"),
    [
        ("packages", "apps/jobs/services.py", "from worker.tasks import upkeep"),
        ("packages", "worker/core/sides.py", "from apps.core import errors"),
        ("pure-core", "worker/core/consensus.py", "def late():\n    import django"),
        ("no-ml-in-web", "apps/signals/services.py", "from worker.core import scoring"),
        ("no-ml-in-web", "apps/pages/apps.py", "def late():\n    import torch"),
        ("apps", "apps/labeling/services.py", "from apps.signals import services as upwards"),
        ("apps", "apps/exports/services.py", "from apps.imports import services as sideways"),
        ("in-app", "apps/jobs/models.py", "from apps.jobs import services"),
        ("settings", "apps/core/errors.py", "from config import settings"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tmp_path, contract, path, line):
    for package in ("apps", "worker", "config"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / path).open("a") as source:
        source.write(f"\n{line}\n")
    result = lint(tmp_path, "--contract", contract)
    assert result.returncode == 1, result.stdout
    assert "BROKEN" in result.stdout


def test_an_app_that_nobody_declared_breaks_the_order_of_apps(tmp_path):
    for package in ("apps", "worker", "config"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "apps" / "gamification").mkdir()
    (tmp_path / "apps" / "gamification" / "__init__.py").touch()
    assert lint(tmp_path, "--contract", "apps").returncode == 1
