import threading

import pytest

from bigfoot.runtime.lanes import map_in_lanes


def test_a_lane_that_is_done_does_not_wait_for_a_slow_one():
    """The first item ends only when all the others have: one lane must do them meanwhile."""
    others = threading.Semaphore(0)

    def work(item):
        if item:
            others.release()
            return item
        return -1 if all(others.acquire(timeout=20) for _ in range(9)) else None

    assert list(map_in_lanes(work, range(10), lanes=2)) == [-1, *range(1, 10)]


def test_no_more_is_taken_up_than_a_few_a_lane():
    taken = []
    results = map_in_lanes(abs, (taken.append(item) or item for item in range(1000)), lanes=2)
    assert next(results) == 0 and len(taken) <= 32
    results.close()


def test_a_failure_takes_nothing_up_any_more():
    done = []

    def work(item):
        if not item:
            raise ValueError("no")
        done.append(item)

    with pytest.raises(ValueError):
        list(map_in_lanes(work, range(1000), lanes=2))
    assert len(done) < 40
