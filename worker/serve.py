"""The reward server: `python -m worker.serve`, a process that keeps reward models in memory and scores for others.

The web process passes requests on to it (`apps.reward_models.reward_server`), over a Unix socket on one machine or HTTP
between several. It names the version by its folder in the artifact storage; the server reads nothing outside of that
storage, and answers nobody without the token that both derive from SECRET_KEY.

`python -m worker.serve --folder DIR` serves one downloaded model by itself, without Django and without a database: the
dialects of docs/serving.md at the root, to whoever has the token in the variable REWARD_SERVER_TOKEN.
"""

import argparse
import logging
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette

from worker.core.batching import Limits
from worker.reward_server import RESIDENT_MODELS, RewardServer, model_app, server_app

logger = logging.getLogger("worker.serve")
GRACE_SECONDS = 5
KEEP_ALIVE_SECONDS = 75
TOKEN_VARIABLE = "REWARD_SERVER_TOKEN"  # noqa: S105 the name of a variable
MAX_SOCKET_PATH = 107
LOCAL = {"127.0.0.1", "::1", "localhost"}


class ServeError(Exception):
    """The server cannot start; the message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    options = _options(arguments)
    limits = Limits(options.batch_tokens, options.waiting_tokens, options.window_ms / 1000)
    try:
        app, address = _model(options, limits) if options.folder else _installation(options, limits)
        with listening(address) as listener:
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
            uvicorn.Server(config).run(sockets=[listener])
    except ServeError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.serve", description=__doc__.split("\n")[0])
    parser.add_argument("--listen", metavar="ADDRESS", help="HOST:PORT or unix:PATH (default: REWARD_SERVER_URL)")
    parser.add_argument("--folder", type=Path, help="serve this model folder by itself (default port 9100)")
    parser.add_argument("--batch-tokens", type=int, default=Limits.batch, help="about what a batch takes in")
    parser.add_argument("--waiting-tokens", type=int, default=Limits.waiting, help="about what may wait")
    parser.add_argument("--window-ms", type=float, default=Limits.window * 1000, help="what a batch waits for others")
    parser.add_argument("--resident", type=int, default=RESIDENT_MODELS, help="models kept in memory")
    return parser.parse_args(arguments)


def _installation(options: argparse.Namespace, limits: Limits) -> tuple[Starlette, str]:
    """Return the application of this installation and where it listens, by the settings that web has, too."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.conf import settings
    from django.utils.log import configure_logging

    from apps.core.artifacts import local_folder
    from apps.reward_models.reward_server import server_token

    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
    server = RewardServer(
        find=lambda version: local_folder(version.folder, list(version.files)),
        cache=settings.CACHE_DIR / "features.sqlite3",
        limits=limits,
        resident=options.resident,
    )
    server.warm_up()
    return server_app(server, server_token()), options.listen or settings.REWARD_SERVER_URL


def _model(options: argparse.Namespace, limits: Limits) -> tuple[Starlette, str]:
    """Return the application of one folder and where it listens."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder, token = options.folder.resolve(), os.environ.get(TOKEN_VARIABLE, "")
    address = options.listen or "127.0.0.1:9100"
    if not (folder / "tiebreak.json").is_file():
        raise ServeError(f"{folder} is not a model folder of Tiebreak: it has no tiebreak.json.")
    if not token and _socket_path(address) is None and urlsplit(_url(address)).hostname not in LOCAL:
        raise ServeError(f"Set {TOKEN_VARIABLE} to serve others than this machine.")
    cache = Path(os.environ.get("TIEBREAK_VAR", "var")) / "cache" / "features.sqlite3"
    server = RewardServer(find=lambda version: folder, cache=cache, limits=limits, resident=1)
    server.warm_up()
    logger.info("Serving %s at %s", folder, address)
    return model_app(server, token, folder.name), address


def listening(address: str) -> socket.socket:
    """Return a socket that listens at `unix:PATH`, `HOST:PORT` or `http://HOST:PORT`. Raises ServeError."""
    path = _socket_path(address)
    try:
        if path is None:
            parts = urlsplit(_url(address))
            if not parts.hostname or not parts.port:
                raise ServeError(f"{address!r} is no address to listen at; use HOST:PORT or unix:PATH.")
            listener = socket.create_server((parts.hostname, parts.port), reuse_port=False, backlog=256)
            # Connections inherit it. Without it the end of a reply waits 40 ms for the caller's late acknowledgement:
            # asyncio sets it only where a socket names its protocol, and this one does not.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listener
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise ServeError(
                f"{path} is too long for a socket. Set REWARD_SERVER_URL to another one, such as http://127.0.0.1:9100."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)  # for this account only: whoever may open it may ask
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(256)
    except OSError as error:
        raise ServeError(f"The reward server cannot listen at {address}: {error.strerror or error}.") from error
    return listener


def _clear(path: Path) -> None:
    """Take away the socket of a server that was killed; leave that of one that answers."""
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise ServeError(f"A reward server listens at {path} already.")


def _socket_path(address: str) -> Path | None:
    return Path(address.removeprefix("unix:").removeprefix("//")) if address.startswith("unix:") else None


def _url(address: str) -> str:
    return address if "://" in address else f"http://{address}"


if __name__ == "__main__":
    sys.exit(main())
