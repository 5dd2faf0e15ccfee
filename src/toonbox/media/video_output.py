"""Video files being written: FFmpeg's errors as those of other files, whenever they come."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet


@contextmanager
def output(path: Path, muxer: str, options: dict[str, str]) -> Iterator[OutputContainer]:
    """Open a video file for writing; it is complete when the block has ended without an error.

    Raises:
        OSError: it cannot be written.
    """
    with _telling():
        container = av.open(f"file:{path}", "w", format=muxer, container_options=options)
    try:
        yield container
    except BaseException:
        with suppress(av.FFmpegError):
            container.close()
        raise
    with _telling():
        container.close()


def put(container: OutputContainer, packets: "Iterable[Packet[Any]]") -> None:
    """Write packets, which may just be being encoded.

    Raises:
        OSError: they cannot be written.
    """
    with _telling():
        for packet in packets:
            container.mux(packet)


@contextmanager
def _telling() -> Iterator[None]:
    """Name no file: what is written may have a name for the time being only."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
