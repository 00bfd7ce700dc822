"""One thread scores for many requests: together, in turns, and each on its own risk."""

import threading
from concurrent.futures import CancelledError

import pytest

from tests.e2e.running import wait_until
from worker.core.batching import Batcher, Limits, Overloaded, PartFailed


class Work:
    """Doubles numbers, one batch after another as the test lets it; 13 cannot be doubled."""

    def __init__(self, *, held=False):
        self.batches, self.open = [], threading.Event()
        self.begun = threading.Semaphore(0)
        if not held:
            self.open.set()

    def __call__(self, group, items):
        self.batches.append((group, list(items)))
        self.begun.release()
        assert self.open.wait(5)
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


@pytest.fixture
def batching():
    """Return a function that makes a batcher whose first batch, [0], is in work until `work.open`."""
    made = []

    def make(**limits):
        work = Work(held=True)
        batcher = Batcher(work, Limits(**limits))
        made.append((batcher, work))
        first = batcher.submit("a", [0], [1])
        assert work.begun.acquire(timeout=5)
        return batcher, work, first

    yield make
    for batcher, work in made:
        work.open.set()
        batcher.close()


def test_what_waits_is_scored_together_by_group(batching):
    batcher, work, first = batching()
    asked = [batcher.submit(group, [number, number], [1, 1]) for number, group in enumerate("abab", start=1)]
    work.open.set()
    assert first.result(5) == [0]
    assert [each.result(5) for each in asked] == [[2, 2], [4, 4], [6, 6], [8, 8]]
    assert work.batches[1:] == [("a", [1, 1, 3, 3]), ("b", [2, 2, 4, 4])]


def test_a_small_request_does_not_wait_for_all_of_a_large_one(batching):
    batcher, work, _first = batching(batch=4)
    large, small = batcher.submit("a", list(range(20, 30)), [1] * 10), batcher.submit("a", [1], [1])
    work.open.set()
    assert small.result(5) == [2]
    assert large.result(5) == [2 * number for number in range(20, 30)]
    assert [items for _, items in work.batches[1:]] == [[20, 21, 22, 23], [1, 24, 25, 26], [27, 28, 29]]


def test_one_that_fails_fails_alone(batching):
    batcher, work, _first = batching()
    good, bad = batcher.submit("a", [1], [1]), batcher.submit("a", [2, 13], [1, 1])
    work.open.set()
    assert good.result(5) == [2]
    with pytest.raises(PartFailed) as failed:
        bad.result(5)
    assert str(failed.value.__cause__) == "unlucky"
    assert batcher.submit("a", [3], [1]).result(5) == [6]


def test_the_rest_of_a_request_that_failed_is_not_worked_on(batching):
    batcher, work, _first = batching(batch=1)
    bad = batcher.submit("a", [1, 13, 3, 4], [1] * 4)
    work.open.set()
    with pytest.raises(PartFailed) as failed:
        bad.result(5)
    assert failed.value.start == 1
    assert batcher.submit("a", [5], [1]).result(5) == [10]
    assert [items for _, items in work.batches[1:]] == [[1], [13], [5]]


def test_who_leaves_is_taken_out_of_the_line(batching):
    batcher, work, _first = batching()
    left, stayed = batcher.submit("a", [1], [7]), batcher.submit("a", [2], [1])
    assert left.cancel()
    work.open.set()
    assert stayed.result(5) == [4]
    assert work.batches[1:] == [("a", [2])]
    assert batcher.waiting == 0


def test_more_than_may_wait_is_refused_with_a_time(batching):
    batcher, work, _first = batching(waiting=10)
    batcher.submit("a", [1], [11])  # larger than the limit, but nothing waits
    with pytest.raises(Overloaded) as refused:
        batcher.submit("a", [2], [1])
    assert refused.value.retry_after >= 1
    work.open.set()
    wait_until(lambda: batcher.waiting == 0, 10, "nothing waits")
    assert batcher.submit("a", [2], [1]).result(5) == [4]


def test_closing_ends_the_thread_and_cancels_what_waits(batching):
    batcher, work, first = batching()
    waiting = batcher.submit("a", [1], [1])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(5)
    work.open.set()
    closing.join(5)
    assert not closing.is_alive()
    assert first.result(5) == [0]
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", [1], [1])


def test_nothing_asked_is_nothing_answered():
    batcher = Batcher(Work(), Limits())
    assert batcher.submit("a", [], []).result(0) == []
    batcher.close()
