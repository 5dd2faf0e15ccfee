"""Parts that other tests reach only in other processes, or through rare failures."""

import asyncio
import errno
import threading
import zipfile
from functools import partial

import pytest
from PIL import UnidentifiedImageError

import toonbox
from serving import files_below, wait_until
from toonbox.convert.job import Job, Need
from toonbox.engine.style import load_style
from toonbox.errors import (
    MissingExtraError,
    OutputError,
    PictureError,
    StyleError,
    TooLargeError,
    UnexpectedError,
    UsageError,
    VideoError,
)
from toonbox.options import OutputOptions, StyleOptions
from toonbox.serve.jobs import FullError, Jobs, _convert_pictures
from toonbox.serve.metrics import Metrics
from toonbox.serve.pictures import Budget
from toonbox.serve.problems import status_of
from toonbox.serve.settings import ServerOptions
from toonbox.serve.uploads import file_name


def because(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError(), 422),
        (PictureError(), 422),
        (VideoError(), 422),
        (OutputError(), 422),
        (because(OutputError(), OSError(errno.ENOSPC, "full")), 507),
        (because(OutputError(), OSError(errno.EACCES, "denied")), 500),
        (because(PictureError(), UnidentifiedImageError()), 415),
        (because(PictureError(), MemoryError()), 503),
        (because(PictureError(), OSError(errno.EIO, "damaged")), 422),
        (TooLargeError(), 413),
        (MissingExtraError(), 415),
        (StyleError(), 500),
        (UnexpectedError(), 500),
    ],
)
def test_statuses(error, status):
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../photo.jpg", "photo.jpg"),
        ("C:\\photos\\photo.jpg", "photo.jpg"),
        ("été 照片.JPG", "été 照片.JPG"),
        ("a\0\n\u202eb.jpg", "ab.jpg"),
        ('<a>:"b"|?*.jpg', "ab.jpg"),
        ("..", ""),
        (".hidden", "hidden"),
        ("", ""),
        ("x" * 99 + ".jpg", "x" * 56 + ".jpg"),
        ("a." + "x" * 99, "a." + "x" * 19),
    ],
)
def test_file_names(given, name):
    assert file_name(given) == name
    assert len(file_name(given).encode()) < 255


@pytest.mark.parametrize(("lasts", "passes"), [(False, False), (True, True)])
def test_what_comes_first_is_drawn_first(lasts, passes):
    """A small picture passes a large one only if that has to wait for a job to end."""
    budget, drawn = Budget(8 << 30, 2), []
    small, large = Need(1 << 30), Need(budget.drawing_limit - (1 << 30))

    def draw():
        with budget.drawing(large, lambda: False) as worth_it:
            drawn.append(worth_it)

    waiting = threading.Thread(target=draw)
    with budget.drawing(small, lambda: False, lasts=lasts):
        waiting.start()
        wait_until(lambda: budget._waiting)
        with budget.drawing(small, iter([False, True]).__next__) as worth_it:
            assert worth_it == passes
        assert drawn == []
    waiting.join()
    assert drawn == [True]


@pytest.fixture
def load(style_folder):
    return partial(load_style, style_folder)


def test_pictures(load, photo, tmp_path):
    jobs = []
    for name, data in [("a.jpg", photo), ("b.jpg", b"text"), ("c.jpg", photo)]:
        (tmp_path / name).write_bytes(data)
        jobs.append(Job(tmp_path / name, tmp_path / "out" / name, name=name))
    told, result = [], tmp_path / "zip" / "all.zip"
    options = StyleOptions(), OutputOptions()
    failures = _convert_pictures(
        jobs, load, options, result, 1 << 20, progress=told.append, stop=lambda: False
    )
    assert failures == ["b.jpg: is text, not a picture"]
    assert [outcome.status for outcome in told] == ["ok", "failed", "ok"]
    assert zipfile.ZipFile(result).namelist() == ["a.jpg", "c.jpg"]
    assert [*(tmp_path / "out").iterdir()] == []


@pytest.mark.parametrize(("pictures", "written"), [(0.9, 0), (1.9, 1), (2.9, 2)])
def test_pictures_without_room(load, photo, tmp_path, pictures, written):
    """Two of them, and while they are packed one more."""
    (tmp_path / "a.jpg").write_bytes(photo)
    jobs = [Job(tmp_path / "a.jpg", tmp_path / "out" / f"{n}.bmp", name=f"{n}") for n in range(2)]
    size = len(toonbox.cartoonize_bytes(photo, style=load(), format="bmp"))
    with pytest.raises(FullError, match=rf"no more disk space.*: {size:,} bytes are needed"):
        _convert_pictures(
            jobs, load, (StyleOptions(), OutputOptions()), tmp_path / "all.zip",
            int(size * pictures), progress=lambda _: None, stop=lambda: False,
        )  # fmt: skip
    assert len(files_below(tmp_path / "out")) == written
    assert not (tmp_path / "all.zip").exists()


def test_the_end_begins_no_waiting_job(style_folder, tmp_path, monkeypatch):
    begun = threading.Semaphore(0)

    def convert(*_):
        begun.release()
        jobs[0].stopped.wait()
        raise PictureError

    async def end():
        served = Jobs(tmp_path, ServerOptions(), Budget(None, 1), Metrics())
        monkeypatch.setattr(served, "_convert", convert)
        jobs.extend(served.open(style_folder, ()) for _ in range(3))
        for job in jobs:
            served.start(job)
        await asyncio.to_thread(begun.acquire)
        await served.close()

    jobs = []
    asyncio.run(end())
    assert [job.state for job in jobs] == ["cancelled"] * 3
    assert not begun.acquire(blocking=False)
    assert not files_below(tmp_path)
