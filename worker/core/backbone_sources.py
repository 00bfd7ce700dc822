"""Which backbones a recipe may name: the embedded one, models of the hub, and folders that an operator put in place."""

import os.path
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.core.training.recipe import EMBEDDED

HUB_NAME = re.compile(r"(?:(?P<owner>[A-Za-z0-9][\w.-]{0,95})/)?[A-Za-z0-9][\w.-]{0,95}")
RULE = (
    f"must be {EMBEDDED!r}, the name of a model that may be fetched from the hub, such as Qwen/Qwen3-0.6B, or a folder "
    "below BACKBONES_DIR of the gpu worker"
)


@dataclass(frozen=True)
class Sources:
    """Folders below `folder` and models of `owners` on the hub; without a folder any folder, without owners any."""

    folder: Path | None = None
    owners: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sources":
        """Read what `to_dict` has written."""
        folder = values.get("folder")
        return cls(Path(folder) if folder else None, tuple(values.get("owners") or ()))

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON types."""
        return {"folder": None if self.folder is None else str(self.folder), "owners": list(self.owners)}

    def check(self, name: str) -> None:
        """Raise ValueError when no folder and no model of this name may be used; looks at no disk, so it tells none."""
        if name == EMBEDDED or self.folder is None or self.may_fetch(name):
            return
        place = os.path.normpath(self.folder / name)
        if Path(place) == self.folder or not Path(place).is_relative_to(self.folder):
            raise ValueError(f"backbone: {RULE}, not {name[:200]!r}.")

    def find(self, name: str) -> Path | None:
        """Return the folder of this name, if there is one that may be used; links are followed before that is asked."""
        if self.folder is None:
            return Path(name) if Path(name).is_dir() else None
        root = self.folder.resolve()
        place = (root / name).resolve()
        return place if place != root and place.is_relative_to(root) and place.is_dir() else None

    def may_fetch(self, name: str) -> bool:
        """Return whether the hub may be asked for a model of this name."""
        found = HUB_NAME.fullmatch(name)
        if found is None or ".." in name:
            return False
        return not self.owners or found["owner"] in self.owners


ANYWHERE = Sources()
"""For whoever runs a command on a machine of their own."""
