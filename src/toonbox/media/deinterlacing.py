"""Interlaced frames, made whole."""

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream


class Deinterlacer:
    """Makes frames of two half pictures whole, each at its own time, and leaves others as they are.

    The filter, bwdif, looks at the frames before and after, so that it begins with the first
    interlaced frame; from then on all go through it.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._unit = stream.time_base or Fraction(1)
        self._graph: Graph | None = None

    def whole(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Take a frame; give those that are ready."""
        if self._graph is None:
            if not frame.interlaced_frame:
                yield frame
                return
            self._graph = _graph(self._unit, frame)
        self._graph.vpush(frame)
        yield from self._ready()

    def rest(self) -> Iterator[VideoFrame]:
        """Give what is left after the last frame."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready()
            self._graph = None

    def _ready(self) -> Iterator[VideoFrame]:
        while self._graph is not None:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            _rebase(frame, self._unit)
            yield frame


def _graph(unit: Fraction, frame: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=unit
    )
    graph.link_nodes(
        source,
        graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"),
        graph.add("buffersink"),
    )
    graph.configure()
    return graph


def _rebase(frame: VideoFrame, unit: Fraction) -> None:
    """Count in the film's unit: bwdif counts in halves of it, which never occur here."""
    scale = (frame.time_base or unit) / unit
    if frame.pts is not None:
        frame.pts = round(frame.pts * scale)
    frame.duration = round((frame.duration or 0) * scale)
    frame.time_base = unit
