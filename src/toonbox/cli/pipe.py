"""`-` for a photo or -o: standard input and output."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from toonbox.atomic import refuse_existing
from toonbox.cli.progress import progress
from toonbox.cli.targets import choose_target, is_folder
from toonbox.errors import OutputError, UsageError

if TYPE_CHECKING:
    from toonbox.convert.job import Converter

PIPE = "-"


def is_piped(photos: list[Path], output: str | None) -> bool:
    """Tell whether standard input or output takes the place of a file."""
    return output == PIPE or Path(PIPE) in photos


def check_pipe(photos: list[Path], output: str | None, as_json: bool) -> None:
    """Refuse what cannot go through a pipe.

    Raises:
        UsageError: more than one picture, nothing but a terminal at its end, or more than a
            picture for standard output.
    """
    (photo, *others) = photos
    if others or photo.is_dir():
        raise UsageError("only one photo can go through -")
    if photo == Path(PIPE) and sys.stdin.isatty():
        raise UsageError("standard input is a terminal, not a picture")
    if output not in (None, PIPE):
        if is_folder(output or ""):
            raise UsageError(f"{output} is a folder; a photo from standard input needs a file name")
        return
    if as_json:
        raise UsageError("--json and the picture cannot both go to standard output")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal; give -o FILE, or redirect it")


def convert_pipe(photo: Path, output: str | None, converter: "Converter", force: bool) -> None:
    """Convert one picture that comes or goes through a pipe.

    The format is that of --format, of the suffix of `output`, or the photo's own.

    Raises:
        PictureError, UsageError, OutputError, UnexpectedError: as in `cartoonize_file`.
    """
    from toonbox.convert.job import Job

    target = None
    if output not in (None, PIPE):
        target = choose_target(photo, output, format=converter.output.format)
        if not force:
            refuse_existing(target)
    if photo == Path(PIPE):
        job = Job(Path("standard input"), target, data=sys.stdin.buffer.read())
    else:
        job = Job(photo, target)
    with progress("", 1) as step:
        data = converter.convert(job, on_frame=step.frame).data
    if target is None:
        _write_out(data)
    else:
        typer.echo(f"{photo} -> {target}")


def _write_out(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # Python would try once more, and complain, as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error
