"""Encode pictures: the pixels and the metadata that each format can hold."""

import errno
import io
import logging
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from toonbox.errors import OutputError
from toonbox.images import formats
from toonbox.images.metadata import IPTC_RESOURCE, metadata_options, read_metadata
from toonbox.images.picture import Picture
from toonbox.images.streaming import FORMATS, write_jpeg, write_png, write_tiff
from toonbox.pixels import PhotoArray, strips_of, to_eight_bits, white

QUALITY = 95

_logger = logging.getLogger(__name__)


class CartoonImage(Image.Image):
    """A Pillow image whose `save` writes the profile and metadata in its `info`, as do its copies.

    An option of `save` takes the place of what `info` has.
    """

    text: dict[str, str]  # where Pillow has those of a PNG

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Save as Pillow does; warn of metadata that the format cannot hold."""
        file = getattr(fp, "name", fp)
        name = os.fsdecode(file) if isinstance(file, str | bytes | os.PathLike) else "<image>"
        written = format.upper() if format else formats.SUFFIXES.get(Path(name).suffix.lower(), "")
        if written in formats.SUFFIXES.values():
            metadata = replace(read_metadata(self, name), exif=self.info.get("exif"))
            kept = metadata_options(metadata, written, name)
            if "icc_profile" in self.info and written not in formats.WITHOUT_PROFILE:
                kept["icc_profile"] = self.info["icc_profile"]
            if written == "TIFF" and params.get("compression") not in (None, "raw"):
                for folder in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                    if kept["exif"].pop(folder, None) is not None:
                        text = "%s: left out, as Pillow cannot compress a TIFF that has it: %s"
                        _logger.warning(text, name, folder.name)
            params = kept | params
        super().save(fp, format, **params)

    def _new(self, im: Any) -> Image.Image:
        made = super()._new(im)
        made.__class__ = type(self)
        assert isinstance(made, CartoonImage)
        made.text = dict(getattr(self, "text", {}))
        return made


def to_image(picture: Picture, rgb: PhotoArray) -> CartoonImage:
    """Make a Pillow image of `rgb` (H, W, 3), of 8 bits, with all else from `picture`."""
    image = CartoonImage()._new(image_of(picture, to_eight_bits(rgb)).im)
    assert isinstance(image, CartoonImage)
    metadata = picture.metadata
    kept = {
        "icc_profile": picture.icc_profile,
        "exif": metadata.exif,
        "xmp": metadata.xmp,
        "photoshop": {IPTC_RESOURCE: metadata.iptc} if metadata.iptc else None,
        "dpi": metadata.dpi,
        "comment": metadata.comment,
    }
    image.info.update({key: value for key, value in kept.items() if value is not None})
    image.text = dict(metadata.texts)
    return image


def encode(
    picture: Picture,
    rgb: PhotoArray,
    format: str,
    quality: int | None = None,
    lossless: bool = False,
) -> bytes:
    """Encode `rgb` (H, W, 3) with the transparency and metadata of `picture`.

    Args:
        picture: provides everything but the colours.
        rgb: same height and width as the picture, in its colours.
        format: one that can be written, as Pillow names it.
        quality: 1..100, of JPEG, WebP and AVIF; None for 95.
        lossless: keep every value, or fail.
    Returns:
        The file's bytes, of 16 bits if `rgb` and the format have them. A format without
        transparency gets a white background, one without profiles sRGB.
    Raises:
        UsageError: quality out of range.
        OutputError: the format cannot hold this picture, or is never lossless.
    """
    formats.check_options(format, quality, lossless)
    try:
        if white(rgb) > 255 and format in formats.SIXTEEN_BITS:
            buffer, alpha = io.BytesIO(), picture.alpha
            parts = ((rgb[rows], None if alpha is None else alpha[rows]) for rows in strips_of(rgb))
            encode_strips(buffer, picture, rgb.shape, parts, format)
            return buffer.getvalue()
        options = save_options(picture, format, quality, lossless)
        _warn_of_depth(picture, rgb, format)
        values = written_rgb(picture, to_eight_bits(rgb), format)
        if picture.alpha is not None and format in formats.WITHOUT_ALPHA:
            _logger.warning(
                "%s: %s has no transparency; its background is white", picture.name, format
            )
        if format == "GIF":
            return _encode_gif(picture, values, options.get("comment"))
        with _jpeg_file() if format == "JPEG" else io.BytesIO() as file:
            image_of(picture, values, format).save(file, format, **options)
            file.seek(0)
            data = file.read()
        if format == "JPEG" and not data.endswith(b"\xff\xd9"):  # Pillow does not look
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return data
    except (KeyError, OSError, RuntimeError, ValueError, struct.error) as error:
        raise OutputError(f"{picture.name}: cannot be written as {format}: {error}") from error


def _jpeg_file() -> BinaryIO:
    """Open an empty file in memory, on Linux one with a descriptor.

    Pillow encodes a JPEG in one call, during which other threads run only if there is a descriptor.
    """
    with suppress(AttributeError, OSError):  # other systems; a sandbox that forbids it
        return os.fdopen(os.memfd_create("toonbox"), "w+b")
    return io.BytesIO()


def _warn_of_depth(picture: Picture, rgb: PhotoArray, format: str) -> None:
    if rgb.dtype == np.uint16 and format not in formats.SIXTEEN_BITS:
        _logger.warning("%s: its 16 bits become 8, as %s has no more", picture.name, format)


def _encode_gif(picture: Picture, rgb: PhotoArray, comment: str | None) -> bytes:
    from toonbox.images import gif  # loads PyAV

    alpha = None if picture.alpha is None else to_eight_bits(picture.alpha)
    pixels = gif.bgra(rgb, alpha)
    palette = gif.choose_palette([gif.frame_of(pixels)], transparent=alpha is not None)
    blocks = gif.gif_blocks([gif.frame_of(pixels)], palette, [0], plays=1, comment=comment)
    return b"".join(blocks)


def written_rgb(picture: Picture, rgb: PhotoArray, format: str) -> PhotoArray:
    """Convert (H, W, 3) to sRGB for formats without profiles."""
    if format in formats.WITHOUT_PROFILE and picture.colours is not None:
        return picture.colours.to_srgb(rgb)
    return rgb


def encode_strips(
    stream: BinaryIO,
    picture: Picture,
    size: tuple[int, ...],
    parts: Iterable[tuple[PhotoArray, PhotoArray | None]],
    format: str,
    quality: int | None = None,
    lossless: bool = False,
) -> None:
    """Encode a picture that comes in strips; otherwise as `encode`, as are the errors.

    Args:
        picture: provides everything but the pixels, of which only the type matters.
        size: height and width.
        parts: from top to bottom, (rows, W, 3), and (rows, W) if there is transparency.
        format: one of `streaming.FORMATS`.
        quality, lossless: as in `encode`.
    """
    if format not in FORMATS:
        raise OutputError(f"{picture.name}: cannot be streamed as {format}: {', '.join(FORMATS)}")
    deep = picture.rgb.dtype == np.uint16 and format in formats.SIXTEEN_BITS
    _warn_of_depth(picture, picture.rgb, format)
    model = encode_one_pixel(picture, format, quality, lossless)
    values = (_strip(replace(picture, rgb=rgb, alpha=alpha), format, deep) for rgb, alpha in parts)
    transparent = picture.alpha is not None and format not in formats.WITHOUT_ALPHA
    channels = (1 if picture.grey else 3) + transparent
    shape = (size[0], size[1], channels)
    if format == "JPEG":
        write_jpeg(stream, model, shape, values, quality or QUALITY)
    else:
        write = write_png if format == "PNG" else write_tiff
        write(stream, model, shape, 16 if deep else 8, values)


def encode_one_pixel(
    picture: Picture, format: str, quality: int | None = None, lossless: bool = False
) -> bytes:
    """Encode one black pixel with everything else of a picture; arguments as for `encode`."""
    pixel = None if picture.alpha is None else np.zeros((1, 1), np.uint8)
    one = replace(picture, rgb=np.zeros((1, 1, 3), np.uint8), alpha=pixel)
    return encode(one, one.rgb, format, quality, lossless)


def _strip(strip: Picture, format: str, deep: bool) -> PhotoArray:
    """Convert a strip to the channels that its format stores: (rows, W, C)."""
    if strip.alpha is not None and format in formats.WITHOUT_ALPHA:
        array = np.asarray(image_of(strip, to_eight_bits(strip.rgb), format))
        return array.reshape(*array.shape[:2], -1)
    values = channels_of(strip, strip.rgb)
    return values if deep else to_eight_bits(values)


def channels_of(picture: Picture, rgb: PhotoArray) -> PhotoArray:
    """Return `rgb` (H, W, 3) as (H, W, C): one channel if it is grey, and the alpha."""
    values = rgb[..., :1] if picture.grey else rgb
    return values if picture.alpha is None else np.dstack([values, picture.alpha])


def image_of(picture: Picture, rgb: PhotoArray, format: str = "PNG") -> Image.Image:
    """Make an image of `rgb` (H, W, 3), uint8, with the alpha of `picture` and no metadata.

    A format without transparency gets a white background.
    """
    image = Image.fromarray(np.ascontiguousarray(rgb[..., 0]) if picture.grey else rgb)
    if picture.alpha is None:
        return image
    mode = image.mode
    image.putalpha(Image.fromarray(to_eight_bits(picture.alpha)))
    if format not in formats.WITHOUT_ALPHA:
        return image
    background = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(background, image.convert("RGBA")).convert(mode)


def save_options(
    picture: Picture, format: str, quality: int | None, lossless: bool
) -> dict[str, Any]:
    """Return Pillow's options with metadata and profile; warn of what is lost."""
    options = metadata_options(picture.metadata, format, picture.name)
    if picture.icc_profile and format not in formats.WITHOUT_PROFILE:
        options["icc_profile"] = picture.icc_profile
    if format in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = quality or QUALITY
    if format in ("JPEG", "AVIF"):
        # Chroma subsampling would fray thin coloured outlines.
        options["subsampling"] = "4:4:4"
    if format == "AVIF" and picture.alpha is not None:
        options["advanced"] = {"alpha:lossless": "1"}
    if format == "WEBP":
        # Without `exact`, colours under full transparency are lost.
        options |= {"lossless": lossless, "exact": True}
    return options
