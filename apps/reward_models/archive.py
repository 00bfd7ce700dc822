"""A stored folder as a tar, written while it is read: never more than one block of it is in memory."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from apps.core.artifacts import artifact_storage

READ_BYTES = 1 << 18
_END = b"\0" * 2 * tarfile.BLOCKSIZE


@dataclass(frozen=True)
class _Member:
    stored_as: str
    size: int
    header: bytes

    @property
    def padding(self) -> int:
        return -self.size % tarfile.BLOCKSIZE


class FolderArchive:
    """The files of a stored folder as a tar below `root`; the same folder gives the same bytes."""

    def __init__(self, *, folder: str, files: list[str], root: str, modified: datetime) -> None:
        self._storage = artifact_storage()
        self._members = [self._member(f"{folder}/{name}", f"{root}/{name}", modified) for name in sorted(files)]

    @property
    def size(self) -> int:
        """Return the length of the whole tar in bytes."""
        return sum(len(member.header) + member.size + member.padding for member in self._members) + len(_END)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the tar from its first byte to its last."""
        for member in self._members:
            yield member.header
            with self._storage.open(member.stored_as) as stream:
                yield from iter(lambda stream=stream: stream.read(READ_BYTES), b"")  # type: ignore[misc]
            yield b"\0" * member.padding
        yield _END

    def _member(self, stored_as: str, name: str, modified: datetime) -> _Member:
        entry = tarfile.TarInfo(name)
        entry.size = self._storage.size(stored_as)
        entry.mtime = int(modified.timestamp())
        return _Member(stored_as, entry.size, entry.tobuf(tarfile.PAX_FORMAT))
