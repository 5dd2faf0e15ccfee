"""The video files there are: what they are called, and what is written for each."""

from dataclasses import dataclass
from pathlib import Path

from toonbox.errors import UsageError


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
        """Tell whether it is QuickTime's own kind, or MP4, which was made from it."""
        return self.muxer in ("mov", "mp4")


_CODECS = ("h264", "hevc", "vp9", "av1")
GIF = Container("gif", "gif", ("gif",))  # made of the segments of a film, see `gif_film`
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
# A GIF is a picture, unless it is asked to be a film.
VIDEO_SUFFIXES = frozenset({*CONTAINERS, *_READ_ONLY} - {".gif"})


def is_video(path: Path) -> bool:
    """Tell by the name alone whether a file is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def can_be_film(path: Path) -> bool:
    """Tell by the name alone whether a file is a video, or can be read as one: a GIF."""
    return is_video(path) or path.suffix.lower() == ".gif"


def becomes_film(source: Path, target: Path) -> bool:
    """Tell by the names alone whether a video is made of a GIF."""
    return source.suffix.lower() == ".gif" and is_video(target)


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
