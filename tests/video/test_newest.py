import threading

import pytest

from toonbox.video.camera import Newest


def test_only_the_newest_is_kept():
    gate, done = threading.Event(), threading.Event()

    def items():
        yield 1
        yield 2
        yield 3
        done.set()
        gate.wait(3600)
        yield 4

    newest = Newest(items())
    assert done.wait(3600)
    assert newest.take(0) == 3
    assert newest.take(0) is None
    assert not newest.ended
    gate.set()
    assert newest.take(10) == 4
    assert newest.take(10) is None
    assert newest.ended
    newest.close()


def test_an_error_comes_after_what_was_there():
    def items():
        yield 1
        raise ValueError("unplugged")

    newest = Newest(items())
    newest.close()  # waits until it has ended
    assert newest.take(0) == 1
    assert not newest.ended
    with pytest.raises(ValueError, match="unplugged"):
        newest.take(0)
    assert newest.ended


def test_closing_ends_the_thread_and_closes_the_items():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    newest = Newest(items())
    assert newest.take(10) == 0
    newest.close()
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name == "toonbox-newest"]


def test_items_that_are_no_generator():
    newest = Newest(iter([1, 2]))
    newest.close()
    assert newest.take(0) in (1, 2)
