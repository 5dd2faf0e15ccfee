"""What the commands that take photos share: reading their options, and going on after failures."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toonbox.errors import ToonboxError

if TYPE_CHECKING:
    from toonbox.engine.stylize import Resolution

MAX_PIXELS = 200_000_000  # as in toonbox.media.images, whose imports take their time

Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTO",
        help="Pictures, or folders: then all pictures directly in them.",
        show_default=False,
    ),
]
Strength = Annotated[
    float, typer.Option(min=0, max=1, help="From the photo itself to the full cartoon.")
]
WorkingResolution = Annotated[
    str | None,
    typer.Option(
        metavar="N|native",
        help="Short side, in pixels, at which the network works. Default: the style's.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse pictures with more pixels than this.")]


def style_names() -> list[str]:
    """Name the styles there are, for completion by the shell."""
    from toonbox.engine import style

    return style.style_names()


def parse_resolution(text: str | None, option: str = "--resolution") -> "Resolution":
    """Read a resolution as typed.

    Raises:
        typer.BadParameter: neither pixels nor 'native'; names the option.
    """
    if text is None:
        return None
    if text == "native":
        return "native"
    if not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter(
            f"{text!r} is neither a number of pixels nor 'native'.", param_hint=f"'{option}'"
        )
    return int(text)


def pictures_of(photo: Path) -> list[Path]:
    """List a folder's pictures, without our own; anything else is itself."""
    from toonbox.media.formats import READ_SUFFIXES

    if not photo.is_dir():
        return [photo]
    found = [
        path
        for path in sorted(photo.iterdir())
        if path.suffix.lower() in READ_SUFFIXES
        and not path.stem.endswith(".toon")
        and not path.name.startswith(".")
    ]
    # An empty folder stays in the list, to be named among the failures.
    return found or [photo]


def report(picture: Path, error: ToonboxError) -> None:
    """Say on standard error which picture failed and why."""
    message = str(error)
    named = message.startswith(f"{picture}: ")
    typer.echo(f"toonbox: {message}" if named else f"toonbox: {picture}: {message}", err=True)


def sum_up(done: int, failed: list[Path]) -> None:
    """Say on standard error how many pictures went well, and which did not."""
    names = ": " + ", ".join(str(picture) for picture in failed) if failed else ""
    typer.echo(f"{done} done, {len(failed)} failed{names}", err=True)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error while there is more than one step; give its step."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    # Where standard output is a file or a pipe its lines must not go to the bar's console.
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)
