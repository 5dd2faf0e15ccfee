"""One picture on its way to its cartoon: header, pixels, cartoon, file."""

import logging
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from toonbox.atomic import write_file, writing
from toonbox.convert.memory import Memory, Need
from toonbox.engine.style import Style
from toonbox.errors import OutputError, TooLargeError
from toonbox.images.animation import Animation, encode_animation, read_animation
from toonbox.images.encode import encode, encode_strips
from toonbox.images.formats import (
    ANIMATED,
    SUFFIXES,
    becomes,
    check_lossless,
    format_named,
    writable_format,
)
from toonbox.images.picture import Picture, decode, open_stream, read_header
from toonbox.images.streaming import FORMATS as STREAMED
from toonbox.images.streaming import open_huge
from toonbox.options import OutputOptions, StyleOptions
from toonbox.parallel import failing_alone
from toonbox.pixels import PhotoArray

# Called after each frame of an animation: its name, frames done, all frames.
OnFrame = Callable[[str, int, int], None]

_logger = logging.getLogger(__name__)


def ignore_frames(name: str, done: int, total: int) -> None:
    """Do nothing after a frame."""


@dataclass(frozen=True)
class Job:
    """What to convert, and where to.

    Attributes:
        source: a file.
        target: a file, whose suffix names the format; None returns the bytes of the cartoon.
        on_existing: what to do if the target exists.
        data: what is in the source, if that is no file here.
        name: of the source in messages, if that is not its path.
    """

    source: Path
    target: Path | None = None
    on_existing: Literal["refuse", "skip", "overwrite"] = "refuse"
    data: bytes | None = None
    name: str = ""

    @property
    def shown(self) -> str:
        """Return what messages call the source."""
        return self.name or str(self.source)

    @property
    def is_pipe(self) -> bool:
        """Tell whether the source can be read only once."""
        try:
            return self.data is None and self.source.is_fifo()
        except OSError:  # reading it will say what is wrong
            return False


@dataclass(frozen=True)
class Converted:
    """A finished job.

    Attributes:
        size: width and height in pixels.
        data: the cartoon's bytes, if it has no target.
        format: of these, Pillow's name.
    """

    size: tuple[int, int]
    data: bytes = b""
    format: str = ""


class Converter:
    """Takes jobs from their source to their target, all with one style and the same options."""

    def __init__(
        self,
        style: Style,
        options: StyleOptions | None = None,
        output: OutputOptions | None = None,
    ) -> None:
        """Choose tiles that fit into memory.

        Raises:
            UsageError: `max_memory` is too little for anything, or `format` is unknown.
        """
        self.options, self.output = options or StyleOptions(), output or OutputOptions()
        self.memory = Memory(style, self.output.max_memory)
        self.style = self.memory.style
        self.format = format_named(self.output.format) if self.output.format else None

    def shared(self, jobs: int) -> "Converter":
        """Return a converter for use by so many threads at a time."""
        other = copy(self)
        other.style = self.style.shared(jobs)
        return other

    def estimate(self, job: Job) -> Need:
        """Read the source's header: how much memory the job takes, and whether it is streamed.

        Raises:
            PictureError, MissingExtraError: it cannot be read, or takes too much memory.
        """
        if job.is_pipe:
            return Need()
        limit, in_memory = self.output.max_pixels, job.data is not None or job.target is None
        header = read_header(_contents(job), max_pixels=limit, name=job.shown)
        written = self._format(job) or (header.format if in_memory else "PNG")
        need = self.memory.need(job.shown, header, written, self.options.resolution)
        if need.streamed and in_memory:
            raise TooLargeError(
                f"{job.shown}: too large to process in memory; convert it from file to file"
            )
        return need

    def convert(
        self, job: Job, need: Need | None = None, on_frame: OnFrame = ignore_frames
    ) -> Converted:
        """Convert one picture.

        Args:
            job: what, and where to; missing folders are made, and nobody ever sees half a file.
            need: from `estimate`, if that has been done already.
            on_frame: see `OnFrame`.
        Raises:
            PictureError: the picture cannot be read, or takes too much memory.
            MissingExtraError: it takes too much memory, and libvips would help.
            UsageError: the style does not have a knob.
            OutputError: the target cannot be written, or the format cannot hold the result.
            UnexpectedError: anything else.
        """
        with failing_alone(job.shown):
            if (need or self.estimate(job)).streamed:
                return self._stream(job)
            converted = self.render(job, on_frame)
            if job.target is None:
                return converted
            write_file(job.target, converted.data)
            return Converted(converted.size)

    def render(self, job: Job, on_frame: OnFrame = ignore_frames) -> Converted:
        """Return the cartoon's bytes without writing them; arguments and errors as in `convert`."""
        photo, format = self._read(job)
        return Converted(photo.size, self._encode(photo, format, on_frame), format)

    def _read(self, job: Job) -> tuple[Picture | Animation, str]:
        """Read the source, its first frame alone for a format without animations."""
        source, named = _contents(job), self._format(job)
        if job.is_pipe:
            with open_stream(source, job.shown) as stream:
                source = stream.read()
        read = read_animation if named is None or named in ANIMATED else decode
        photo = read(source, max_pixels=self.output.max_pixels, name=job.shown)
        format = self._choose_format(photo, named)
        if self.output.lossless:
            check_lossless(format)
        return replace(photo, metadata=photo.metadata.kept(self.output.metadata)), format

    def _encode(self, photo: Picture | Animation, format: str, on_frame: OnFrame) -> bytes:
        quality, lossless = self.output.quality, self.output.lossless
        if isinstance(photo, Animation):
            return encode_animation(photo, self._frames(photo, on_frame), format, quality, lossless)
        cartoon = self.style.draw(photo, self.options, in_place=True)
        return encode(photo, cartoon, format, quality, lossless)

    def _frames(
        self, animation: Animation, on_frame: OnFrame
    ) -> Iterator[tuple[Picture, PhotoArray]]:
        """Draw frame by frame; one that repeats the one before is not drawn again."""
        before: Picture | None = None
        for done, frame in enumerate(animation.frames(), 1):
            if before is None or not _same(frame, before):
                cartoon = self.style.draw(frame, self.options)
            on_frame(animation.name, done, len(animation.durations))
            yield frame, cartoon
            before = frame

    def _stream(self, job: Job) -> Converted:
        """Convert a few rows at a time; the result is the same."""
        assert job.target is not None  # see `estimate`
        huge = open_huge(job.source, max_pixels=self.output.max_pixels)
        photo = replace(huge.about, metadata=huge.about.metadata.kept(self.output.metadata))
        format = self._choose_format(photo, self._format(job))
        if format not in STREAMED:
            raise OutputError(f"{job.target}: {format} cannot be streamed; JPEG, PNG and TIFF can")
        drawn = self.style.strips(huge.rgb, self.options, colours=photo.colours, alpha=huge.alpha)
        parts = (
            (values, None if huge.alpha is None else huge.alpha[rows]) for rows, values in drawn
        )
        how = format, self.output.quality, self.output.lossless
        with writing(job.target) as temporary, temporary.open("wb") as stream:
            encode_strips(stream, photo, huge.rgb.shape, parts, *how)
        return Converted((huge.rgb.shape[1], huge.rgb.shape[0]))

    def _format(self, job: Job) -> str | None:
        """Return the format that was asked for, or that the target's suffix names."""
        return self.format or (SUFFIXES.get(job.target.suffix.lower()) if job.target else None)

    def _choose_format(self, photo: Picture | Animation, named: str | None) -> str:
        """Choose the format to write; warn if the photo's own cannot be written."""
        own, transparent = photo.format, isinstance(photo, Picture) and photo.alpha is not None
        format = named or writable_format(own, transparent=transparent)
        if own and writable_format(own) != own and not self.format:
            _logger.warning("%s: %s", photo.name, becomes(own, format))
        return format


def _contents(job: Job) -> bytes | Path:
    return job.source if job.data is None else job.data


def _same(one: Picture, other: Picture) -> bool:
    if one.alpha is not None and other.alpha is not None:
        return np.array_equal(one.rgb, other.rgb) and np.array_equal(one.alpha, other.alpha)
    return np.array_equal(one.rgb, other.rgb)
