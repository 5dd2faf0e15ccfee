"""Formats and their suffixes; find pictures in folders, and name their cartoons."""

import os.path
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from toonbox.atomic import is_dir, is_file
from toonbox.errors import OutputError, UsageError


@dataclass(frozen=True)
class Container:
    """A kind of video file that we write: FFmpeg's muxer, the usual codec and all that it takes."""

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


def container_of(target: Path) -> Container:
    """Find the kind of a video file by its name; raise UsageError if it cannot be written."""
    try:
        return CONTAINERS[target.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"cannot write a video as {target.suffix or target}, only {' '.join(CONTAINERS)}"
        ) from None


# The suffixes of the formats that are written, by Pillow's names; the usual one first.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
SUFFIXES = {suffix: format for format, suffixes in _SUFFIXES.items() for suffix in suffixes}
USUAL_SUFFIXES = {format: suffixes[0] for format, suffixes in _SUFFIXES.items()}
# Photos of phones, which are only read.
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
READ_SUFFIXES = frozenset({*SUFFIXES, *HEIF_SUFFIXES})

WITHOUT_ALPHA = ("JPEG", "BMP", "PPM")
WITHOUT_PROFILE = ("BMP", "GIF", "PPM")
SIXTEEN_BITS = ("PNG", "TIFF")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_LOSSLESS = ("PNG", "TIFF", "WEBP", "BMP", "PPM")


def format_named(name: str) -> str:
    """Return Pillow's name for a suffix, with or without its dot; raise UsageError if unknown."""
    try:
        return SUFFIXES[f".{name.lower().removeprefix('.')}"]
    except KeyError:
        known = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise UsageError(f"cannot write {name}, only {known}") from None


def toon_suffix(suffix: str, format: str | None = None) -> str:
    """Choose the suffix of a cartoon from that of its photo or video, which may be empty.

    A photo whose format is not written becomes PNG, or JPEG for HEIC; such a video becomes MP4. A
    `format` of pictures is ignored for videos; raise UsageError if there is no such format.
    """
    own, wanted = suffix.lower(), f".{format.lower().removeprefix('.')}" if format else ""
    if own in VIDEO_SUFFIXES or (own == ".gif" and wanted in VIDEO_SUFFIXES):
        if wanted in CONTAINERS and wanted != own:
            return wanted
        if format is not None and wanted not in CONTAINERS:
            format_named(format)
        return suffix if own in CONTAINERS else ".mp4"
    if format is not None and SUFFIXES.get(own) != format_named(format):
        return USUAL_SUFFIXES[format_named(format)]
    if own in SUFFIXES:
        return suffix
    return ".jpg" if own in HEIF_SUFFIXES else ".png"


def writable_format(format: str, *, transparent: bool = False) -> str:
    """Name the format to write for one that was read: JPEG for opaque HEIC, PNG for others."""
    if format in SUFFIXES.values():
        return format
    return "JPEG" if format == "HEIF" and not transparent else "PNG"


def check_options(format: str, quality: int | None, lossless: bool) -> None:
    """Raise UsageError for a quality out of 1..100, OutputError if `lossless` is impossible."""
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, got {quality}")
    if lossless and format not in _LOSSLESS:
        names = ", ".join(name.lower() for name in _LOSSLESS)
        raise OutputError(f"{format} is never lossless; --format can be {names}")


_MARK = ".toon"


@dataclass(frozen=True)
class Found:
    """The pictures below a folder, sorted, and (folder, reason) of what cannot be listed."""

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

    Links are followed, but each folder is searched once, without a link if possible.

    Args:
        include: globs, of which one must fit the path below `folder` or the bare name, small and
            capital letters alike; `*` fits slashes too. Without any, all pictures are found.
        exclude: globs of pictures and whole folders to leave out.
        output: a folder to leave out, unless it is `folder` itself.
        videos: whether videos count as pictures.
    """
    pictures: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    suffixes = READ_SUFFIXES | VIDEO_SUFFIXES if videos else READ_SUFFIXES
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
            below = path.relative_to(folder)
            if path.name.startswith(".") or (exclude and _fits(below, exclude)):
                continue
            if is_dir(path):
                (links if path.is_symlink() else folders).append(path)
            elif (
                path.suffix.lower() in suffixes
                and not path.stem.endswith(_MARK)
                and (not include or _fits(below, include))
                and is_file(path)
            ):
                pictures.append(path)
    return Found(sorted(pictures), sorted(unreadable))


def cartoon_name(picture: Path, format: str | None = None) -> str:
    """Name the cartoon of a single picture, a.toon.jpg; `format` as in `toon_suffix`."""
    return f"{picture.stem}{_MARK}{toon_suffix(picture.suffix, format)}"


def own_cartoons(pictures: Collection[Path]) -> set[Path]:
    """Return those that are named as the cartoon, in any format, of another beside them."""
    sources = {(each.parent, name) for each in pictures for name in (each.stem, each.name)}
    marked = (each for each in pictures if each.stem.endswith(_MARK))
    return {each for each in marked if (each.parent, each.stem.removesuffix(_MARK)) in sources}


def cartoon_below(
    picture: Path, folder: Path, output: Path | None = None, format: str | None = None
) -> Path:
    """Choose the file for the cartoon of a picture found in `folder`, from its name alone.

    Where the format changes the old suffix stays in the name (a.heic becomes a.heic.toon.jpg), or
    a.heic and a.jpg would meet.

    `output` is the folder for the tree of cartoons; None puts each beside its picture. `format` and
    errors are those of `toon_suffix`.
    """
    suffix = toon_suffix(picture.suffix, format)
    name = f"{picture.stem if suffix == picture.suffix else picture.name}{_MARK}{suffix}"
    parent = picture.parent if output is None else output / picture.parent.relative_to(folder)
    return parent / name


def _fits(below: Path, globs: Collection[str]) -> bool:
    names = below.as_posix().lower(), below.name.lower()
    patterns = [glob.lower().removeprefix("**/").rstrip("/") for glob in globs]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
