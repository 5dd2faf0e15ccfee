"""Video files being written: FFmpeg's errors as ours, whenever they come."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet

from toonbox.errors import OutputError


@contextmanager
def output(path: Path, muxer: str, options: dict[str, str]) -> Iterator[OutputContainer]:
    """Open a video file for writing; it is complete when the block has ended without an error.

    Raises:
        OutputError: it cannot be written.
    """
    with _telling(path):
        container = av.open(f"file:{path}", "w", format=muxer, container_options=options)
    try:
        yield container
    except BaseException:
        with suppress(av.FFmpegError):
            container.close()
        raise
    with _telling(path):
        container.close()


def put(container: OutputContainer, packets: "Iterable[Packet[Any]]") -> None:
    """Write packets, which may just be being encoded.

    Raises:
        OutputError: they cannot be written.
    """
    with _telling(Path(container.name.removeprefix("file:"))):
        for packet in packets:
            container.mux(packet)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
