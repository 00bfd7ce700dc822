"""What the reward server answers: an ASGI application around one scoring thread.

`POST /score` is what the web process asks: a version by its folder, and inputs. `GET /health` is open to all.
"""

import asyncio
import hmac
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from worker.core.basic_auth import password_of
from worker.core.batching import Batcher, Limits, Overloaded, PartFailed
from worker.core.dialect_bodies import DialectError, Rewarded
from worker.core.dialects import DIALECTS
from worker.core.reward_inputs import MAX_INPUTS, Input, InputError, Pair, from_wire, size_of
from worker.core.scoring import Scorer
from worker.core.serving import Measured, ServedFeatures, measure
from worker.core.shaping import Needs, Shaper, find_shaper

logger = logging.getLogger("worker.serve")
MAX_BODY_BYTES = 64 * 1024 * 1024
BODY_SECONDS = 30.0
RESIDENT_MODELS = 4


@dataclass(frozen=True)
class Version:
    """A model folder in the artifact storage. Raises ValueError for a name that could lead out of it."""

    folder: str
    files: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in (self.folder, *self.files):
            if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
                raise ValueError("A folder of the storage and its files have plain names.")
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError("A folder of the storage and its files are inside of it.")


Find = Callable[[Version], Path]
"""Returns the local folder with a version's files; called on the scoring thread."""
Asked = tuple[Input, bool, bool]
"""An input, whether its tokens are to be counted, and whether it is to be refused rather than cut."""


class RewardServer:
    """Models in memory, least recently used last, and the thread that scores with them."""

    def __init__(self, *, find: Find, cache: Path, limits: Limits, resident: int = RESIDENT_MODELS) -> None:
        self._find, self._cache_path, self._resident = find, cache, resident
        self._cache: ServedFeatures | None = None
        self._scorers: OrderedDict[Version, Scorer] = OrderedDict()
        self.batcher: Batcher[Asked, Measured] = Batcher(self._work, limits)

    async def rewards(
        self, version: Version, inputs: Sequence[Input], *, count: bool, whole: bool = False
    ) -> list[Measured]:
        """Return what the version says of inputs; cancelling takes what is not done yet out of the line."""
        items = [(item, count, whole) for item in inputs]
        future = self.batcher.submit(version, items, [size_of(item) for item in inputs])
        return await asyncio.wrap_future(future)

    def warm_up(self) -> None:
        """Let the scoring thread load the libraries now, so that the first request does not wait for them."""
        self.batcher.submit(None, [(Pair("", ""), False, False)], [0])

    def _work(self, group: Hashable, items: Sequence[Asked]) -> list[Measured]:
        """Score on the scoring thread, which alone touches models and cache."""
        if not isinstance(group, Version):
            import torch  # noqa: F401
            import transformers.models.auto  # noqa: F401

            return [Measured(0.0, None, 0) for _ in items]
        if self._cache is None:
            self._cache = ServedFeatures(self._cache_path)
        scorer = self._scorers.get(group) or Scorer.load(self._find(group))
        self._scorers[group] = scorer
        self._scorers.move_to_end(group)
        while len(self._scorers) > self._resident:
            self._scorers.popitem(last=False)
        inputs, count, whole = zip(*items, strict=True)
        uncut = [place for place, asked in enumerate(whole) if asked]
        return measure(scorer, inputs, self._cache, count=any(count), whole=uncut)


def server_app(server: RewardServer, token: str) -> Starlette:
    """Return the application that the web process talks to."""

    async def score(request: Request) -> Response:
        if not _is_allowed(request, token):
            return _said(401, "The token is not the one of this installation.")
        body = await _body(request)
        if isinstance(body, Response):
            return body
        try:
            version = Version(body["model"]["folder"], tuple(body["model"]["files"]))
            given = body["inputs"]
            if not isinstance(given, list) or len(given) > 2 * MAX_INPUTS:
                raise ValueError("There are too many inputs.")
            inputs = [from_wire(value, place) for place, value in enumerate(given)]
        except InputError as error:
            return _said(422, error.detail, place=error.place)
        except (TypeError, KeyError, ValueError) as error:
            return _said(400, f"The request cannot be read: {error!r}.")
        flags = {name: body.get(name) is True for name in ("count", "whole")}
        measured = await _unless_gone(request, server, version, inputs, **flags)
        if isinstance(measured, Response):
            return measured
        said = {
            "rewards": [each.reward for each in measured],
            "stds": [each.std for each in measured],
            "tokens": [each.tokens for each in measured],
        }
        return _json(said)

    return Starlette(
        routes=[Route("/score", score, methods=["POST"]), Route("/health", _health_of(server))],
        lifespan=_lifespan_of(server),
    )


def model_app(server: RewardServer, token: str, name: str) -> Starlette:
    """Return an application that serves one model in every dialect, to whoever has the token if there is one."""
    version = Version(name, ())

    def speaks(read: Callable[[Mapping[str, Any]], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if token and not _is_allowed(request, token):
                return _said(401, "The token is wrong, or there is none.")
            body = await _body(request)
            if isinstance(body, Response):
                return body
            try:
                shaper = _shaper(request.query_params.get("shaping", "none"))
                asked = read(body)
            except DialectError as error:
                return _said(422, error.detail, pointer=error.pointer)
            flags = {"count": asked.counts_tokens, "whole": asked.whole}
            measured = await _unless_gone(request, server, version, asked.inputs, **flags)
            if isinstance(measured, Response):
                return measured
            rewards = [shaper.shape(each.reward, None, ()) for each in measured]
            tokens = [each.tokens for each in measured]
            return _json(asked.reply(Rewarded(rewards, tokens, name)))

        return answer

    async def models(request: Request) -> Response:
        return _json({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "tiebreak"}]})

    routes = [Route("/health", _health_of(server)), Route("/v1/models", models)]
    for dialect, read in DIALECTS.items():
        routes += [Route(f"{prefix}/{dialect}", speaks(read), methods=["POST"]) for prefix in ("", "/v1", "/v2")]
    return Starlette(routes=routes, lifespan=_lifespan_of(server))


def _shaper(name: str) -> Shaper:
    """Return a shaper for a folder on its own. Raises DialectError for one that needs what only Tiebreak knows."""
    try:
        shaper = find_shaper(name)
    except ValueError as error:
        raise DialectError("/shaping", str(error)) from error
    if shaper.needs is not Needs.NOTHING:
        raise DialectError(
            "/shaping", f"{shaper.name} needs {shaper.needs}, which a folder has not: ask Tiebreak, below /rm/."
        )
    return shaper


async def _unless_gone(
    request: Request, server: RewardServer, version: Version, inputs: Sequence[Input], *, count: bool, whole: bool
) -> list[Measured] | Response:
    """Score unless the caller leaves first; return what went wrong as a reply."""
    try:
        scoring = asyncio.ensure_future(server.rewards(version, inputs, count=count, whole=whole))
        gone = asyncio.ensure_future(request.receive())  # the body is read: what comes next is the end
        await asyncio.wait({scoring, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not scoring.done():
            scoring.cancel()
            return Response(status_code=499)
        return scoring.result()
    except Overloaded as error:
        detail = "The reward server has more to do than it takes in; ask again in a moment."
        return _said(503, detail, headers={"Retry-After": str(error.retry_after)})
    except asyncio.CancelledError:
        return _said(503, "The reward server is stopping.", headers={"Retry-After": "2"})
    except PartFailed as failed:
        cause = failed.__cause__
        if isinstance(cause, InputError):
            return _said(422, cause.detail, place=failed.start + cause.place)
        logger.error("Scoring with %s failed", version.folder, exc_info=cause)
        return _said(500, "The model could not be used; the log of the reward server says why.")


async def _body(request: Request) -> Any:
    """Return the JSON object of a request, or the reply that refuses it."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            parts, size = [], 0
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    return _said(413, f"A request has at most {MAX_BODY_BYTES} bytes.")
                parts.append(part)
    except TimeoutError:
        return _said(408, f"The body took longer than {BODY_SECONDS:.0f} seconds to arrive.")
    except ClientDisconnect:
        return Response(status_code=499)
    try:
        body = json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        return _said(400, f"The body is not JSON: {error}.")
    return body if isinstance(body, dict) else _said(400, "The body is not a JSON object.")


def _is_allowed(request: Request, token: str) -> bool:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        key = password_of(key)
    elif scheme.lower() not in {"bearer", "token"}:
        return False
    return hmac.compare_digest(key.strip().encode(), token.encode())


def _health_of(server: RewardServer) -> Callable[[Request], Any]:
    async def health(request: Request) -> Response:
        return _json({"status": "ok", "waiting": server.batcher.waiting, "batches": server.batcher.batches})

    return health


def _lifespan_of(server: RewardServer) -> Any:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(server.batcher.close)

    return lifespan


def _said(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    return _json({"detail": detail, **more}, status, headers)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    try:
        content = orjson.dumps(value)
    except TypeError:  # half a surrogate pair, which came as an escape and goes back as one
        content = json.dumps(value).encode("ascii")
    return Response(content, status, headers, media_type="application/json")
