"""Weights and snapshots: write once, read from any machine. A folder by default, S3 by setting."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages

_DRAFT = ".writing-"


def artifact_storage() -> Storage:
    """Return the storage named `artifacts` in the settings."""
    return storages["artifacts"]


def store_file(local: Path, name: str) -> None:
    """Copy a local file into the storage under `name`, replacing an earlier attempt of the same job."""
    storage = artifact_storage()
    if storage.exists(name):
        storage.delete(name)
    with local.open("rb") as stream:
        storage.save(name, File(stream))


def store_folder(local: Path, name: str) -> list[str]:
    """Copy a local folder into the storage under `name` and return the relative names of its files, sorted."""
    files = sorted(str(path.relative_to(local)) for path in local.rglob("*") if path.is_file())
    for file in files:
        store_file(local / file, f"{name}/{file}")
    return files


@contextmanager
def draft_folder(name: str) -> Iterator[Path]:
    """Yield an empty local folder whose content `adopt_folder` stores below `name`; it is gone afterwards.

    On a file system it lies beside its destination, so that storing is a rename. What a killed process left there is
    removed once nobody has written to it for ten minutes.
    """
    storage = artifact_storage()
    beside = Path(storage.path(name)) if isinstance(storage, FileSystemStorage) else None
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
        for left in beside.glob(f"{_DRAFT}*"):
            if max(path.stat().st_mtime for path in (left, *left.rglob("*"))) < time.time() - 600:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_DRAFT, dir=beside) as folder:
        draft = Path(folder) / "draft"
        draft.mkdir()
        yield draft


def adopt_folder(local: Path, name: str) -> None:
    """Store a folder under `name` and take it away: renamed on a file system, uploaded file by file elsewhere."""
    storage = artifact_storage()
    if not isinstance(storage, FileSystemStorage):
        store_folder(local, name)
        return
    target = Path(storage.path(name))
    if target.exists():  # of an attempt that was killed before it could say so
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(local, target)


def local_folder(name: str, files: list[str]) -> Path:
    """Return a local folder with the stored `files`: the storage's own on a file system, else a downloaded copy.

    The copy is renamed into place when complete, so a killed download is never mistaken for a whole one.
    """
    storage = artifact_storage()
    if isinstance(storage, FileSystemStorage):
        return Path(storage.path(name))
    target = settings.CACHE_DIR / "artifacts" / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".download-"))
    for file in files:
        (partial / file).parent.mkdir(parents=True, exist_ok=True)
        with storage.open(f"{name}/{file}") as source, (partial / file).open("wb") as copy:
            shutil.copyfileobj(source, copy)
    try:
        os.rename(partial, target)
    except OSError:  # another process finished the same download first
        shutil.rmtree(partial)
    return target
