"""Picture files into arrays, with their colours, transparency and metadata."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from toonbox.errors import PictureError
from toonbox.media import sixteen
from toonbox.media.colour import Colours, GreyColours, read_colours
from toonbox.media.metadata import Metadata, read_metadata
from toonbox.media.opening import DAMAGE, load, open_image, open_stream, reason
from toonbox.media.tiff import TiffFile
from toonbox.pixels import STRIP_PIXELS, PhotoArray, Uint8Array, Uint16Array, to_eight_bits, white

MAX_PIXELS = 200_000_000

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, upright.

    Attributes:
        name: what messages call it.
        rgb: (H, W, 3) uint8 or uint16, in the picture's own colours.
        alpha: (H, W) of the same type, 255 or 65535 is opaque; None without transparency.
        format: Pillow's name of the file's format, "" if it did not come from a file.
        colours: what the values of `rgb` mean; None for sRGB.
        icc_profile: says the same to others; None if the picture has none.
        metadata: what else the file says.
    """

    name: str
    rgb: PhotoArray
    alpha: PhotoArray | None = None
    format: str = ""
    colours: Colours | None = None
    icc_profile: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def grey(self) -> bool:
        """Whether all three channels are the same by nature."""
        return isinstance(self.colours, GreyColours)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


@dataclass(frozen=True)
class Header:
    """What a file says of a picture before its pixels come.

    Attributes:
        width, height: in pixels, as in the file, before any rotation.
        format: Pillow's name.
        deep: whether it has 16 bits.
        transparent: whether it may be.
    """

    width: int
    height: int
    format: str
    deep: bool
    transparent: bool


def read_header(
    source: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Header:
    """Read no more than the header; arguments as for `decode`.

    Raises:
        PictureError: as in `decode`, as far as the header tells.
    """
    name = name or _name(source)
    with open_stream(source, name) as stream:
        try:
            image = open_image(stream, name, max_pixels)
            mode = sixteen.raw_mode(image)
            deep = sixteen.has_sixteen_bits(mode) or image.mode.startswith("I")
            deep = image.deep if isinstance(image, TiffFile) else deep
            format = image.format or ""
            return Header(image.width, image.height, format, deep, image.has_transparency_data)
        except DAMAGE as error:
            raise PictureError(f"{name}: {reason(error, stream)}") from error


def decode(
    source: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Picture:
    """Read a picture; its content decides the format, not its name.

    Args:
        source: the file, or what is in it.
        max_pixels: width times height; checked in the header, before memory is taken.
        name: what messages call it; the file's name by default.
    Returns:
        The picture, or the first one of an animation or of several pages: of 16 bits if it is grey
        or RGB of 16 bits in PNG or TIFF, or such grey in PNM; all others of 8.
    Raises:
        PictureError: missing, empty, cut off, damaged, too large, or not a picture.
    """
    name = name or _name(source)
    with open_stream(source, name) as stream:
        try:
            image = open_image(stream, name, max_pixels)
            mode = sixteen.raw_mode(image)
            load(image, name, max_pixels)
            if image.format != "PNG" or not sixteen.has_sixteen_bits(mode):
                return _read(image, name)
            low = open_image(stream, name, max_pixels)
            sixteen.expect_low_bytes(low)
            return _read(image, name, load(low, name, max_pixels), mode)
        except DAMAGE as error:
            raise PictureError(f"{name}: {reason(error, stream)}") from error


def _name(source: bytes | Path) -> str:
    return "<bytes>" if isinstance(source, bytes) else str(source)


def read_image(image: Image.Image, name: str = "<image>") -> Picture:
    """Do the same with a picture that Pillow has opened.

    Raises:
        PictureError: Pillow cannot load it, or its kind of pixels cannot be used.
    """
    try:
        image.load()
        return _read(image, name)
    except DAMAGE as error:
        raise PictureError(f"{name}: {reason(error)}") from error


def _read(image: Image.Image, name: str, low: Image.Image | None = None, mode: str = "") -> Picture:
    """Do all that is left when a picture is loaded; `low` and `mode`: see `sixteen.joined`."""
    # Phones put previews behind the photo (MPO); they are no animation.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        which = "the first" if image.tell() == 0 else "one of them"
        _logger.warning("%s: has more than one frame or page; only %s is used", name, which)
    metadata = read_metadata(image, name)
    return replace(without_metadata(image, name, low, mode), metadata=metadata)


def without_metadata(
    image: Image.Image, name: str, low: Image.Image | None = None, mode: str = ""
) -> Picture:
    """Take a loaded picture apart, but for its metadata; `low` and `mode`: see `sixteen.joined`.

    Raises:
        PictureError: its kind of pixels cannot be used; one of `opening.DAMAGE` for the rest.
    """
    format = "JPEG" if image.format == "MPO" else image.format or ""
    profile = image.info.get("icc_profile")
    if isinstance(image, TiffFile) and image.remark:
        _logger.warning("%s: %s", name, image.remark)
    if isinstance(image, TiffFile) and image.numbers is not None:
        return _of_tiff(image, image.numbers, name)
    image = _upright(image)
    if low is None:
        values = _sixteen_bit_grey(image, format)
    else:
        values = sixteen.joined(image, _upright(low), mode)
    alpha = _alpha(image, values)
    plain = image.getchannel(0) if mode == "LA;16B" else _plain(image, values, name)
    return _coloured(name, format, plain, values, alpha, profile)


def _of_tiff(image: TiffFile, numbers: PhotoArray, name: str) -> Picture:
    """Do the same with a TIFF that Pillow does not read."""
    height, width, channels = numbers.shape
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    plain = Image.frombytes(mode, (width, height), to_eight_bits(numbers).tobytes())
    profile = image.info.get("icc_profile")
    if channels == 4:
        if white(numbers) > 255:
            _logger.warning("%s: its 16 bits become 8, because CMYK is converted", name)
        return _coloured(name, "TIFF", plain, None, None, profile)
    values = np.repeat(numbers, 3, axis=2) if channels == 1 else numbers
    return _coloured(name, "TIFF", plain, values, image.opacity, profile)


def _coloured(
    name: str,
    format: str,
    plain: Image.Image,
    values: PhotoArray | None,
    alpha: PhotoArray | None,
    profile: bytes | None,
) -> Picture:
    """Find out what values mean: `values`, or those of `plain` if there are none.

    Args:
        name, format: as in `Picture`.
        plain: the picture with 8 bits, mode L, RGB or CMYK.
        values: (H, W, 3) or more, more exact.
        alpha, profile: as in `Picture`.
    """
    opened, colours, written = read_colours(plain, profile, name)
    if values is None or (written is not None and written != profile):
        rgb = _array(opened if opened.mode == "RGB" else opened.convert("RGB"))
        alpha = None if alpha is None else to_eight_bits(alpha)
    else:
        rgb = np.ascontiguousarray(values[..., :3])
    return Picture(name, rgb, alpha, format, colours, written)


def _sixteen_bit_grey(image: Image.Image, format: str) -> Uint16Array | None:
    """Three equal channels, (H, W, 3), of a picture that Pillow holds with 16 bits."""
    if not image.mode.startswith("I;16") and not (image.mode == "I" and format == "PPM"):
        return None
    values = np.asarray(image).astype(np.uint16)
    return np.repeat(values[..., None], 3, axis=2)


def _alpha(image: Image.Image, values: Uint16Array | None) -> PhotoArray | None:
    if values is not None and values.shape[2] == 4:
        return values[..., 3].copy()
    if not image.has_transparency_data:
        return None
    if values is not None:
        # One colour is transparent. Pillow would compare after clipping at 255.
        transparent = (values == image.info["transparency"]).all(axis=-1)
        return np.where(transparent, 0, 65535).astype(np.uint16)
    return np.array(image.convert("RGBA").getchannel("A"))


def _plain(image: Image.Image, values: Uint16Array | None, name: str) -> Image.Image:
    """Bring any kind of pixels to L, RGB or CMYK, of 8 bits."""
    if values is not None and image.mode.startswith("I"):
        return Image.fromarray(to_eight_bits(values[..., 0]))
    if image.mode in ("I", "F"):
        raise PictureError(f"{name}: has 32-bit values without a known white; save it with 8 or 16")
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    if image.mode == "P":
        # Pillow warns about transparency on the direct way.
        image = image.convert("RGBA")
    return image if image.mode in ("RGB", "CMYK") else image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Apply the orientation; a picture that stands upright already is not copied."""
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _array(image: Image.Image) -> Uint8Array:
    """Copy the pixels, (H, W, 3), in strips: Pillow would need room for a second copy."""
    array = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        array[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return array
