"""Folders of pictures: which there are in them, and what their cartoons are called."""

import stat
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from toonbox.media.containers import is_video
from toonbox.media.formats import READ_SUFFIXES, toon_suffix

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
    """Search a folder and all folders below it; what is hidden and our own cartoons are left out.

    Links to folders are followed. No folder is searched twice, so that links which lead in a circle
    come to an end; of several ways to a folder that without a link is taken.

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
    seen = _output_identity(folder, output)
    folders, links = [folder], list[Path]()
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        try:
            identity = _identity(here)
            entries = [] if identity in seen else sorted(here.iterdir())
        except OSError as error:
            unreadable.append((here, error.strerror or str(error)))
            continue
        seen.add(identity)
        for path in entries:
            below, mode = path.relative_to(folder), _mode(path)
            if path.name.startswith(".") or _fits(below, exclude):
                continue
            if stat.S_ISDIR(mode):
                (links if path.is_symlink() else folders).append(path)
            elif stat.S_ISREG(mode) and (is_picture(path) or (videos and is_film(path))):
                wanted = not include or _fits(below, include)
                pictures += [path] if wanted else []
    return Found(sorted(pictures), sorted(unreadable))


def is_picture(path: Path) -> bool:
    """Tell by the name alone whether a file is a picture, and not one of our cartoons."""
    return path.suffix.lower() in READ_SUFFIXES and not path.stem.endswith(_MARK)


def is_film(path: Path) -> bool:
    """Tell by the name alone whether a file is a video, and not one of our cartoons."""
    return is_video(path) and not path.stem.endswith(_MARK)


def cartoon_name(picture: Path, format: str | None = None) -> str:
    """Name the cartoon of a picture that stands on its own: a.toon.jpg; `format` as below."""
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


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _output_identity(folder: Path, output: Path | None) -> set[tuple[int, int]]:
    try:
        return {_identity(output)} - {_identity(folder)} if output is not None else set()
    except OSError:
        return set()


def _mode(path: Path) -> int:
    """Tell what kind of thing it is, or where it links to; 0 if it leads nowhere."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
