"""One picture into its cartoon: from disk to disk, or from memory to memory."""

import functools
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
from PIL import Image

from toonbox.engine.style import DEFAULT_STYLE, find_style
from toonbox.engine.stylize import Look, Resolution, Style, load_style
from toonbox.errors import OutputError, PictureError, ShapeError
from toonbox.files import replacing
from toonbox.media.images import (
    MAX_PIXELS,
    SUFFIXES,
    Picture,
    decode,
    encode,
    read_image,
    to_image,
)
from toonbox.pixels import Uint8Array


@overload
def cartoonize(
    picture: str | Path,
    *,
    style: str | Path | Style = ...,
    max_pixels: int = ...,
    **look: Unpack[Look],
) -> Image.Image: ...
@overload
def cartoonize(
    picture: bytes,
    *,
    style: str | Path | Style = ...,
    max_pixels: int = ...,
    **look: Unpack[Look],
) -> bytes: ...
@overload
def cartoonize(
    picture: Image.Image,
    *,
    style: str | Path | Style = ...,
    max_pixels: int = ...,
    **look: Unpack[Look],
) -> Image.Image: ...
@overload
def cartoonize(
    picture: Uint8Array,
    *,
    style: str | Path | Style = ...,
    max_pixels: int = ...,
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
    Returns:
        A Pillow image (RGB, or RGBA if the picture has transparency) for a path or an image; bytes
        in the same format for bytes (PNG if the format cannot be written); an array of the same
        shape for an array.
    Raises:
        PictureError: the picture cannot be read.
        StyleError: there is no such style, or it is damaged.
        ShapeError: the array is not of a shape and type above.
        UsageError: an option is out of range, or a knob that the style does not have.
        OutputError: the bytes' format cannot hold the result.
    """
    photo = _read(picture, max_pixels)
    cartoon = _style(style)(
        photo.rgb,
        strength=strength,
        resolution=resolution,
        surface=surface,
        structure=structure,
        texture=texture,
    )
    if isinstance(picture, bytes):
        return encode(photo, cartoon, photo.format)
    if isinstance(picture, np.ndarray):
        image = to_image(photo, cartoon)
        return np.array(image.convert("L") if picture.ndim == 2 else image)
    return to_image(photo, cartoon)


def cartoonize_file(
    source: Path,
    target: Path,
    style: Style,
    *,
    max_pixels: int = MAX_PIXELS,
    overwrite: bool = False,
    **look: Unpack[Look],
) -> None:
    """Follow one picture from disk to disk.

    Args:
        source: the photo.
        target: its suffix names the format, the photo's is used if it names none. Missing folders
            are made; nobody ever sees half of it.
        style: what `load_style` returned.
        max_pixels: as in `cartoonize`.
        overwrite: replace the target if there is one.
        look: the options of `Style.__call__`.
    Raises:
        PictureError: the photo cannot be read, or is too much for the memory.
        UsageError: as in `cartoonize`.
        OutputError: the target exists or cannot be written.
    """
    if not overwrite:
        refuse_existing(target)
    photo = decode(source, max_pixels=max_pixels)
    write_cartoon(target, photo, cartoon_of(photo, style, **look))


def cartoon_of(photo: Picture, style: Style, **look: Unpack[Look]) -> Uint8Array:
    """Cartoonize a decoded photo: (H, W, 3).

    Raises:
        PictureError: it is too much for the memory.
        UsageError, StyleError: as in `cartoonize`.
    """
    try:
        return style(photo.rgb, **look)
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


def write_cartoon(target: Path, photo: Picture, cartoon: Uint8Array) -> None:
    """Write a cartoon (H, W, 3) in the format that the target's suffix names, or the photo's.

    Raises:
        OutputError: the format cannot hold it, or the file cannot be written.
    """
    write_file(target, encode(photo, cartoon, SUFFIXES.get(target.suffix.lower(), photo.format)))


def write_file(target: Path, data: bytes) -> None:
    """Write a file whole or not at all, with the folders it needs.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error


def _style(style: str | Path | Style) -> Style:
    return _loaded(find_style(style).resolve()) if isinstance(style, str | Path) else style


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path) -> Style:
    return load_style(folder)


def _read(picture: Any, max_pixels: int) -> Picture:
    match picture:
        case bytes():
            return decode(picture, max_pixels=max_pixels)
        case str() | Path():
            return decode(Path(picture), max_pixels=max_pixels)
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
        return Picture(name="<array>", rgb=np.repeat(array[..., None], 3, axis=2))
    alpha = array[..., 3] if array.shape[2] == 4 else None
    return Picture(name="<array>", rgb=np.ascontiguousarray(array[..., :3]), alpha=alpha)
