"""Read files within a limit of size, and write them so that nobody ever sees half of one."""

import contextlib
import errno
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toonbox.errors import OutputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows: there leftovers stay
    fcntl = None  # type: ignore[assignment]

_BEGIN = ".toonbox-"
_temporary: set[Path] = set()  # what this process has not finished

# False where the system cannot tell, as of a name that is too long; Path's methods raise OSError.
exists, is_dir, is_file = os.path.exists, os.path.isdir, os.path.isfile


def read_within(file: Path, limit: int) -> bytes:
    """Read an untrusted file; raise OSError for a pipe, a device, or more than `limit` bytes."""
    if file.exists() and not file.is_dir() and not file.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    with file.open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than the {limit:,} bytes that such a file may have")
    return data


def refuse_existing(target: Path) -> None:
    """Raise OutputError if the target exists."""
    if exists(target):
        raise OutputError(f"{target} exists already; --force overwrites it")


def write_file(target: Path, data: bytes) -> None:
    """Write a file whole or not at all; folders and errors as in `writing`."""
    with writing(target) as temporary:
        temporary.write_bytes(data)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it exists; raise OutputError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from error


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Yield a temporary name that becomes `target` if the block succeeds; make missing folders.

    Raises:
        OutputError: it cannot be written, or exists and is not a file, such as /dev/null.
    """
    if exists(target) and not target.is_file():
        raise OutputError(f"{target} cannot be written: it exists and is not a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error


@contextmanager
def ffmpeg_errors() -> Iterator[None]:
    """Raise an error of FFmpeg as an OSError, which `writing` takes for the target's.

    It has no file's name: that may be a temporary one.
    """
    import av  # has been loaded by whoever needs this

    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary name beside `target`; rename it to `target` if the block succeeds.

    The name keeps the target's suffix, so that writers which look at it choose the right format.
    The temporary file is removed if the block raises, Ctrl-C included. One that a killed process
    has left is removed by the next process that writes into the folder.
    """
    with _beside(target, lambda file: file.open("xb").close()) as temporary:
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written)  # else a power cut after the renaming could leave it empty
        temporary.replace(target)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`, which is removed as the temporary file of `replacing`."""
    with _beside(target, lambda folder: folder.mkdir(0o700)) as temporary:
        yield temporary


def remove_temporaries() -> None:
    """Remove what `replacing` and `folder_beside` have given, because the process ends at once."""
    for path in list(_temporary):
        _remove(path)


@contextmanager
def _beside(target: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """Make a file or folder beside `target`, locked, and remove what is left of it in the end."""
    _remove_leftovers(target.absolute().parent)
    with contextlib.ExitStack() as stack:
        while True:
            # Not made of the target's name, which may be as long as names can be.
            name = f"{_BEGIN}{os.urandom(8).hex()}.part{target.suffix[:20]}"
            temporary = target.with_name(name)
            _temporary.add(temporary)
            stack.callback(_temporary.discard, temporary)
            stack.callback(_remove, temporary)
            make(temporary)
            if _lock(temporary, stack):
                break
        yield temporary


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _lock(path: Path, stack: contextlib.ExitStack) -> bool:
    """Hold a lock that ends with this process, however it ends; tell whether `path` is still there.

    Another process, which has seen it unlocked, may just have removed it as a leftover.
    """
    if not fcntl:
        return True
    with contextlib.suppress(OSError):  # not every file system has locks
        descriptor = os.open(path, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return path.exists()


@functools.lru_cache(maxsize=10_000)
def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that nobody has locked; once for each folder."""
    if not fcntl:
        return
    with contextlib.suppress(OSError):
        for leftover in folder.glob(f"{_BEGIN}*.part*"):
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                descriptor = os.open(leftover, os.O_RDONLY | os.O_NONBLOCK)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(leftover)
