"""Files read within bounds, and written so that nobody ever sees half of one."""

import contextlib
import errno
import functools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows: there leftovers stay
    fcntl = None  # type: ignore[assignment]

_BEGIN = ".toonbox-"


def read_within(file: Path, limit: int) -> bytes:
    """Read a file that comes from anybody.

    Raises:
        OSError: it cannot be read, is a pipe or a device, or has more than `limit` bytes.
    """
    if file.exists() and not file.is_dir() and not file.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    with file.open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than the {limit:,} bytes that such a file may have")
    return data


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary name beside `target`; rename it to `target` if the block succeeds.

    The name keeps the target's suffix, so that writers which look at it choose the right format.
    The temporary file is removed if the block raises, Ctrl-C included. One that a killed process
    has left is removed by the next process that writes into the folder.
    """
    _remove_leftovers(target.absolute().parent)
    # Not made of the target's name, which may be as long as names can be.
    temporary = target.with_name(f"{_BEGIN}{secrets.token_hex(8)}.part{target.suffix[:20]}")
    try:
        with _locked(temporary):
            yield temporary
            _flush(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Make a file, and hold a lock on it that ends with this process, however it ends."""
    with file.open("xb") as made:
        if fcntl:
            with contextlib.suppress(OSError):  # not every file system has locks
                fcntl.flock(made, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
            return
    yield


def _flush(file: Path) -> None:
    """Wait until the disk has it: else a power cut after the renaming could leave it empty."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.lru_cache(maxsize=10_000)
def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files that nobody has locked; once for each folder."""
    if not fcntl:
        return
    with contextlib.suppress(OSError):
        for leftover in folder.glob(f"{_BEGIN}*.part*"):
            with contextlib.suppress(OSError), leftover.open("rb") as left:
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
