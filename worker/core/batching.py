"""Batch the work of many requests on one thread, which owns the models.

While a batch runs, requests wait; the next batch takes from all that wait for the same model, oldest first, up to a
budget. What is left of a large request goes to the end of the line, so a small one never waits for all of it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SMOOTHING = 0.3
LONGEST_RETRY = 60


class Overloaded(Exception):
    """More work waits than is taken in; `retry_after` says in how many seconds it is worth another try."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too much work is waiting.")
        self.retry_after = retry_after


class PartFailed(Exception):
    """The work on a request failed; `start` is the number of its first item that was worked on, the cause says why."""

    def __init__(self, start: int) -> None:
        super().__init__("The work failed.")
        self.start = start


@dataclass(frozen=True)
class Limits:
    """How much goes into one batch, how much may wait (both in about tokens), and how long a batch waits for company.

    A budget of 0 scores every item by itself.
    """

    batch: int = 16_384
    waiting: int = 1_000_000
    window: float = 0.003


@dataclass(eq=False)
class _Request(Generic[Item, Result]):
    group: Hashable
    items: Sequence[Item]
    sizes: Sequence[int]
    future: "Future[list[Result]]"
    taken: int = 0
    done: int = 0
    results: list[Result | None] = field(default_factory=list)

    @property
    def size_left(self) -> int:
        return sum(self.sizes[self.taken :])


@dataclass(frozen=True)
class _Part(Generic[Item, Result]):
    """The items of one request that are in a batch."""

    request: _Request[Item, Result]
    start: int
    end: int

    @property
    def items(self) -> Sequence[Item]:
        return self.request.items[self.start : self.end]


class Batcher(Generic[Item, Result]):
    """Carries out `work(group, items)` on a thread of its own, many requests at a time.

    `work` returns one result per item; what it raises arrives as the cause of a PartFailed. When a batch of several
    requests fails, each is tried alone, so that one that cannot be done fails by itself.
    """

    def __init__(self, work: Callable[[Hashable, Sequence[Item]], list[Result]], limits: Limits) -> None:
        self._work, self._limits = work, limits
        self._waiting: deque[_Request[Item, Result]] = deque()
        self._size = 0
        self._rate = 0.0
        self._had_company = False
        self._closed = False
        self._changed = threading.Condition()
        self.batches = 0
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._thread.start()

    def submit(self, group: Hashable, items: Sequence[Item], sizes: Sequence[int]) -> "Future[list[Result]]":
        """Put a request in line; its results come in the order of its items. Raises Overloaded.

        Cancelling the future takes it out. However large a request is, it is taken in when nothing waits.
        """
        future: Future[list[Result]] = Future()
        request: _Request[Item, Result] = _Request(group, items, sizes, future, results=[None] * len(items))
        if not items:
            future.set_result([])
            return future
        size = sum(sizes)
        with self._changed:
            if self._closed:
                raise RuntimeError("The batcher is closed.")
            self._forget_cancelled()
            if self._size and self._size + size > self._limits.waiting:
                raise Overloaded(self._retry_after())
            self._waiting.append(request)
            self._size += size
            self._changed.notify()
        return future

    @property
    def waiting(self) -> int:
        """Return about how many tokens wait."""
        with self._changed:
            self._forget_cancelled()
            return self._size

    def close(self) -> None:
        """Finish the batch that runs, cancel what waits, and end the thread."""
        with self._changed:
            self._closed = True
            for request in self._waiting:
                request.future.cancel()
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                if self._had_company and self._size < self._limits.batch:
                    self._wait_for_company()
                parts = self._take()
            if parts:
                self._had_company = len(parts) > 1
                self._carry_out(parts)

    def _wait_for_company(self) -> None:
        """Let others come in for a moment; only where the last batch had several requests, else it is time lost."""
        end = time.monotonic() + self._limits.window
        while self._size < self._limits.batch and (left := end - time.monotonic()) > 0:
            self._changed.wait(left)

    def _take(self) -> list[_Part[Item, Result]]:
        """Take the next batch: at least one item, then as many of the same group as the budget has room for."""
        self._forget_cancelled()
        if not self._waiting:
            return []
        group, room = self._waiting[0].group, self._limits.batch
        parts: list[_Part[Item, Result]] = []
        kept: deque[_Request[Item, Result]] = deque()
        unfinished: deque[_Request[Item, Result]] = deque()
        for request in self._waiting:
            if request.group != group or (parts and room <= 0):
                kept.append(request)
                continue
            start = request.taken
            while request.taken < len(request.items) and (room > 0 or request.taken == start):
                size = request.sizes[request.taken]
                room -= size
                self._size -= size
                request.taken += 1
            parts.append(_Part(request, start, request.taken))
            if request.taken < len(request.items):
                unfinished.append(request)
        self._waiting = kept + unfinished
        return parts

    def _carry_out(self, parts: list[_Part[Item, Result]]) -> None:
        began = time.monotonic()
        try:
            results = self._work(parts[0].request.group, [item for part in parts for item in part.items])
        except Exception as error:  # noqa: BLE001  (it becomes the answer of the request)
            if len(parts) > 1:
                for part in parts:
                    self._carry_out([part])
                return
            failed = PartFailed(parts[0].start)
            failed.__cause__ = error
            self._end(parts[0].request, failed)
            return
        self.batches += 1
        size = sum(sum(part.request.sizes[part.start : part.end]) for part in parts)
        rate = size / max(time.monotonic() - began, 1e-6)
        self._rate = rate if not self._rate else (1 - SMOOTHING) * self._rate + SMOOTHING * rate
        for part in parts:
            count = part.end - part.start
            part.request.results[part.start : part.end] = results[:count]
            results = results[count:]
            part.request.done += count
            if part.request.done == len(part.request.items):
                self._end(part.request, None)

    def _end(self, request: _Request[Item, Result], error: Exception | None) -> None:
        with self._changed:  # what is left of a request that failed is not worth the work
            if request in self._waiting:
                self._waiting.remove(request)
                self._size -= request.size_left
        if not request.future.set_running_or_notify_cancel():
            return
        if error is None:
            request.future.set_result([result for result in request.results if result is not None])
        else:
            request.future.set_exception(error)

    def _forget_cancelled(self) -> None:
        for request in [request for request in self._waiting if request.future.cancelled()]:
            self._waiting.remove(request)
            self._size -= request.size_left

    def _retry_after(self) -> int:
        return min(LONGEST_RETRY, max(1, round(self._size / self._rate))) if self._rate else 1
