"""Where the rows of an import lie, as one local file that can be read from any place."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage

from apps.core.artifacts import artifact_storage
from apps.imports.models import Import


@contextmanager
def file_of(made: Import) -> Iterator[Path]:
    """Yield the file of an import: the storage's own where it is one here, else a copy for as long as it is needed."""
    names = made.upload.pieces if made.upload else [made.stored_as]
    with local_copy(names) as path:
        yield path


@contextmanager
def local_copy(names: list[str]) -> Iterator[Path]:
    """Yield stored pieces as one local file."""
    storage = artifact_storage()
    if len(names) == 1 and isinstance(storage, FileSystemStorage):
        yield Path(storage.path(names[0]))
        return
    settings.CACHE_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=settings.CACHE_DIR, prefix="import-") as whole:
        for name in names:
            with storage.open(name) as piece:
                shutil.copyfileobj(piece, whole, 1 << 20)
        whole.flush()
        yield Path(whole.name)
