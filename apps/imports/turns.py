"""Transactions that overlap: one commits in a thread while the next batch is decided and copied on another connection.

Half of what PostgreSQL does for a batch it does at the commit, when it checks the foreign keys. The next batch begins
meanwhile, without the lock of the project that the committing one still holds. It takes that lock at its own end, and
looks at the project's turn there: if somebody else stored or deleted something since it began, it is given up and done
again, with the lock from the beginning. It waits for nobody for long, so whoever has the lock never waits for it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import IntegrityError, connection, connections, transaction
from django.db.models import F
from psycopg.errors import LockNotAvailable

from apps.imports.models import Turn
from apps.projects.models import Project

DEFAULT = "default"
PATIENCE_MS = 500
"""Shorter than the time after which PostgreSQL looks for a deadlock, which might end the other transaction."""


class NeedsTurn(Exception):
    """What was begun without the lock has to be done again with it."""


def needs_turn(error: Exception) -> bool:
    """Say whether an error is what others do to one without the lock: they came between, have its rows or a lock."""
    return isinstance(error, NeedsTurn | IntegrityError) or isinstance(error.__cause__, LockNotAvailable)


def take_turn(project_id: int) -> int:
    """Lock the project, so that whoever stores or deletes pairs comes one after the other; return the turn's number."""
    Project.objects.select_for_update(no_key=True).get(pk=project_id)
    if not Turn.objects.filter(project=project_id).update(number=F("number") + 1):
        Turn.objects.create(project_id=project_id, number=1)
    return turn_of(project_id)


def turn_of(project_id: int) -> int:
    """Return the number of the project's last turn whose transaction is committed, or is ours."""
    return Turn.objects.filter(project=project_id).values_list("number", flat=True).first() or 0


class Transactions:
    """The transactions of one import, one after the other; `close` it.

    `before_commit` is called in the thread of an overlapping one, with its connection.
    """

    def __init__(self, project_id: int, *, before_commit: Callable[[], None] = lambda: None) -> None:
        self.can_overlap = not connection.in_atomic_block
        """In a transaction of the caller nothing is committed before that one is."""
        self._project_id, self._before_commit = project_id, before_commit
        self._committing: Future[None] | None = None
        self.has_turn = False
        """The open transaction has the project's lock."""
        self.alone = True
        """Nobody else has stored or deleted anything in this project since the first turn."""
        self._last = 0
        self._begun_at: int | None = None
        self._connections: list[Any] = []
        """Once there is something to overlap: the one in use, and the other one."""
        self._first = connections[DEFAULT]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")

    @property
    def is_committing(self) -> bool:
        """Say whether the transaction before may still be under way."""
        return self._committing is not None

    @contextmanager
    def open(self, *, overlapping: bool) -> Iterator[None]:
        """Open a transaction; an `overlapping` one begins before the last is committed, and is committed in the thread.

        The caller calls `take_turn` in it: at the end of an overlapping one, else before it looks at anything.
        """
        self.has_turn = False
        if not overlapping:
            self.wait()
        with ExitStack() as stack:
            stack.enter_context(transaction.atomic())
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL synchronous_commit = off")  # what is lost is read again, with its position
                if overlapping:
                    cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE_MS}")
            self._begun_at = turn_of(self._project_id) if overlapping else None
            yield
            if overlapping:
                self._commit_in_thread(stack.pop_all())

    def take_turn(self) -> None:
        """Take the project's turn once the transaction before is committed; raise NeedsTurn if another came between."""
        self.wait()
        number = take_turn(self._project_id)
        is_next = number == max(self._begun_at or 0, self._last) + 1
        if not is_next and (self._last or self._begun_at is not None):
            self.alone = False
        if self._begun_at is not None:
            if not is_next:
                raise NeedsTurn
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = 0")
        self.has_turn, self._last = True, number

    def wait(self) -> None:
        """Wait until the transaction before is committed; raise what went wrong with it, now and from then on."""
        if self._committing is not None:
            self._committing.result()
            self._committing = None

    def close(self) -> None:
        """Wait for what is under way, however it ends, and close the second connection."""
        self._thread.shutdown()
        connections[DEFAULT] = self._first
        for each in self._connections:
            each.dec_thread_sharing()
            if each is not self._first:
                each.close()

    def _commit_in_thread(self, opened: ExitStack) -> None:
        if not self._connections:
            self._connections = [self._first, self._first.copy()]
            for each in self._connections:
                each.inc_thread_sharing()
        used, other = self._connections

        def commit() -> None:
            connections[DEFAULT] = used  # a thread has its own
            with opened:
                self._before_commit()

        self._committing = self._thread.submit(commit)
        connections[DEFAULT] = other
        self._connections = [other, used]
