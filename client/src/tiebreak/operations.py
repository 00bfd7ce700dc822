"""What one can ask of a Tiebreak, each as an operation (`tiebreak.exchange`) that both clients carry out."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tiebreak import results
from tiebreak.errors import ApiError, JobFailed, TimedOut, UnexpectedReply
from tiebreak.exchange import Operation, Pause, Request, Result, Retries, call, segment
from tiebreak.results import Job, Raw, Scores, Started, decoded

SCORED_AT_ONCE = 256
Report = Callable[[int, int, str], object]
"""Called with what is done, the total (0 if unknown) and a message."""


def get(path: str, read: Callable[[Raw], Result], retries: Retries) -> Operation[Result]:
    """Read one object."""
    return decoded(read, (yield from call(Request("GET", path), retries)).json)


def post(path: str, body: Any, read: Callable[[Raw], Result], retries: Retries) -> Operation[Result]:
    """Make or do something and read what comes of it."""
    return decoded(read, (yield from call(Request("POST", path, body=body), retries)).json)


def start(path: str, body: Any, retries: Retries) -> Operation[Started]:
    """Start long work."""
    return (yield from post(path, body, results.started, retries))


def wait(job_id: str, retries: Retries, *, timeout: float | None, report: Report | None) -> Operation[Job]:
    """Ask for a job until it has ended; raise JobFailed unless it succeeded, and TimedOut after `timeout` seconds."""
    end, pause = time.monotonic() + (timeout or 0), 0.25
    while True:
        now = yield from get(f"jobs/{segment(job_id)}/", results.job, retries)
        if report:
            report(now.progress.done, now.progress.total, now.progress.message)
        if now.state == "succeeded":
            return now
        if now.finished:
            raise JobFailed(now)
        left = end - time.monotonic() if timeout is not None else pause
        if left <= 0:
            raise TimedOut(f"Job {job_id} is still {now.state} after {timeout:g} seconds; it goes on.")
        yield Pause(min(pause, left))
        pause = min(pause * 1.3, 5.0)


def score(
    model: str,
    items: Iterable[Mapping[str, Any]],
    retries: Retries,
    *,
    shaping: str,
    report: Report | None,
    total: int = 0,
) -> Operation[Scores]:
    """Score items in requests of at most 256; return the rewards in their order."""
    rewards: list[float] = []
    said: Scores | None = None
    for batch in _batches(items):
        path = f"reward-models/{segment(model)}/score/"
        try:
            said = yield from post(path, {"items": batch, "shaping": shaping}, results.scores, retries)
        except ApiError as error:
            raise error.with_items_from(len(rewards)) from error
        if len(said.rewards) != len(batch):
            detail = f"The server gave {len(said.rewards)} rewards for {len(batch)} items."
            raise UnexpectedReply(detail)
        rewards += said.rewards
        if report:
            report(len(rewards), total, "")
    return Scores(tuple(rewards), said.model if said else model, said.shaping if said else shaping)


def _batches(items: Iterable[Mapping[str, Any]]) -> Iterable[Sequence[Mapping[str, Any]]]:
    """Group items so that neither their number nor their size is too much for one request."""
    batch: list[Mapping[str, Any]] = []
    size = 0
    for item in items:
        length = len(json.dumps(item))
        if batch and (len(batch) == SCORED_AT_ONCE or size + length > 8 << 20):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch
