"""Formats and their suffixes; find pictures in folders, and name their cartoons."""

import os.path
import stat
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from toonbox.errors import OutputError, UsageError


@dataclass(frozen=True)
class Container:
    """A kind of video file that we write.

    Attributes:
        muxer: FFmpeg's name of it.
        codec: what its pictures are written as, unless told otherwise: what browsers play.
        codecs: all that they can be written as.
    """

    muxer: str
    codec: str
    codecs: tuple[str, ...]

    @property
    def is_quicktime(self) -> bool:
        """Return whether it is QuickTime's own kind, or MP4, which was made from it."""
        return self.muxer in ("mov", "mp4")


_CODECS = ("h264", "hevc", "vp9", "av1")
GIF = Container("gif", "gif", ("gif",))  # made of the segments of a video, see `gif_film`
CONTAINERS = {
    ".mp4": Container("mp4", "h264", _CODECS),
    ".m4v": Container("mp4", "h264", _CODECS),
    ".mov": Container("mov", "h264", ("h264", "hevc")),
    ".mkv": Container("matroska", "h264", _CODECS),
    ".webm": Container("webm", "vp9", ("vp9", "av1")),
    ".gif": GIF,
}
# Other containers than these become MP4.
_READ_ONLY = (".avi", ".3gp", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg")
# A GIF is a picture, unless it is asked to be a video.
VIDEO_SUFFIXES = frozenset({*CONTAINERS, *_READ_ONLY} - {".gif"})


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its name alone."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def becomes_video(source: Path, target: Path | None = None) -> bool:
    """Return whether the source is a video, or a GIF whose target, if it is known, is a video."""
    gif = source.suffix.lower() == ".gif"
    return is_video(source) or (gif and (target is None or is_video(target)))


def video_suffix(suffix: str, format: str | None = None) -> str:
    """Choose the suffix for the cartoon of a video.

    Args:
        suffix: the video's; what is not written becomes MP4.
        format: mp4, mov, mkv, webm or gif; the name of a format of pictures says nothing about
            videos.
    """
    wanted = f".{format.lower().removeprefix('.')}" if format else suffix.lower()
    if wanted in CONTAINERS and wanted != suffix.lower():
        return wanted
    return suffix if suffix.lower() in CONTAINERS else ".mp4"


def container_of(target: Path) -> Container:
    """Find the kind of a video file to write, by its name.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        return CONTAINERS[target.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"cannot write a video as {target.suffix or target}, only {' '.join(CONTAINERS)}"
        ) from None


# The formats that are written, by Pillow's names.
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
# Photos of phones, which are only read.
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
READ_SUFFIXES = frozenset({*SUFFIXES, *HEIF_SUFFIXES})

USUAL_SUFFIXES = {format: suffix for suffix, format in reversed(SUFFIXES.items())}

WITHOUT_ALPHA = ("JPEG", "BMP", "PPM")
WITHOUT_PROFILE = ("BMP", "GIF", "PPM")
SIXTEEN_BITS = ("PNG", "TIFF")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_LOSSLESS = ("PNG", "TIFF", "WEBP", "BMP", "PPM")


def format_named(name: str) -> str:
    """Return Pillow's name of the format of a suffix, with or without its dot.

    Raises:
        UsageError: no such format can be written.
    """
    try:
        return SUFFIXES[f".{name.lower().removeprefix('.')}"]
    except KeyError:
        known = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise UsageError(f"cannot write {name}, only {known}") from None


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
        return USUAL_SUFFIXES[format_named(format)]
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


def check_options(format: str, quality: int | None, lossless: bool) -> None:
    """Check how a picture is to be encoded.

    Raises:
        UsageError: the quality is not from 1 to 100.
        OutputError: the format cannot keep every value.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, got {quality}")
    if lossless and format not in _LOSSLESS:
        names = ", ".join(name.lower() for name in _LOSSLESS)
        raise OutputError(f"{format} is never lossless; --format can be {names}")


_MARK = ".toon"


@dataclass(frozen=True)
class Found:
    """What is in a folder.

    Attributes:
        pictures: every picture below it that is wanted, sorted.
        unreadable: (folder, reason) of each folder that cannot be listed.
    """

    pictures: list[Path]
    unreadable: list[tuple[Path, str]]


def find_pictures(
    folder: Path,
    include: Collection[str] = (),
    exclude: Collection[str] = (),
    output: Path | None = None,
    *,
    videos: bool = False,
) -> Found:
    """Find the pictures in a folder and below; skip hidden ones and our own cartoons.

    Links to folders are followed, but each folder is searched once, by a path without links if
    there is one.

    Args:
        folder: where to begin.
        include: globs; if there are any, only pictures that one of them fits. They are matched
            with the path below `folder` and with the bare name, small and capital letters alike;
            `*` fits slashes too.
        exclude: globs; leaves out the pictures that one of them fits, and such folders whole.
        output: a folder to leave out, unless it is `folder` itself.
        videos: whether videos count as pictures.
    """
    pictures: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    seen = set() if output is None else {os.path.realpath(output)} - {os.path.realpath(folder)}
    folders, links = [folder], list[Path]()
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(here)
        try:
            entries = [] if real in seen else sorted(here.iterdir())
        except OSError as error:
            unreadable.append((here, error.strerror or str(error)))
            continue
        seen.add(real)
        for path in entries:
            below, mode = path.relative_to(folder), _mode(path)
            if path.name.startswith(".") or _fits(below, exclude):
                continue
            if stat.S_ISDIR(mode):
                (links if path.is_symlink() else folders).append(path)
            elif stat.S_ISREG(mode) and (is_picture(path) or (videos and is_source_video(path))):
                wanted = not include or _fits(below, include)
                pictures += [path] if wanted else []
    return Found(sorted(pictures), sorted(unreadable))


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture, and not one of our cartoons, by its name alone."""
    return path.suffix.lower() in READ_SUFFIXES and not path.stem.endswith(_MARK)


def is_source_video(path: Path) -> bool:
    """Return whether a file is a video, and not one of our cartoons, by its name alone."""
    return is_video(path) and not path.stem.endswith(_MARK)


def cartoon_name(picture: Path, format: str | None = None) -> str:
    """Name the cartoon of a single picture, a.toon.jpg; `format` as in `cartoon_below`."""
    return f"{picture.stem}{_MARK}{toon_suffix(picture.suffix, format)}"


def cartoon_below(
    picture: Path, folder: Path, output: Path | None = None, format: str | None = None
) -> Path:
    """Choose the file for the cartoon of a picture found in `folder`.

    Where the format changes the old suffix stays in the name (a.heic becomes a.heic.toon.jpg), or
    a.heic and a.jpg would meet. The name follows from the picture's alone, never from what else is
    in the folder: what was done before is found again, whatever has come since.

    Args:
        picture: as `find_pictures` gave it.
        folder: where it was found.
        output: the folder for the tree of cartoons; None puts each beside its picture.
        format: the name of the format that is wanted, None for the picture's own.
    Raises:
        UsageError: there is no such format.
    """
    suffix = toon_suffix(picture.suffix, format)
    name = f"{picture.stem if suffix == picture.suffix else picture.name}{_MARK}{suffix}"
    parent = picture.parent if output is None else output / picture.parent.relative_to(folder)
    return parent / name


def _fits(below: Path, globs: Collection[str]) -> bool:
    names = below.as_posix().lower(), below.name.lower()
    patterns = [glob.lower().removeprefix("**/").rstrip("/") for glob in globs]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _mode(path: Path) -> int:
    """Return the mode of a path, or of what it links to; 0 for a broken link."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
