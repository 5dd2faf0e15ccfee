"""The Python API for pictures: images, arrays, files, bytes."""

import functools
from pathlib import Path
from typing import Any

from toonbox.atomic import refuse_existing
from toonbox.convert.job import Converter, Job
from toonbox.engine.style import InMemory, Style, find_style, load_style
from toonbox.images.formats import cartoon_name
from toonbox.options import DEFAULT_STYLE, OutputOptions, StyleOptions, split_options


def cartoonize(
    picture: InMemory, *, style: str | Path | Style = DEFAULT_STYLE, **options: Any
) -> InMemory:
    """Turn a photo in memory into a cartoon of the same size.

    Args:
        picture: a Pillow image of any mode but I, F and La, or an array of uint8 or uint16 and
            shape (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, in sRGB. Of an animated image the current
            frame.
        style: a style's name, its folder, or what `load_style` returned. A style named here stays
            loaded for the next call.
        options: the fields of `StyleOptions`: strength, resolution, surface, structure, texture.
    Returns:
        For an image, one of mode RGB, L, RGBA or LA, in the colours of the photo, whose `save`
        keeps its profile and metadata. For an array, one of the same shape and type.
    Raises:
        StyleError: there is no such style, or it is damaged.
        ShapeError: an array of another shape or type.
        UsageError: an option that is unknown or out of range, or a knob the style does not have.
        PictureError: the image's file is damaged, or its mode is I, F or La.
        UnexpectedError: anything else that a library raises for the picture.
    """
    return loaded(style)(picture, **options)


def cartoonize_file(
    source: str | Path,
    target: str | Path | None = None,
    *,
    style: str | Path | Style = DEFAULT_STYLE,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Turn a photo or an animation in a file into a cartoon in another.

    Args:
        source: the photo.
        target: its suffix names the format, the photo's is used if it names none; None for
            NAME.toon.EXT beside the photo. Missing folders are made; it appears only when whole.
        style: as in `cartoonize`.
        overwrite: replace the target if it exists.
        options: the fields of `StyleOptions` and `OutputOptions`: format, quality, lossless,
            metadata, max_pixels, max_memory.
    Returns:
        The target.
    Raises:
        StyleError, UnexpectedError: as in `cartoonize`.
        PictureError: the photo cannot be read, or takes too much memory.
        MissingExtraError: it takes too much memory, and libvips would help.
        UsageError: as in `cartoonize`, or `max_memory` is too little for anything.
        OutputError: the target exists or cannot be written.
    """
    style_options, output = split_options(options, StyleOptions, OutputOptions)
    source = Path(source)
    name = cartoon_name(source, output.format)
    path = source.parent / name if target is None else Path(target)
    if not overwrite:
        refuse_existing(path)
    Converter(loaded(style), style_options, output).convert(Job(source, path))
    return path


def cartoonize_bytes(
    data: bytes | bytearray | memoryview,
    *,
    style: str | Path | Style = DEFAULT_STYLE,
    **options: Any,
) -> bytes:
    """Turn the bytes of a picture file into those of its cartoon.

    Args:
        data: of a photo or an animation, in any format that can be read.
        style: as in `cartoonize`.
        options: as in `cartoonize_file`.
    Returns:
        A file of the same format, JPEG for HEIC and PNG for others that cannot be written, unless
        `format` names another; the 16 bits of PNG and TIFF are kept.
    Raises:
        PictureError, UsageError, OutputError, StyleError, UnexpectedError: as in `cartoonize_file`.
    """
    style_options, output = split_options(options, StyleOptions, OutputOptions)
    converter = Converter(loaded(style), style_options, output)
    return converter.convert(Job(Path("<bytes>"), data=bytes(memoryview(data)))).data


def loaded(style: str | Path | Style) -> Style:
    """Return a loaded style; the last four that were named stay loaded."""
    return style if isinstance(style, Style) else _load(find_style(style).resolve())


@functools.lru_cache(maxsize=4)
def _load(folder: Path) -> Style:
    return load_style(folder)
