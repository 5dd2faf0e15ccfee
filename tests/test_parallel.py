import threading

import pytest

from toonbox import parallel
from toonbox.parallel import available_processors, in_time, ordered_parallel_map, prefetch


def test_ahead_gives_all_in_order():
    assert list(prefetch(iter(range(50)), 3)) == list(range(50))
    assert list(prefetch(iter(()), 3)) == []


def test_ahead_works_in_another_thread_and_not_too_far():
    made, threads = [], set()

    def items():
        for index in range(20):
            made.append(index)
            threads.add(threading.current_thread())
            yield index

    most = 0
    for index in prefetch(items(), 4):
        most = max(most, len(made) - index)
    assert threading.current_thread() not in threads
    assert most <= 5


def test_ahead_raises_in_its_turn():
    def items():
        yield 1
        yield 2
        raise ValueError("third")

    given = prefetch(items(), 5)
    assert [next(given), next(given)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(given)


def test_ahead_lets_go_of_what_it_reads():
    closed = []

    def items():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    given = prefetch(items(), 2)
    next(given)
    given.close()
    assert closed == [True]


def test_at_a_time_keeps_the_order():
    gate = threading.Event()

    def slow_first(item):
        if item == 0:
            assert gate.wait(3600)  # until another has come further
        if item == 1:
            gate.set()
        return item * 2

    assert list(ordered_parallel_map(range(20), slow_first, 3)) == list(range(0, 40, 2))


def test_at_a_time_takes_no_more_than_it_needs():
    taken = []

    def items():
        for index in range(20):
            taken.append(index)
            yield index

    for index in ordered_parallel_map(items(), lambda item: item, 2):
        assert len(taken) <= index + 4


def test_at_a_time_raises_in_its_turn():
    def fail(item):
        if item == 2:
            raise ValueError(item)
        return item

    given = ordered_parallel_map(range(5), fail, 2)
    assert [next(given), next(given)] == [0, 1]
    with pytest.raises(ValueError, match="2"):
        next(given)


def test_at_a_time_begins_nothing_once_stopped():
    begun = []
    assert list(ordered_parallel_map(range(9), begun.append, 1, stop=lambda: len(begun) > 2)) == []
    assert begun == [0, 1, 2]


def test_in_time():
    assert in_time(lambda: 3, 60) == 3
    with pytest.raises(ZeroDivisionError):
        in_time(lambda: 1 // 0, 60)
    never = threading.Event()
    with pytest.raises(TimeoutError):
        in_time(never.wait, 1)
    never.set()


def test_two_threads_of_one_core_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 5}, raising=False)
    monkeypatch.setattr(parallel, "_siblings", lambda p: f"{p % 4},{p % 4 + 4}")
    assert available_processors() == 4
    monkeypatch.undo()
    assert parallel._siblings(10**6) == "1000000"


def test_there_is_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_processors() >= 1
    monkeypatch.delattr(parallel.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: None)
    assert available_processors() == 1
