"""Ask many questions: a bounded number at a time, each paid for once, again with growing pauses, within all limits.

Only the thread of the run touches the database (`apps.endpoints.ledger`); the threads of the pool only ask.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

from apps.core.allowances import SPEND, Limit, spend
from apps.endpoints.ledger import Call, EndpointUnusable, Ledger
from apps.endpoints.models import ModelEndpoint
from worker.core.llm.messages import Answer, Backend, CallFailed, Question
from worker.core.llm.reading import Unreadable, repair

logger = logging.getLogger(__name__)
Value = TypeVar("Value")
ATTEMPTS = 5
LONGEST_PAUSE = 60.0
JITTER = 0.2
LOOK_SECONDS = 0.25
"""How often the run looks for what has become due, and whether its job is still its own."""
GATHER_SECONDS = 0.005
GIVE_UP_AFTER = 20
"""When so many questions in a row got no answer, however often they were asked, the model is not there."""


@dataclass(frozen=True)
class Wanted(Generic[Value]):
    """A question, what its answer is read into, and the number under which it comes back."""

    key: int
    question: Question
    read: Callable[[Answer], Value]


@dataclass(frozen=True)
class Found(Generic[Value]):
    """What became of a question: a value with its answer, or a sentence; `calls` counts what was sent just now."""

    key: int
    value: Value | None
    answer: Answer | None
    error: str = ""
    calls: int = 0


@dataclass
class _Open(Generic[Value]):
    wanted: Wanted[Value]
    question: Question
    request_hash: str
    attempt: int = 0
    calls: int = 0
    not_before: float = 0.0
    repairing: bool = False


class Asker:
    """Asks one endpoint for one purpose.

    `holder` is `who:turn`, such as a job and its fencing token: a later turn takes the claims of an earlier one over.
    """

    def __init__(
        self,
        endpoint: ModelEndpoint,
        backend: Backend,
        *,
        purpose: str,
        holder: str,
        job_number: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.endpoint, self.backend = endpoint, backend
        self._ledger = Ledger(endpoint, purpose=purpose, holder=holder, job_number=job_number)
        self._check = check
        self._paused_until = 0.0
        self._failed_in_a_row = 0
        self._running: dict[Future[Call], _Open] = {}

    def ask(self, questions: Iterable[Wanted[Value]]) -> Iterator[Found[Value]]:
        """Yield what became of each question, in the order in which that is known.

        Holds twice as many questions as are asked at a time, however many there are. Raises EndpointUnusable when no
        call can succeed, and whatever `check` raises; answers that came until then are stored.
        """
        source = iter(questions)
        waiting: list[_Open] = []
        pool = ThreadPoolExecutor(self.endpoint.concurrency, thread_name_prefix="ask")
        try:
            while True:
                self._check()
                while len(waiting) + len(self._running) < 2 * self.endpoint.concurrency:
                    if (wanted := next(source, None)) is None:
                        break
                    waiting.append(self._opened(wanted, wanted.question))
                if not waiting and not self._running:
                    return
                yield from self._answered_before(waiting)
                for item in self._claim(waiting):
                    waiting.remove(item)
                    self._running[pool.submit(_ask, self.backend, item)] = item
                yield from self._finish(waiting)
        finally:
            self._leave(pool, waiting)

    def _leave(self, pool: ThreadPoolExecutor, waiting: list[_Open]) -> None:
        """Wait for what is under way, which is paid for anyway, store it, and let go of the rest."""
        pool.shutdown(wait=True, cancel_futures=True)
        self._ledger.store([future.result() for future in self._running if not future.cancelled()])
        self._ledger.release({item.request_hash for item in [*waiting, *self._running.values()]})
        self._running.clear()

    # --- Before it is sent ---

    def _opened(self, wanted: Wanted[Value], question: Question) -> _Open[Value]:
        most = min(question.max_tokens, self.endpoint.max_answer_tokens)
        question = replace(question, max_tokens=most)
        return _Open(wanted, question, question.request_hash(backend=self.endpoint.identity))

    def _answered_before(self, waiting: list[_Open]) -> Iterator[Found]:
        """Yield what is stored already, and take it off the list (one query)."""
        now = time.monotonic()
        due = [item for item in waiting if item.not_before <= now]
        stored = self._ledger.answers({item.request_hash for item in due})
        for item in due:
            if item.request_hash in stored:
                waiting.remove(item)
                yield from self._read(item, stored[item.request_hash], waiting)

    def _claim(self, waiting: list[_Open]) -> list[_Open]:
        """Return those that may be sent now: a thread is free, the limits allow it, and nobody else asks the same."""
        now, free = time.monotonic(), self.endpoint.concurrency - len(self._running)
        if now < self._paused_until:
            return []
        under_way = {item.request_hash for item in self._running.values()}
        chosen: dict[str, _Open] = {}
        for item in waiting:
            fresh = item.request_hash not in under_way and item.request_hash not in chosen
            if len(chosen) < free and item.not_before <= now and fresh:
                chosen[item.request_hash] = item
        allowed = [item for item in chosen.values() if self._within_rate(item)] if chosen else []
        claimed = self._ledger.hold({item.request_hash: item.question for item in allowed})
        for item in allowed:
            if item.request_hash not in claimed:
                item.not_before = now + LOOK_SECONDS  # somebody else asks it, or the money is reserved
        return [item for item in allowed if item.request_hash in claimed]

    def _within_rate(self, item: _Open) -> bool:
        """Take a request and its tokens out of the minute's allowance, which all workers share; or put it off."""
        now, key = time.monotonic(), f"endpoint:{self.endpoint.pk}"
        if now < self._paused_until:
            return False
        left = spend(key, Limit("requests", self.endpoint.requests_per_minute, 60.0))
        if left is not None and left.refused:
            self._paused_until = now + left.retry_after
            return False
        most = self.endpoint.tokens_per_minute
        # Servers count an answer as long as it may be; one that is more than a whole minute takes all of it.
        tokens = min(most, _about_tokens(item.question) + item.question.max_tokens)
        if most and not _spend_tokens(f"{key}:tokens", tokens, most):
            self._paused_until = now + max(1.0, 60.0 * tokens / most / 4)
            return False
        return True

    # --- After it is answered ---

    def _finish(self, waiting: list[_Open]) -> Iterator[Found]:
        """Wait a moment for answers, store those that came together, and say what became of them."""
        if not self._running:
            time.sleep(self._idle_seconds(waiting))
            return
        wait(self._running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        done, _others = wait(self._running, timeout=GATHER_SECONDS)
        if not done:
            return
        came = [(self._running.pop(future), future.result()) for future in done]
        self._ledger.store([call for _item, call in came])
        for item, call in came:
            item.calls += 1
            if isinstance(call.result, Answer):
                self._failed_in_a_row = 0
                yield from self._read(item, call.result, waiting)
            else:
                yield from self._failed(item, call.result, waiting)

    def _idle_seconds(self, waiting: list[_Open]) -> float:
        now = time.monotonic()
        due = max(min(item.not_before for item in waiting), self._paused_until) if waiting else now
        return min(max(due - now, 0.001), LOOK_SECONDS)

    def _read(self, item: _Open, answer: Answer, waiting: list[_Open]) -> Iterator[Found]:
        """Yield the value that an answer is read into; one that is not what was wanted has one round of repair."""
        try:
            yield Found(item.wanted.key, item.wanted.read(answer), answer, calls=item.calls)
        except Unreadable as error:
            if item.repairing:
                said = _("The answer could not be read, nor could its repair: %(problem)s") % {"problem": error}
                yield Found(item.wanted.key, None, answer, said, item.calls)
                return
            again = self._opened(item.wanted, repair(item.question, answer, str(error)))
            again.repairing, again.calls = True, item.calls
            waiting.append(again)

    def _failed(self, item: _Open, error: CallFailed, waiting: list[_Open]) -> Iterator[Found]:
        """Put a call off that may succeed later; say so when it will not."""
        if error.unusable:
            raise EndpointUnusable(f"{self.endpoint.name}: {error.detail}")
        item.attempt += 1
        if error.again and item.attempt < ATTEMPTS:
            pause = min(settings.MODEL_RETRY_SECONDS * 2 ** (item.attempt - 1), LONGEST_PAUSE)
            pause *= 1 + JITTER * random.random()  # noqa: S311  (not a secret)
            now = time.monotonic()
            if error.retry_after is not None:
                pause = max(pause, error.retry_after)
                self._paused_until = max(self._paused_until, now + error.retry_after)
            item.not_before = now + pause
            waiting.append(item)
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= GIVE_UP_AFTER:
            said = _("%(name)s: the last %(count)s questions got no answer. The last reason: %(reason)s")
            values = {"name": self.endpoint.name, "count": GIVE_UP_AFTER, "reason": error.detail}
            raise EndpointUnusable(said % values) from error
        yield Found(item.wanted.key, None, None, error.detail, item.calls)


def _ask(backend: Backend, item: _Open) -> Call:
    """Ask in a thread of the pool; what nobody expected is a failed call, so that it ends nothing."""
    began = time.monotonic()
    try:
        result: Answer | CallFailed = backend.ask(item.question)
    except CallFailed as error:
        result = error
    except Exception as error:
        logger.exception("A call to a language model failed.")
        result = CallFailed(f"Unexpected {type(error).__name__}; the worker's log has the details.")
    return Call(item.request_hash, item.question, item.attempt + 1, result, time.monotonic() - began)


def _about_tokens(question: Question) -> int:
    return sum(len(text) for _role, text in question.messages) // 4


def _spend_tokens(key: str, tokens: int, per_minute: int) -> bool:
    values: dict[str, Any] = {"key": key, "cost": 60.0 * tokens / per_minute, "period": 60.0}
    with connection.cursor() as cursor:
        cursor.execute(SPEND.format(key="%(key)s", source=""), values)
        return cursor.fetchone() is not None
