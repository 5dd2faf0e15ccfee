"""What a picture's EXIF data say about the photo, without what they say about the old file."""

import logging
import struct

from PIL import ExifTags, Image

# What to keep is listed, not what to drop: the rest may describe the old file's layout.
_KEPT_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Rating,
    ExifTags.Base.Copyright,
)
_KEPT_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# The orientation is applied to the pixels, which may swap these two.
_STALE_TAGS = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)


_logger = logging.getLogger(__name__)


def kept_exif(image: Image.Image, name: str) -> bytes | None:
    """Collect the tags that are also true of a cartoon of the picture.

    Args:
        image: as opened; its orientation is left out, because it gets applied to the pixels.
        name: what messages call it.
    Returns:
        EXIF data as Pillow writes them, None if there is nothing to keep. Data too damaged to be
        written again are left out, which is logged.
    """
    kept = Image.Exif()
    try:
        found = image.getexif()
        for tag in _KEPT_TAGS:
            if tag in found:
                kept[tag] = found[tag]
        for folder in _KEPT_FOLDERS:
            values = {k: v for k, v in found.get_ifd(folder).items() if k not in _STALE_TAGS}
            if values:
                kept.get_ifd(folder).update(values)
        data = kept.tobytes()
    except (LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        _logger.warning("%s: its EXIF data are damaged and are left out", name)
        return None
    return data if data != Image.Exif().tobytes() else None
