"""Which file the cartoon of each picture goes to."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from toonbox.atomic import exists
from toonbox.errors import OutputError, PictureError

if TYPE_CHECKING:
    from toonbox.convert.job import Job, Outcome


@dataclass
class Plan:
    """What to do with photos and folders of them, as typed.

    Attributes:
        output: what -o says, if anything.
        force: overwrite what is there.
        include, exclude: as in `find_pictures`.
        format: as in `cartoon_below`.
        videos: as in `find_pictures`.
        jobs: pictures to cartoonize; one that was named on its own fails if its target is there.
        settled: pictures of folders whose targets are there, skipped; pictures whose target is
            another's, folders without pictures and such that cannot be read, failed.
    """

    output: str | None = None
    force: bool = False
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    format: str | None = None
    videos: bool = False
    jobs: "list[Job]" = field(default_factory=list)
    settled: "list[Outcome]" = field(default_factory=list)
    _taken: dict[str, Path] = field(default_factory=dict)

    def add_all(self, photos: list[Path], several: bool) -> None:
        """Add photos and folders.

        Args:
            photos: as typed.
            several: False for one photo, which may be told its file.
        Raises:
            typer.BadParameter: the output cannot be one for these photos.
        """
        for photo in photos:
            if photo.is_dir():
                _check_folder(self.output)
                if not self.add_folder(photo):
                    wanted = " that are asked for" if self.include or self.exclude else ""
                    error = PictureError(f"is a folder without pictures{wanted}")
                    self._fail(photo, None, error)
            else:
                self.add_photo(photo, choose_target(photo, self.output, several, self.format))

    def add_photo(self, photo: Path, target: Path) -> None:
        """Add a photo that was named on its own."""
        self._claim(photo, target, "refuse")

    def add_folder(self, folder: Path) -> bool:
        """Add the pictures below a folder, if there is anything; their cartoons mirror its tree."""
        from toonbox.images.formats import cartoon_below, find_pictures

        output = Path(self.output) if self.output is not None else None
        found = find_pictures(folder, self.include, self.exclude, output, videos=self.videos)
        for unreadable, reason in found.unreadable:
            self._fail(unreadable, None, PictureError(f"cannot be read: {reason}"))
        for picture in found.pictures:
            target = cartoon_below(picture, folder, output, self.format)
            self._claim(picture, target, "skip")
        return bool(found.pictures or found.unreadable)

    def _claim(self, source: Path, target: Path, on_existing: Literal["refuse", "skip"]) -> None:
        """Add a picture; the second of two for one file fails."""
        from toonbox.convert.job import Job, Outcome

        other = self._taken.setdefault(os.path.realpath(target), source)
        if other is not source:
            clash = f"would be written to {target}, which is taken by {other}"
            self._fail(source, target, OutputError(clash))
        elif on_existing == "skip" and not self.force and exists(target):
            self.settled.append(Outcome(source, target, "skipped"))
        else:
            self.jobs.append(Job(source, target, "overwrite" if self.force else on_existing))

    def _fail(self, source: Path, target: Path | None, error: PictureError | OutputError) -> None:
        from toonbox.convert.job import Outcome

        self.settled.append(Outcome(source, target, "failed", error=error))


def choose_target(
    photo: Path, output: str | None, several: bool = False, format: str | None = None
) -> Path:
    """Choose the file to write for a photo that was named on its own.

    Args:
        photo: the photo.
        output: what -o says, if anything.
        several: whether there are more photos.
        format: the name of the format that is wanted, None for the photo's own.
    Raises:
        typer.BadParameter: the output is one file for several photos, or of a format that cannot
            be written or is not the one that is wanted.
        UsageError: there is no such format.
    """
    from toonbox.images.formats import (
        CONTAINERS,
        SUFFIXES,
        becomes_video,
        cartoon_name,
        format_named,
        is_video,
    )

    if output is None:
        return photo.with_name(cartoon_name(photo, format))
    path = Path(output)
    if is_folder(output):
        return path / cartoon_name(photo, format)
    if several:
        _check_folder(output)
        return path / cartoon_name(photo, format)
    known = [*CONTAINERS] if is_video(photo) else [*SUFFIXES]
    if becomes_video(photo, path):
        known += CONTAINERS
    if (path.suffix or is_video(photo)) and path.suffix.lower() not in known:
        raise typer.BadParameter(
            f"cannot write {path.suffix or path.name}, only {' '.join(known)}.",
            param_hint="'--output'",
        )
    if is_video(photo) or becomes_video(photo, path):
        return path
    if format and path.suffix and SUFFIXES[path.suffix.lower()] != format_named(format):
        raise typer.BadParameter(f"{output} is not called like {format}.", param_hint="'--format'")
    return path


def is_folder(output: str) -> bool:
    """Tell whether -o is a folder: there is one, or it ends like one."""
    return Path(output).is_dir() or output.endswith(("/", os.sep))


def _check_folder(output: str | None) -> None:
    """Refuse to write several cartoons to what is or looks like one file."""
    from toonbox.images.formats import CONTAINERS, SUFFIXES

    if output is None or is_folder(output):
        return
    if Path(output).suffix.lower() in {*SUFFIXES, *CONTAINERS} or Path(output).is_file():
        raise typer.BadParameter(
            f"{output} is one file, but there are several photos.", param_hint="'--output'"
        )
