"""Convert pictures: header, pixels, cartoon, file; one or many at a time."""

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from heapq import nlargest
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from toonbox.atomic import exists, refuse_existing, write_file, writing
from toonbox.engine.style import Style
from toonbox.errors import MissingExtraError, OutputError, TooLargeError, ToonboxError, UsageError
from toonbox.images.animation import Animation, encode_animation, read_animation
from toonbox.images.encode import encode, encode_strips
from toonbox.images.formats import ANIMATED, SUFFIXES, check_options, format_named, writable_format
from toonbox.images.picture import Header, Picture, decode, open_stream, read_header
from toonbox.images.streaming import ADVICE, can_stream, open_huge
from toonbox.images.streaming import FORMATS as STREAMED
from toonbox.options import OutputOptions, StyleOptions
from toonbox.parallel import count_jobs, failing_alone, ordered_parallel_map
from toonbox.pixels import PhotoArray

Done = TypeVar("Done")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What to convert, and where to."""

    source: Path
    target: Path | None = None  # its suffix names the format; None returns the cartoon's bytes
    on_existing: Literal["refuse", "skip", "overwrite"] = "refuse"
    data: bytes | None = None  # what is in the source, if that is no file here
    name: str = ""  # of the source in messages, if that is not its path

    @property
    def shown(self) -> str:
        """Return what messages call the source."""
        return self.name or str(self.source)

    @property
    def contents(self) -> bytes | Path:
        """Return what is in the source, or the file that has it."""
        return self.source if self.data is None else self.data

    @property
    def is_pipe(self) -> bool:
        """Return whether the source is a pipe, which can be read only once."""
        try:
            return self.data is None and self.source.is_fifo()
        except OSError:  # reading it will give the reason
            return False


@dataclass(frozen=True)
class Converted:
    """A finished job."""

    size: tuple[int, int]  # width and height in pixels
    data: bytes = b""  # of the cartoon, if it has no target
    format: str = ""  # of these, Pillow's name


MIB = 1 << 20
# All measured as peaks of the whole command; tests/test_memory.py checks that they hold.
_PROCESS = 180 * MIB  # Python, the libraries, a style without a picture
_NETWORK = 380  # bytes for each pixel that the network sees at once
_STREAM = 80 * MIB, 6000  # bytes, and bytes for each pixel of width, of a streamed picture
# Bytes for each pixel of a picture in memory, at the worst moment, by what is read or written.
_PIXEL = {"JPEG": 8, "PNG": 8, "TIFF": 11, "BMP": 11, "PPM": 11, "WEBP": 17, "GIF": 17}
_OTHER_PIXEL, _DEEP_PIXEL, _ALPHA = 46, 17, 4
_TILES = (768, 512, 256, 128)
_OF_THE_MACHINE = 0.75


@dataclass(frozen=True)
class Need:
    """The memory that a picture takes, in bytes, beside the process itself."""

    own: int = 0  # from reading to writing
    network: int = 0  # while it is drawn
    streamed: bool = False  # it must be read and written a few rows at a time
    animated: bool = True  # it may be an animation


def fit(needs: Collection[Need], limit: int, jobs: int = 1) -> bool:
    """Return whether pictures fit within a limit of memory, `jobs` of them drawn at a time."""
    networks = nlargest(jobs, (need.network for need in needs))
    return _PROCESS + sum(need.own for need in needs) + sum(networks) <= limit


def _with_tiles_for(style: Style, limit: int) -> Style:
    """Return a style whose tiles fit into a limit of memory; raise UsageError if none do.

    The network may take half of what the process leaves, for pictures need room, too.
    """
    for tile in (style.tile, *_TILES):
        style = copy(style)
        style.tile = min(tile, style.tile)
        least = _PROCESS + 2 * _network_memory(style, 10**9)
        if least <= limit:
            return style
    given = f"{in_words(limit)} of memory are too little"
    raise UsageError(f"{given}; at least {in_words(least)} are needed")


def _network_memory(style: Style, pixels: int) -> int:
    side = style.tile + 2 * style.card.reach
    return _NETWORK * min(pixels, side * side)


def machine_limit() -> int:
    """Return three quarters of the available memory, in bytes; no limit where it is unknown."""
    known = []
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    container = Path("/sys/fs/cgroup/memory.max")
    if container.exists() and (text := container.read_text().strip()).isdecimal():
        known.append(int(text))
    return int(_OF_THE_MACHINE * min(known, default=1 << 60))


def in_words(size: int) -> str:
    """Format a size in MiB or GiB, as --max-memory takes it."""
    return f"{size / 1024**3:.1f}G" if size >= 1024**3 else f"{-(-size // MIB)}M"


class Converter:
    """Converts jobs with one style and the same options."""

    def __init__(
        self, style: Style, options: StyleOptions | None = None, output: OutputOptions | None = None
    ) -> None:
        """Choose tiles that fit into memory; raise UsageError if none do."""
        self.options, self.output = options or StyleOptions(), output or OutputOptions()
        self.limit = self.output.max_memory or machine_limit()
        self.style = _with_tiles_for(style, self.limit)
        self.format = self.output.format and format_named(self.output.format)
        # Called after each frame of an animation, in any thread: its name, frames done, all frames.
        self.on_frame: Callable[[str, int, int], object] = lambda *_: None

    def estimate(self, job: Job) -> Need:
        """Read the source's header, to estimate its `need`; errors as in `convert`."""
        if job.is_pipe:
            return Need()
        limit, in_memory = self.output.max_pixels, job.data is not None or job.target is None
        header = read_header(job.contents, max_pixels=limit, name=job.shown)
        written = self._format(job) or (header.format if in_memory else "PNG")
        need = self.need(job.shown, header, written)
        if need.streamed and in_memory:
            raise TooLargeError(
                f"{job.shown}: too large to process in memory; convert it from file to file"
            )
        return need

    def need(self, name: str, header: Header, format: str) -> Need:
        """Estimate what it takes to draw a picture and write it in a format; choose how to do it.

        Raises:
            TooLargeError, MissingExtraError: it takes more than the limit; says how much.
        """
        pixels, shape = header.width * header.height, (header.height, header.width)
        height, width = self.style.largest_size(shape, self.options.resolution)
        network = _network_memory(self.style, height * width) + 20 * min(height * width, pixels)
        each = max(_PIXEL.get(kind, _OTHER_PIXEL) for kind in (header.format, format))
        each = max(each, _DEEP_PIXEL) if header.deep else each
        each += _ALPHA * header.transparent * (1 + header.deep)
        whole = Need(each * pixels, network, animated=header.animated)
        if fit([whole], self.limit):
            return whole
        streamed = Need(_STREAM[0] + _STREAM[1] * header.width, network, True)
        limit, needed = in_words(self.limit), in_words(_PROCESS + whole.own + whole.network)
        allowed = f"more than {limit}, three quarters of this machine's (--max-memory changes that)"
        if self.output.max_memory:
            allowed = f"more than the {limit} of --max-memory (max_memory)"
        text = f"{name}: needs about {needed} of memory, {allowed}"
        if not can_stream():
            raise MissingExtraError(f"{text}; {ADVICE}")
        if not fit([streamed], self.limit):
            less = in_words(_PROCESS + streamed.own + streamed.network)
            raise TooLargeError(f"{text}, and still {less} if streamed")
        return streamed

    def convert(self, job: Job, need: Need | None = None) -> Converted:
        """Convert one picture; missing folders are made, and nobody ever sees half a file.

        Args:
            need: from `estimate`, if that has been done already.
        Raises:
            PictureError: the picture cannot be read, or takes too much memory.
            MissingExtraError: it takes too much memory, and libvips would help.
            UsageError: the style does not have a knob.
            OutputError: the target cannot be written, or the format cannot hold the result.
            UnexpectedError: anything else.
        """
        with failing_alone(job.shown):
            need = need or self.estimate(job)
            if need.streamed:
                return self._stream(job)
            converted = self.render(job, need.animated)
            if job.target is None:
                return converted
            write_file(job.target, converted.data)
            return Converted(converted.size)

    def render(self, job: Job, animated: bool = True) -> Converted:
        """Return the cartoon's bytes without writing them; arguments and errors as in `convert`.

        Frames after the first are read only if it may be `animated`, as the format to write must.
        """
        source, named = job.contents, self._format(job)
        if job.is_pipe:
            with open_stream(source, job.shown) as stream:
                source = stream.read()
        animated = animated and (named is None or named in ANIMATED)
        read = read_animation if animated else decode
        photo = read(source, max_pixels=self.output.max_pixels, name=job.shown)
        photo = replace(photo, metadata=photo.metadata.kept(self.output.metadata))
        how = self._choose_format(photo, named), self.output.quality, self.output.lossless
        check_options(*how)
        if isinstance(photo, Animation):
            data = encode_animation(photo, self._frames(photo), *how)
        else:
            data = encode(photo, self.style.draw(photo, self.options, in_place=True), *how)
        return Converted(photo.size, data, how[0])

    def _frames(self, animation: Animation) -> Iterator[tuple[Picture, PhotoArray]]:
        """Draw frame by frame; reuse the cartoon of a frame that repeats the one before."""
        # Frames that differ in detail should not be drawn at different sizes.
        resolution = self.options.resolution or self.style.card.working_resolution
        options = replace(self.options, resolution=resolution)
        before: tuple[Any, Any] = None, None
        for done, frame in enumerate(animation.frames(), 1):
            now: tuple[Any, Any] = frame.rgb, frame.alpha
            if not all(map(np.array_equal, now, before)):
                cartoon = self.style.draw(frame, options)
            self.on_frame(animation.name, done, len(animation.durations))
            yield frame, cartoon
            before = now

    def _stream(self, job: Job) -> Converted:
        """Convert a few rows at a time; the result is the same."""
        assert job.target is not None  # see `estimate`
        photo = open_huge(job.source, max_pixels=self.output.max_pixels)
        photo = replace(photo, metadata=photo.metadata.kept(self.output.metadata))
        format = self._choose_format(photo, self._format(job))
        if format not in STREAMED:
            raise OutputError(f"{job.target}: {format} cannot be streamed; JPEG, PNG and TIFF can")
        drawn = self.style.strips(photo, self.options)
        parts = (
            (values, None if photo.alpha is None else photo.alpha[rows]) for rows, values in drawn
        )
        how = format, self.output.quality, self.output.lossless
        with writing(job.target) as temporary, temporary.open("wb") as stream:
            encode_strips(stream, photo, photo.rgb.shape, parts, *how)
        return Converted(photo.size)

    def _format(self, job: Job) -> str | None:
        """Return the format that was asked for, or that the target's suffix names."""
        return self.format or (SUFFIXES.get(job.target.suffix.lower()) if job.target else None)

    def _choose_format(self, photo: Picture | Animation, named: str | None) -> str:
        """Choose the format to write; warn if the photo's own cannot be written."""
        own, transparent = photo.format, isinstance(photo, Picture) and photo.alpha is not None
        format = named or writable_format(own, transparent=transparent)
        if own and writable_format(own) != own and not self.format:
            called = own.replace("HEIF", "HEIC")
            _logger.warning("%s: %s cannot be written; it becomes %s", photo.name, called, format)
        return format


@dataclass(frozen=True)
class Outcome:
    """The result of a job."""

    source: Path  # or a folder that could not be read
    target: Path | None
    status: Literal["ok", "skipped", "failed"]  # skipped if the target existed
    seconds: float = 0.0  # of work, without waiting for its turn
    size: tuple[int, int] | None = None  # width and height in pixels, if it was converted
    error: ToonboxError | None = None


def convert_all(
    jobs: Iterable[Job],
    converter: Converter,
    *,
    parallel: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Convert many pictures from file to file, and report each in the order of the jobs.

    Args:
        jobs: taken as they are needed.
        parallel: pictures at a time, fewer if they take too much memory together; None for one on
            each core.
        stop: asked before each picture; once it returns True, those begun are still finished.
    Raises:
        UsageError: an option that is as wrong for all other pictures.
    """
    parallel = count_jobs(jobs, parallel)
    converter = copy(converter)
    converter.style = converter.style.shared(parallel)

    def plan(job: Job) -> tuple[Job, Need | Outcome]:
        """Read the header, to know how many pictures fit into memory."""
        if outcome := settled(job):
            return job, outcome
        return job, done_or_failed(job, partial(converter.estimate, job))

    def work(planned: tuple[Job, Need | Outcome]) -> Outcome:
        job, need = planned
        return need if isinstance(need, Outcome) else convert_one(job, converter, need)

    def fit_together(planned: list[tuple[Job, Need | Outcome]]) -> bool:
        needs = [need for _, need in planned if isinstance(need, Need)]
        return fit(needs, converter.limit, parallel)

    return ordered_parallel_map(map(plan, jobs), work, parallel, stop, fit_together)


def settled(job: Job) -> Outcome | None:
    """Return the outcome of a job that is not to be done, because its target exists."""
    if job.target is None or job.on_existing == "overwrite":
        return None
    if job.on_existing == "refuse":
        return done_or_failed(job, partial(refuse_existing, job.target))
    return Outcome(job.source, job.target, "skipped") if exists(job.target) else None


def convert_one(job: Job, converter: Converter, need: Need) -> Outcome:
    """Convert a picture from file to file; arguments and errors as in `convert_all`."""
    began = time.perf_counter()
    done = done_or_failed(job, lambda: converter.convert(job, need))
    if isinstance(done, Outcome):
        return done
    return Outcome(job.source, job.target, "ok", time.perf_counter() - began, done.size)


def done_or_failed(job: Job, work: Callable[[], Done]) -> Done | Outcome:
    """Run `work` for one picture; return what it raises, but for UsageError, as its failure."""
    began = time.perf_counter()
    try:
        with failing_alone(job.shown):
            return work()
    except UsageError:
        raise
    except ToonboxError as error:
        seconds = time.perf_counter() - began
        return Outcome(job.source, job.target, "failed", seconds, error=error)
