"""One picture into its cartoon, from disk to disk."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

import numpy as np

from toonbox.atomic import replacing
from toonbox.convert.memory import Memory, Need
from toonbox.engine.stylize import Look, Resolution, Style
from toonbox.errors import OutputError, PictureError, failing_alone
from toonbox.images import animation
from toonbox.images.animation import Animation, encode_animation
from toonbox.images.encode import encode, encode_strips
from toonbox.images.formats import (
    ANIMATED,
    SUFFIXES,
    becomes,
    check_lossless,
    format_named,
    writable_format,
)
from toonbox.images.metadata import Keep
from toonbox.images.picture import MAX_PIXELS, Picture, decode, open_stream, read_header
from toonbox.images.streaming import FORMATS as STREAMED
from toonbox.images.streaming import open_huge
from toonbox.pixels import PhotoArray

Read = TypeVar("Read", bound=Picture | Animation)
# Told of each frame of an animation once it is drawn: the animation's name, frames so far, and all.
OnFrame = Callable[[str, int, int], None]

_logger = logging.getLogger(__name__)


def unwatched(name: str, done: int, total: int) -> None:
    """Let frames be drawn without telling of them."""


class Saving(TypedDict, total=False):
    """How a file is written: options of `cartoonize_file`."""

    format: str | None
    quality: int | None
    lossless: bool
    metadata: Keep


def cartoonize_file(
    source: Path,
    target: Path,
    style: Style,
    *,
    max_pixels: int = MAX_PIXELS,
    max_memory: int | None = None,
    overwrite: bool = False,
    saving: Saving | None = None,
    **look: Unpack[Look],
) -> None:
    """Follow one picture, which may be an animation, from disk to disk.

    Args:
        source: the photo.
        target: its suffix names the format, the photo's is used if it names none. Missing folders
            are made; nobody ever sees half of it.
        style: what `load_style` returned.
        max_pixels: as in `cartoonize`.
        max_memory: bytes that the process may take; what needs more goes the way of `stream_file`.
            None for three quarters of the machine's.
        overwrite: replace the target if there is one.
        saving: as in `cartoonize`; a format here counts more than the target's suffix.
        look: the options of `Style.__call__`.
    Raises:
        PictureError: the photo cannot be read, or is too much for the memory.
        MissingExtraError: the same, and libvips would help.
        UsageError: as in `cartoonize`, or `max_memory` is too little for anything.
        OutputError: the target exists or cannot be written.
        UnexpectedError: anything else.
    """
    if not overwrite:
        refuse_existing(target)
    saving, memory = saving or {}, Memory(style, max_memory)
    with failing_alone(str(source)):
        streamed = need_of(source, target, memory, saving, look, max_pixels).streamed
        follow(source, target, memory.style, streamed, max_pixels, saving, **look)


def follow(
    source: Path,
    target: Path,
    style: Style,
    streamed: bool,
    max_pixels: int,
    saving: Saving,
    on_frame: OnFrame = unwatched,
    **look: Unpack[Look],
) -> tuple[int, int]:
    """Follow one picture from disk to disk, in the way that `need_of` chose.

    Returns:
        Width and height.
    Raises:
        PictureError, UsageError, OutputError: as in `cartoonize_file`.
    """
    if streamed:
        return stream_file(source, target, style, max_pixels=max_pixels, saving=saving, **look)
    photo, format = read_photo(source, target, saving, max_pixels=max_pixels)
    cartoon = draw(photo, format, style, saving, over=True, on_frame=on_frame, **look)
    write_file(target, encode_cartoon(photo, cartoon, format, saving))
    return photo.size


def need_of(
    source: Path, target: Path, memory: Memory, saving: Saving, look: Look, max_pixels: int
) -> Need:
    """Look at a photo's header: what it takes from disk to disk, and how it can be done.

    A named pipe can be read only once, and so is taken as it comes.

    Raises:
        PictureError, MissingExtraError: it cannot be read, or takes too much memory.
    """
    if _is_pipe(source):
        return Need()
    header = read_header(source, max_pixels=max_pixels)
    written = _named_format(target, saving) or "PNG"
    return memory.need(str(source), header, written, look.get("resolution"))


def refuse_too_large(
    source: bytes | Path,
    memory: Memory,
    format: str | None,
    resolution: Resolution,
    *,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> None:
    """Look at the header of a picture that must be in memory; a named pipe is not asked.

    Raises:
        PictureError, MissingExtraError: it cannot be read, or takes too much.
        UsageError: there is no such format.
    """
    if isinstance(source, Path) and _is_pipe(source):
        return
    header = read_header(source, max_pixels=max_pixels, name=name)
    name = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    written = format_named(format) if format else header.format
    if memory.need(name, header, written, resolution).streamed:
        raise PictureError(f"{name}: too large for this way; from file to file it can be done")


def stream_file(
    source: Path,
    target: Path,
    style: Style,
    *,
    max_pixels: int = MAX_PIXELS,
    saving: Saving | None = None,
    **look: Unpack[Look],
) -> tuple[int, int]:
    """Follow one picture from disk to disk, a few rows at a time, however large it is.

    The result is that of `cartoonize_file`. Rotated pictures go by way of a temporary file of
    libvips.

    Returns:
        Width and height.
    Raises:
        MissingExtraError: libvips is not installed.
        PictureError, UsageError, OutputError: as in `cartoonize_file`, or for a kind of picture or
            format that cannot be read or written so.
    """
    saving = saving or {}
    huge = open_huge(source, max_pixels=max_pixels)
    photo = _as_told(huge.about, saving)
    format = _written_format(photo, _named_format(target, saving), saving)
    if format not in STREAMED:
        raise OutputError(f"{target}: {format} is not written bit by bit; JPEG, PNG and TIFF are")
    drawn = style.strips(huge.rgb, colours=photo.colours, alpha=huge.alpha, **look)
    parts = ((values, None if huge.alpha is None else huge.alpha[rows]) for rows, values in drawn)
    quality, lossless = saving.get("quality"), saving.get("lossless", False)
    with writing(target) as temporary, temporary.open("wb") as stream:
        encode_strips(stream, photo, huge.rgb.shape, parts, format, quality, lossless)
    return huge.rgb.shape[1], huge.rgb.shape[0]


def read_photo(
    source: bytes | Path,
    target: Path | None,
    saving: Saving,
    *,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> tuple[Picture | Animation, str]:
    """Read a photo or an animation, and choose the format of its cartoon before the work begins.

    Args:
        source: a file, or what is in it.
        target: the file for the cartoon; None for standard output.
        saving: as in `cartoonize_file`.
        max_pixels, name: as in `animation.read_animation`.
    Returns:
        The photo with the metadata that are to be kept, and Pillow's name of the format. For a
        format without animations the photo is the first frame, with a message.
    Raises:
        PictureError: it cannot be read.
        UsageError: there is no such format.
        OutputError: the format cannot be lossless, if that is wanted.
    """
    if isinstance(source, Path) and _is_pipe(source):
        name = name or str(source)
        with open_stream(source, name) as stream:
            source = stream.read()
    named = _named_format(target, saving)
    read = animation.read_animation if named is None or named in ANIMATED else decode
    photo = _as_told(read(source, max_pixels=max_pixels, name=name), saving)
    format = _written_format(photo, named, saving)
    if saving.get("lossless"):
        check_lossless(format)
    return photo, format


def cartoon_of(
    photo: Picture, style: Style, *, over: bool = False, **look: Unpack[Look]
) -> PhotoArray:
    """Cartoonize a decoded photo: (H, W, 3), in its bits and colours.

    What is fully transparent stays as it is.

    Args:
        photo: as decoded.
        style: what `load_style` returned.
        over: write over the photo's own values, which halves the memory.
        look: the options of `Style.__call__`.
    Raises:
        UsageError, StyleError: as in `cartoonize`.
    """
    out = photo.rgb if over else None
    return style(photo.rgb, colours=photo.colours, alpha=photo.alpha, out=out, **look)


def draw(
    photo: Picture | Animation,
    format: str,
    style: Style,
    saving: Saving,
    *,
    over: bool = False,
    on_frame: OnFrame = unwatched,
    **look: Unpack[Look],
) -> PhotoArray | bytes:
    """Cartoonize what `read_photo` gave, in the format that it chose.

    Args:
        photo, format: what `read_photo` gave.
        style, over, look: as in `cartoon_of`.
        saving: as in `cartoonize_file`.
        on_frame: see `OnFrame`.
    Returns:
        Of a photo (H, W, 3), in its bits and colours; of an animation a file, because its frames
        may be too many for the memory.
    Raises:
        UsageError, StyleError: as in `cartoon_of`.
        OutputError: the format cannot hold the animation.
    """
    if isinstance(photo, Picture):
        return cartoon_of(photo, style, over=over, **look)
    quality, lossless = saving.get("quality"), saving.get("lossless", False)
    drawn = _drawn(photo, style, look, on_frame)
    return encode_animation(photo, drawn, format, quality, lossless)


def _drawn(
    animated: Animation, style: Style, look: Look, on_frame: OnFrame
) -> Iterator[tuple[Picture, PhotoArray]]:
    """Cartoonize frame by frame; one that shows nothing new is not drawn again."""
    before: Picture | None = None
    for done, frame in enumerate(animated.frames(), 1):
        if before is None or not _same(frame, before):
            cartoon = cartoon_of(frame, style, **look)
        on_frame(animated.name, done, len(animated.durations))
        yield frame, cartoon
        before = frame


def _same(one: Picture, other: Picture) -> bool:
    if one.alpha is not None and other.alpha is not None:
        return np.array_equal(one.rgb, other.rgb) and np.array_equal(one.alpha, other.alpha)
    return np.array_equal(one.rgb, other.rgb)


def is_there(target: Path) -> bool:
    """Tell whether a file exists; one that cannot even be asked about does not."""
    try:
        return target.exists()
    except OSError:  # such as a name that is too long
        return False


def refuse_existing(target: Path) -> None:
    """Keep what is there.

    Raises:
        OutputError: the target exists.
    """
    if is_there(target):
        raise OutputError(f"{target} exists already; --force overwrites it")


def encode_cartoon(
    photo: Picture | Animation, cartoon: PhotoArray | bytes, format: str, saving: Saving
) -> bytes:
    """Make a file of what `draw` gave, in the format that `read_photo` chose.

    Raises:
        OutputError: the format cannot hold it.
    """
    if isinstance(photo, Animation) or isinstance(cartoon, bytes):
        return bytes(cartoon)
    quality, lossless = saving.get("quality"), saving.get("lossless", False)
    return encode(photo, cartoon, format, quality, lossless)


def write_file(target: Path, data: bytes) -> None:
    """Write a file whole or not at all, with the folders it needs.

    Raises:
        OutputError: it cannot be written, or is there and no file, such as /dev/null.
    """
    with writing(target) as temporary:
        temporary.write_bytes(data)


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Give a temporary name that becomes `target` if the block succeeds; make missing folders.

    Raises:
        OutputError: as in `write_file`.
    """
    if is_there(target) and not target.is_file():
        raise OutputError(f"{target} cannot be written: it is there and is not a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error


def _is_pipe(source: Path) -> bool:
    try:
        return source.is_fifo()
    except OSError:  # reading it will say what is wrong
        return False


def _as_told(photo: Read, saving: Saving) -> Read:
    return replace(photo, metadata=photo.metadata.kept(saving.get("metadata", "keep")))


def _named_format(target: Path | None, saving: Saving) -> str | None:
    """Tell the format that was asked for, or that a file is called like."""
    if named := saving.get("format"):
        return format_named(named)
    return SUFFIXES.get(target.suffix.lower()) if target else None


def _written_format(photo: Picture | Animation, named: str | None, saving: Saving) -> str:
    """Choose the format, and say so if the photo's own cannot be."""
    own, transparent = photo.format, isinstance(photo, Picture) and photo.alpha is not None
    format = named or writable_format(own, transparent=transparent)
    if own and writable_format(own) != own and not saving.get("format"):
        _logger.warning("%s: %s", photo.name, becomes(own, format))
    return format
