"""Pictures of any kind into cartoons of the same kind, one or many: the door for Python."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, Unpack, overload

import numpy as np
from PIL import Image

from toonbox.convert.batch import jobs_for
from toonbox.convert.job import (
    Saving,
    cartoon_of,
    draw,
    encode_cartoon,
    read_photo,
    refuse_too_large,
)
from toonbox.convert.memory import Memory
from toonbox.engine import stylize
from toonbox.engine.style import DEFAULT_STYLE, Card, find_style
from toonbox.engine.stylize import Look, Resolution
from toonbox.errors import ShapeError, UsageError, failing_alone
from toonbox.images.colour import GreyColours
from toonbox.images.encode import to_image
from toonbox.images.metadata import Keep
from toonbox.images.picture import MAX_PIXELS, Picture, decode, read_image
from toonbox.parallel import at_a_time
from toonbox.pixels import PhotoArray, Uint8Array, Uint16Array

# What gives images, and what gives more of its own kind.
Shown = TypeVar("Shown", bound=str | Path | Image.Image)
Same = TypeVar("Same", bytes, Uint8Array, Uint16Array)


class Options(Look, total=False):
    """What `cartoonize` can be told about any picture."""

    max_pixels: int
    max_memory: int | None
    metadata: Keep
    jobs: int | None


class SavingOptions(Options, total=False):
    """What it can be told about bytes, which it writes; arrays have no use for all this."""

    format: str | None
    quality: int | None
    lossless: bool


class Style:
    """A style ready for use; call it with pictures. Safe to share between threads."""

    def __init__(self, network: stylize.Style) -> None:
        self.network = network

    @property
    def card(self) -> Card:
        """What the style says about itself: name, knobs, licence."""
        return self.network.card

    @overload
    def __call__(self, picture: Shown, **options: Unpack[Options]) -> Image.Image: ...
    @overload
    def __call__(self, picture: Same, **options: Unpack[SavingOptions]) -> Same: ...
    @overload
    def __call__(self, picture: list[Shown], **options: Unpack[Options]) -> list[Image.Image]: ...
    @overload
    def __call__(self, picture: list[Same], **options: Unpack[SavingOptions]) -> list[Same]: ...
    @overload
    def __call__(
        self, picture: Iterator[Shown], **options: Unpack[Options]
    ) -> Iterator[Image.Image]: ...
    @overload
    def __call__(
        self, picture: Iterator[Same], **options: Unpack[SavingOptions]
    ) -> Iterator[Same]: ...
    def __call__(self, picture: Any, **options: Any) -> Any:
        """Turn pictures into cartoons; all as in `cartoonize`."""
        return cartoonize(picture, style=self, **options)


def load_style(
    name_or_folder: str | Path = DEFAULT_STYLE,
    *,
    engine: str = "auto",
    threads: int | None = None,
) -> Style:
    """Load a style, to be used as often as wanted.

    Args:
        name_or_folder: name of a style, or its folder.
        engine: `onnxruntime`, `openvino`, `cuda`, or `auto` for the best there is.
        threads: to compute with; None takes one for each core this process may use.
    Raises:
        StyleError: missing or damaged.
        UsageError: no such engine, or less than one thread.
        MissingExtraError: the engine is not installed; says what to install.
    """
    return Style(stylize.load_style(name_or_folder, engine=engine, threads=threads))


@overload
def cartoonize(
    picture: Shown, *, style: str | Path | Style = ..., **options: Unpack[Options]
) -> Image.Image: ...
@overload
def cartoonize(
    picture: Same, *, style: str | Path | Style = ..., **options: Unpack[SavingOptions]
) -> Same: ...
@overload
def cartoonize(
    picture: list[Shown], *, style: str | Path | Style = ..., **options: Unpack[Options]
) -> list[Image.Image]: ...
@overload
def cartoonize(
    picture: list[Same], *, style: str | Path | Style = ..., **options: Unpack[SavingOptions]
) -> list[Same]: ...
@overload
def cartoonize(
    picture: Iterator[Shown], *, style: str | Path | Style = ..., **options: Unpack[Options]
) -> Iterator[Image.Image]: ...
@overload
def cartoonize(
    picture: Iterator[Same], *, style: str | Path | Style = ..., **options: Unpack[SavingOptions]
) -> Iterator[Same]: ...
def cartoonize(
    picture: Any,
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
    jobs: int | None = None,
) -> Any:
    """Turn photos into cartoons of the same size.

    Args:
        picture: a file's path; a file's bytes; a Pillow image of any mode; or an array of uint8 or
            uint16 and shape (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, in sRGB. Bytes of an animation
            give an animation; a path gives the first frame, with a message in the log, and an
            animated Pillow image the frame it is at: one Pillow image has no room for more. Or
            many of these: a list, or an iterator, of which a few are taken ahead.
        style: a style's name, its folder, or what `load_style` returned. A style named here stays
            loaded for the next call.
        strength: 0..1, from the photo itself to the full cartoon.
        resolution: the short side, in pixels, at which the network works; "native" for the
            picture's own; None for the style's.
        surface: 0..2, for styles with this knob: more of it paints with a smoother brush; None for
            1, as trained. `toonbox styles` lists each style's knobs.
        structure: the same; more of it makes flatter and fewer areas of colour.
        texture: the same; more of it draws stronger outlines.
        max_pixels: the largest width times height that is read from a path or bytes; all frames of
            an animation count together.
        max_memory: bytes that this process may take; the network works in smaller tiles then. None
            for three quarters of the machine's.
        format: what to write for bytes: jpeg, png, webp, avif, tiff, bmp, gif or ppm; None for the
            picture's own. This and the next two are for bytes only.
        quality: 1..100, of JPEG, WebP and AVIF; None for 95.
        lossless: keep every value, or fail.
        metadata: "keep", "strip" or "no-gps": EXIF, XMP, IPTC, resolution and comments.
        jobs: of many pictures, how many at a time; None for one on each core.
    Returns:
        A Pillow image (RGB, or L if the picture is grey, with alpha RGBA or LA) for a path or an
        image; bytes in the same format for bytes (JPEG for HEIC and PNG for others that cannot be
        written); an array of the same shape and type for an array. All are in the colours of the
        picture: an image carries the picture's profile. Bytes keep the 16 bits of PNG and TIFF. A
        list of these for a list, an iterator for an iterator, in the same order.
    Raises:
        PictureError: the picture cannot be read.
        StyleError: there is no such style, or it is damaged.
        ShapeError: the array is not of a shape and type above.
        UsageError: an option is out of range or of no use, or a knob that the style does not have.
        OutputError: the bytes' format cannot hold the result.
        UnexpectedError: anything else that a library raises for the picture.
        All of these name the picture. An iterator first gives the cartoons of those before it, and
        then has come to its end. A list gives none.
    """
    look: Look = {
        "strength": strength,
        "resolution": resolution,
        "surface": surface,
        "structure": structure,
        "texture": texture,
    }
    saving: Saving = {
        "format": format,
        "quality": quality,
        "lossless": lossless,
        "metadata": metadata,
    }
    several = isinstance(picture, list | Iterator)
    jobs = jobs_for(picture, jobs) if several else 1
    way = _Way(Memory(_network(style).shared(jobs), max_memory), look, saving, max_pixels)
    if not several:
        return way.follow((picture, ""))
    many = ((one, f" {number}") for number, one in enumerate(picture))
    cartoons = at_a_time(many, way.follow, jobs)
    return list(cartoons) if isinstance(picture, list) else cartoons


@dataclass(frozen=True)
class _Way:
    """What has been told about every picture."""

    memory: Memory
    look: Look
    saving: Saving
    max_pixels: int

    def follow(self, numbered: tuple[Any, str]) -> Image.Image | bytes | PhotoArray:
        name = _name(*numbered)
        with failing_alone(name):
            return self.cartoon(numbered[0], name)

    def cartoon(self, picture: Any, name: str) -> Image.Image | bytes | PhotoArray:
        if isinstance(picture, bytes):
            return self.bytes_of(picture, name)
        told = self.saving
        if told.get("format") or told.get("quality") is not None or told.get("lossless"):
            raise UsageError("format, quality and lossless are for bytes; say them when you save")
        if isinstance(picture, str | Path):
            self.refuse_too_large(Path(picture), name)
        read = _read(picture, name, self.max_pixels)
        photo = replace(read, metadata=read.metadata.kept(told.get("metadata", "keep")))
        cartoon = cartoon_of(photo, self.memory.style, **self.look)
        return (
            _to_array(photo, cartoon)
            if isinstance(picture, np.ndarray)
            else to_image(photo, cartoon)
        )

    def bytes_of(self, picture: bytes, name: str) -> bytes:
        self.refuse_too_large(picture, name)
        limit, style = self.max_pixels, self.memory.style
        photo, format = read_photo(picture, None, self.saving, max_pixels=limit, name=name)
        cartoon = draw(photo, format, style, self.saving, over=True, **self.look)
        return encode_cartoon(photo, cartoon, format, self.saving)

    def refuse_too_large(self, picture: bytes | Path, name: str) -> None:
        refuse_too_large(
            picture,
            self.memory,
            self.saving.get("format"),
            self.look.get("resolution"),
            max_pixels=self.max_pixels,
            name=name,
        )


def _network(style: str | Path | Style) -> stylize.Style:
    return style.network if isinstance(style, Style) else _loaded(find_style(style).resolve())


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path) -> stylize.Style:
    return stylize.load_style(folder)


def _name(picture: Any, number: str) -> str:
    match picture:
        case str() | Path():
            return str(picture)
        case bytes():
            return f"<bytes{number}>"
        case Image.Image():
            return f"<image{number}>"
        case np.ndarray():
            return f"<array{number}>"
    raise TypeError(
        f"a picture{number} is a path, bytes, a Pillow image or an array, not {type(picture)}"
    )


def _read(picture: str | Path | Image.Image | PhotoArray, name: str, max_pixels: int) -> Picture:
    if isinstance(picture, str | Path):
        return decode(Path(picture), max_pixels=max_pixels)
    if isinstance(picture, Image.Image):
        return read_image(picture, name)
    return _read_array(picture, name)


def _read_array(array: PhotoArray, name: str) -> Picture:
    right_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype not in (np.uint8, np.uint16) or not right_shape or array.size == 0:
        raise ShapeError(
            f"{name}: expected uint8 or uint16 of shape (H, W), (H, W, 3) or (H, W, 4), "
            f"got {array.dtype} {array.shape}"
        )
    if array.ndim == 2:
        return Picture(name, np.repeat(array[..., None], 3, axis=2), colours=GreyColours())
    alpha = array[..., 3] if array.shape[2] == 4 else None
    return Picture(name, np.ascontiguousarray(array[..., :3]), alpha)


def _to_array(photo: Picture, cartoon: PhotoArray) -> PhotoArray:
    if photo.grey:
        return np.ascontiguousarray(cartoon[..., 0])
    return cartoon if photo.alpha is None else np.dstack([cartoon, photo.alpha])
