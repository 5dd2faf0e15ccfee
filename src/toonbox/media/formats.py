"""The formats there are: what their files are called, and what they can hold."""

from toonbox.errors import OutputError, UsageError
from toonbox.media.containers import VIDEO_SUFFIXES, video_suffix

# The formats we write, as Pillow calls them.
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
}
# Phones take photos in these, which we only read.
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
READ_SUFFIXES = frozenset({*SUFFIXES, *HEIF_SUFFIXES})

_NAMES = {
    "jpg": "JPEG",
    "tif": "TIFF",
    "pnm": "PPM",
    **{format.lower(): format for format in SUFFIXES.values()},
}
_USUAL_SUFFIXES = {format: suffix for suffix, format in reversed(SUFFIXES.items())}

WITHOUT_ALPHA = ("JPEG", "BMP", "PPM")
WITHOUT_PROFILE = ("BMP", "GIF", "PPM")
SIXTEEN_BITS = ("PNG", "TIFF")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_LOSSLESS = ("PNG", "TIFF", "WEBP", "BMP", "PPM")


def format_named(name: str) -> str:
    """Find a format that can be written: jpeg, png, webp, avif, tiff, bmp, gif or ppm.

    Returns:
        Pillow's name of it.
    Raises:
        UsageError: there is none of this name.
    """
    try:
        return _NAMES[name.lower().removeprefix(".")]
    except KeyError:
        known = " ".join(sorted(set(_NAMES)))
        raise UsageError(f"cannot write {name}, only {known}") from None


def suffix_of(format: str) -> str:
    """Give the usual suffix of a format that can be written."""
    return _USUAL_SUFFIXES[format]


def toon_suffix(suffix: str, format: str | None = None) -> str:
    """Choose the suffix for the cartoon of a photo or a video.

    Args:
        suffix: the photo's, or the video's, for which see `video_suffix`. Without one, or with one
            that is not written, a photo becomes PNG, or JPEG for HEIC.
        format: the name of the format that is wanted, None for the photo's own.
    Raises:
        UsageError: there is no such format.
    """
    wanted = f".{format.lower().removeprefix('.')}" if format else ""
    if suffix.lower() in VIDEO_SUFFIXES or (suffix.lower() == ".gif" and wanted in VIDEO_SUFFIXES):
        return video_suffix(suffix, format)
    if format is not None and SUFFIXES.get(suffix.lower()) != format_named(format):
        return suffix_of(format_named(format))
    if suffix.lower() in SUFFIXES:
        return suffix
    return ".jpg" if suffix.lower() in HEIF_SUFFIXES else ".png"


def writable_format(format: str, *, transparent: bool = False) -> str:
    """Name the format to write for a picture that was read as `format`.

    HEIC becomes JPEG, for it is a photo, or PNG if it is transparent; all others become PNG.
    """
    if format in SUFFIXES.values():
        return format
    return "JPEG" if format == "HEIF" and not transparent else "PNG"


def becomes(format: str, written: str) -> str:
    """Say that a format is written as another."""
    return f"{format.replace('HEIF', 'HEIC')} cannot be written; it becomes {written}"


def check_lossless(format: str) -> None:
    """Refuse to call lossless what is not.

    Raises:
        OutputError: the format cannot keep every value.
    """
    if format not in _LOSSLESS:
        names = ", ".join(name.lower() for name in _LOSSLESS)
        raise OutputError(f"{format} is never lossless; --format can be {names}")
