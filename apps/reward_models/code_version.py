"""Which code trained or judged a version: that of this installation, told apart where its number is the same."""

import hashlib
from functools import cache
from pathlib import Path

from django.conf import settings

from apps.exports.services import software_version


@cache
def code_version() -> str:
    """Return the version of Tiebreak, a plus, and a hash of the code of the workers (PEP 440's local version)."""
    return f"{software_version()}+{code_hash(settings.BASE_DIR / 'worker')[:12]}"


def code_hash(folder: Path) -> str:
    """Return the SHA-256 (hex) of the Python files in a folder: of their names and of what is in them."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()
