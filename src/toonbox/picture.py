"""One picture into its cartoon: from disk to disk, or from memory to memory."""

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np
from PIL import Image

from toonbox.engine.style import DEFAULT_STYLE, find_style
from toonbox.engine.stylize import Look, Resolution, Style, load_style
from toonbox.errors import OutputError, PictureError, ShapeError, UsageError
from toonbox.files import replacing
from toonbox.media.colour import GreyColours
from toonbox.media.encoding import encode, encode_strips, to_image
from toonbox.media.formats import SUFFIXES, becomes, check_lossless, format_named, writable_format
from toonbox.media.huge import open_huge
from toonbox.media.images import MAX_PIXELS, Picture, decode, read_header, read_image
from toonbox.media.metadata import Keep
from toonbox.media.strips import FORMATS as STREAMED
from toonbox.memory import Memory, Need
from toonbox.pixels import PhotoArray, Uint8Array

_logger = logging.getLogger(__name__)


class Saving(TypedDict, total=False):
    """How a file is written: options of `cartoonize_file`, and of `cartoonize` for bytes."""

    format: str | None
    quality: int | None
    lossless: bool
    metadata: Keep


@overload
def cartoonize(
    picture: str | Path | Image.Image,
    *,
    style: str | Path | Style = ...,
    max_pixels: int = ...,
    max_memory: int | None = ...,
    metadata: Keep = ...,
    **look: Unpack[Look],
) -> Image.Image: ...
@overload
def cartoonize(
    picture: bytes,
    *,
    style: str | Path | Style = ...,
    max_pixels: int = ...,
    max_memory: int | None = ...,
    format: str | None = ...,
    quality: int | None = ...,
    lossless: bool = ...,
    metadata: Keep = ...,
    **look: Unpack[Look],
) -> bytes: ...
@overload
def cartoonize(
    picture: Uint8Array,
    *,
    style: str | Path | Style = ...,
    max_pixels: int = ...,
    max_memory: int | None = ...,
    **look: Unpack[Look],
) -> Uint8Array: ...
def cartoonize(
    picture: str | Path | bytes | Image.Image | Uint8Array,
    *,
    style: str | Path | Style = DEFAULT_STYLE,
    strength: float = 1.0,
    resolution: Resolution = None,
    surface: float | None = None,
    structure: float | None = None,
    texture: float | None = None,
    max_pixels: int = MAX_PIXELS,
    max_memory: int | None = None,
    format: str | None = None,
    quality: int | None = None,
    lossless: bool = False,
    metadata: Keep = "keep",
) -> Image.Image | bytes | Uint8Array:
    """Turn a photo into a cartoon of the same size.

    Args:
        picture: a file's path; a file's bytes; a Pillow image of any mode; or a uint8 array of
            shape (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
        style: a style's name, its folder, or what `load_style` returned. A style named here stays
            loaded for the next call.
        strength: 0..1, from the photo itself to the full cartoon.
        resolution: the short side, in pixels, at which the network works; "native" for the
            picture's own; None for the style's.
        surface: 0..2, for styles with this knob: more of it paints with a smoother brush; None for
            1, as trained. `toonbox styles` lists each style's knobs.
        structure: the same; more of it makes flatter and fewer areas of colour.
        texture: the same; more of it draws stronger outlines.
        max_pixels: the largest width times height that is read from a path or bytes.
        max_memory: bytes that the process may take; the network works in smaller tiles then. None
            for three quarters of the machine's.
        format: what to write for bytes: jpeg, png, webp, avif, tiff, bmp, gif or ppm; None for the
            picture's own. This and the next two are for bytes only.
        quality: 1..100, of JPEG, WebP and AVIF; None for 95.
        lossless: keep every value, or fail.
        metadata: "keep", "strip" or "no-gps": EXIF, XMP, IPTC, resolution and comments.
    Returns:
        A Pillow image (RGB, or L if the picture is grey, with alpha RGBA or LA) for a path or an
        image; bytes in the same format for bytes (JPEG for HEIC and PNG for others that cannot be
        written); an array of the same shape for an array. All are in the colours of the picture:
        an image carries the picture's profile. Bytes keep the 16 bits of PNG and TIFF.
    Raises:
        PictureError: the picture cannot be read, or is too much for the memory.
        StyleError: there is no such style, or it is damaged.
        ShapeError: the array is not of a shape and type above.
        UsageError: an option is out of range or of no use, or a knob that the style does not have.
        OutputError: the bytes' format cannot hold the result.
    """
    if not isinstance(picture, bytes) and (format or quality is not None or lossless):
        raise UsageError("format, quality and lossless say how bytes are written; save images so")
    picture = Path(picture) if isinstance(picture, str) else picture
    memory = Memory(_style(style), max_memory)
    if isinstance(picture, Path | bytes):
        refuse_too_large(picture, memory, format, resolution, max_pixels=max_pixels)
    photo = _read(picture, max_pixels)
    photo = replace(photo, metadata=photo.metadata.kept(metadata))
    written = format_named(format) if format else photo.format
    cartoon = cartoon_of(
        photo,
        memory.style,
        strength=strength,
        resolution=resolution,
        surface=surface,
        structure=structure,
        texture=texture,
    )
    if isinstance(picture, bytes):
        return encode(photo, cartoon, written, quality, lossless)
    image = to_image(photo, cartoon)
    return np.array(image) if isinstance(picture, np.ndarray) else image


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
    """Follow one picture from disk to disk.

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
    """
    if not overwrite:
        refuse_existing(target)
    saving = saving or {}
    memory = Memory(style, max_memory)
    style = memory.style
    if need_of(source, target, memory, saving, look, max_pixels).streamed:
        stream_file(source, target, style, max_pixels=max_pixels, saving=saving, **look)
        return
    photo, format = read_photo(source, target, saving, max_pixels=max_pixels)
    write_cartoon(target, photo, cartoon_of(photo, style, over=True, **look), format, saving)


def need_of(
    source: Path, target: Path, memory: Memory, saving: Saving, look: Look, max_pixels: int
) -> Need:
    """Look at a photo's header: what it takes from disk to disk, and how it can be done.

    Raises:
        PictureError, MissingExtraError: it cannot be read, or takes too much memory.
    """
    header = read_header(source, max_pixels=max_pixels)
    format = saving.get("format")
    written = format_named(format) if format else SUFFIXES.get(target.suffix.lower(), "PNG")
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
    """Look at the header of a picture that must be in memory.

    Raises:
        PictureError, MissingExtraError: it cannot be read, or takes too much.
        UsageError: there is no such format.
    """
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
    format = _written_format(photo, target, saving)
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
) -> tuple[Picture, str]:
    """Read a photo, and choose the format of its cartoon before the work begins.

    Args:
        source: a file, or what is in it.
        target: the file for the cartoon; None for standard output.
        saving: as in `cartoonize_file`.
        max_pixels, name: as in `decode`.
    Returns:
        The photo with the metadata that are to be kept, and Pillow's name of the format.
    Raises:
        PictureError: it cannot be read.
        UsageError: there is no such format.
        OutputError: the format cannot be lossless, if that is wanted.
    """
    photo = _as_told(decode(source, max_pixels=max_pixels, name=name), saving)
    format = _written_format(photo, target, saving)
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
        PictureError: it is too much for the memory.
        UsageError, StyleError: as in `cartoonize`.
    """
    try:
        out = photo.rgb if over else None
        return style(photo.rgb, colours=photo.colours, alpha=photo.alpha, out=out, **look)
    except MemoryError as error:
        raise PictureError(f"{photo.name}: needs more memory than there is") from error


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


def encode_cartoon(photo: Picture, cartoon: PhotoArray, format: str, saving: Saving) -> bytes:
    """Make a file of a cartoon, (H, W, 3), in the format that `read_photo` chose.

    Raises:
        OutputError: the format cannot hold it.
    """
    quality, lossless = saving.get("quality"), saving.get("lossless", False)
    return encode(photo, cartoon, format, quality, lossless)


def write_cartoon(
    target: Path, photo: Picture, cartoon: PhotoArray, format: str, saving: Saving
) -> None:
    """Write a cartoon, (H, W, 3), in the format that `read_photo` chose.

    Raises:
        OutputError: the format cannot hold it, or the file cannot be written.
    """
    write_file(target, encode_cartoon(photo, cartoon, format, saving))


def write_file(target: Path, data: bytes) -> None:
    """Write a file whole or not at all, with the folders it needs.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(target) as temporary:
        temporary.write_bytes(data)


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Give a temporary name that becomes `target` if the block succeeds; make missing folders.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error


def _as_told(photo: Picture, saving: Saving) -> Picture:
    return replace(photo, metadata=photo.metadata.kept(saving.get("metadata", "keep")))


def _written_format(photo: Picture, target: Path | None, saving: Saving) -> str:
    """Choose the format, and say so if the photo's own cannot be."""
    if named := saving.get("format"):
        return format_named(named)
    own = writable_format(photo.format, transparent=photo.alpha is not None)
    format = SUFFIXES.get(target.suffix.lower(), own) if target else own
    if photo.format and photo.format != own:
        _logger.warning("%s: %s", photo.name, becomes(photo.format, format))
    return format


def _style(style: str | Path | Style) -> Style:
    return _loaded(find_style(style).resolve()) if isinstance(style, str | Path) else style


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path) -> Style:
    return load_style(folder)


def _read(picture: Any, max_pixels: int) -> Picture:
    match picture:
        case bytes():
            return decode(picture, max_pixels=max_pixels)
        case Path():
            return decode(picture, max_pixels=max_pixels)
        case Image.Image():
            return read_image(picture)
        case np.ndarray():
            return _read_array(picture)
    raise TypeError(f"a picture is a path, bytes, a Pillow image or an array, not {type(picture)}")


def _read_array(array: Uint8Array) -> Picture:
    right_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not right_shape or array.size == 0:
        raise ShapeError(
            "expected a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4), "
            f"got {array.dtype} {array.shape}"
        )
    if array.ndim == 2:
        grey = np.repeat(array[..., None], 3, axis=2)
        return Picture(name="<array>", rgb=grey, colours=GreyColours())
    alpha = array[..., 3] if array.shape[2] == 4 else None
    return Picture(name="<array>", rgb=np.ascontiguousarray(array[..., :3]), alpha=alpha)
