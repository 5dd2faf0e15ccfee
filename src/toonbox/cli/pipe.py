"""`-` for a photo or -o: standard input and output."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from toonbox.cli.photos import progress
from toonbox.cli.targets import choose_target, is_folder
from toonbox.errors import OutputError, UsageError, failing_alone

if TYPE_CHECKING:
    from toonbox.convert.job import Saving
    from toonbox.engine.stylize import Look, Style

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
        raise UsageError("through - goes one photo only")
    if photo == Path(PIPE) and sys.stdin.isatty():
        raise UsageError("standard input is a terminal, not a picture")
    if output not in (None, PIPE):
        if is_folder(output or ""):
            raise UsageError(f"{output} is a folder; a photo from standard input needs a file name")
        return
    if as_json:
        raise UsageError("--json and the picture cannot both go to standard output")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal; give -o FILE, or send it on")


def cartoonize_pipe(
    photo: Path,
    output: str | None,
    style: "Style",
    *,
    max_pixels: int,
    max_memory: int | None,
    force: bool,
    saving: "Saving",
    look: "Look",
) -> None:
    """Follow one picture that comes or goes through a pipe.

    The format is the one of `saving`, that of the suffix of `output`, or the photo's own, which its
    content decides.

    Raises:
        PictureError, UsageError, OutputError, UnexpectedError: as in `cartoonize_file`.
    """
    from toonbox.convert.job import (
        draw,
        encode_cartoon,
        read_photo,
        refuse_existing,
        refuse_too_large,
        write_file,
    )
    from toonbox.convert.memory import Memory

    memory = Memory(style, max_memory)
    wanted = saving.get("format")
    target = None if output in (None, PIPE) else choose_target(photo, output, format=wanted)
    if target is not None and not force:
        refuse_existing(target)
    source = sys.stdin.buffer.read() if photo == Path(PIPE) else photo
    name = "standard input" if photo == Path(PIPE) else str(photo)
    resolution = look.get("resolution")
    with failing_alone(name):
        refuse_too_large(source, memory, wanted, resolution, max_pixels=max_pixels, name=name)
        picture, format = read_photo(source, target, saving, max_pixels=max_pixels, name=name)
        with progress("", 1) as step:
            how = (format, memory.style, saving)
            cartoon = draw(picture, *how, over=True, on_frame=step.frame, **look)
        data = encode_cartoon(picture, cartoon, format, saving)
    if target is None:
        _write_out(data)
    else:
        write_file(target, data)
        typer.echo(f"{photo} -> {target}")


def _write_out(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # Python would try once more, and complain, as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error
