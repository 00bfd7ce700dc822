"""Where the command finds the address and the key: environment first, then a file that only its owner can read."""

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

from tiebreak.errors import TiebreakError
from tiebreak.transport import Target

URL, TOKEN = "TIEBREAK_URL", "TIEBREAK_TOKEN"


class NoCredentials(TiebreakError):
    """Nobody has said which Tiebreak to ask, or as whom."""


def path_of(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the credentials are kept."""
    return Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tiebreak" / "credentials.toml"


def load(environment: Mapping[str, str] = os.environ) -> Target:
    """Return the address and the key; the environment's win, each for itself."""
    url, token = environment.get(URL), environment.get(TOKEN)
    stored = {} if url and token else _stored(path_of(environment))
    # A key goes only where it was given for: one from the file is not sent to another address.
    if url and not token and stored and url.rstrip("/") != stored.get("url", "").rstrip("/"):
        raise NoCredentials(f"{URL} names {url}, but the stored key is for {stored.get('url')}; set {TOKEN}, too.")
    url, token = url or stored.get("url"), token or stored.get("token")
    if not url or not token:
        raise NoCredentials(f"There is no key yet: run `tiebreak login`, or set {URL} and {TOKEN}.")
    return Target(url, token)


def save(target: Target, environment: Mapping[str, str] = os.environ) -> Path:
    """Store the credentials, readable by their owner only, whole or not at all; return where."""
    path = path_of(environment)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(f"url = {_quoted(target.address)}\ntoken = {_quoted(target.token)}\n")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _stored(path: Path) -> dict[str, str]:
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NoCredentials(f"{path} cannot be read: {error.strerror}.") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise NoCredentials(f"{path} can be read by others; run: chmod 600 {path}")
    try:
        return {name: value for name, value in tomllib.loads(text).items() if isinstance(value, str)}
    except tomllib.TOMLDecodeError:
        raise NoCredentials(f"{path} is damaged; run `tiebreak login` again.") from None


def _quoted(text: str) -> str:
    """Write a text of printable characters as TOML's basic string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
