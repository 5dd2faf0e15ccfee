"""What the commands that take photos share: reading their options, and going on after failures."""

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from toonbox.cli.messages import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from toonbox.engine.stylize import Look, Resolution


METAVAR = "NAME|DIR[:KEY=VALUE,...]"
KEYS = "KEY is surface, structure, texture, strength or resolution."
NUMBERS = ("surface", "structure", "texture", "strength")


def look_of(
    strength: float,
    resolution: str | None,
    surface: float | None,
    structure: float | None,
    texture: float | None,
) -> "Look":
    """Put options together.

    Raises:
        typer.BadParameter: neither pixels nor 'native' for the resolution.
    """
    return {
        "strength": strength,
        "resolution": parse_resolution(resolution),
        "surface": surface,
        "structure": structure,
        "texture": texture,
    }


def parse_style(text: str, defaults: "Look") -> tuple[str, "Look"]:
    """Take a style and its settings apart; a path may have colons of its own.

    Args:
        text: as typed.
        defaults: what it is told unless its settings say otherwise.
    Returns:
        Its name or folder, and what to tell it.
    Raises:
        typer.BadParameter: no such setting, or not a value for it; names both.
    """
    name, *settings = re.split(r":(?=\w+=)", text, maxsplit=1)
    look: dict[str, Any] = dict(defaults)
    for setting in settings[0].split(",") if settings else []:
        key, _, value = setting.partition("=")
        look[key] = _parse_setting(key, value, text)
    return name, cast("Look", look)


def _parse_setting(key: str, value: str, text: str) -> "float | Resolution":
    if key == "resolution":
        return parse_resolution(value, "--style")
    if key not in NUMBERS:
        keys = ", ".join((*NUMBERS, "resolution"))
        raise typer.BadParameter(
            f"{text}: no setting {key!r}, only {keys}.", param_hint="'--style'"
        )
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(
            f"{text}: {key} should be a number, not {value!r}.", param_hint="'--style'"
        ) from None


MAX_PIXELS = 200_000_000  # as in toonbox.images.picture, whose imports take their time
LONG = 2  # seconds that an animation takes before it gets a bar of its own


class Engine(StrEnum):
    """What runs the network."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"
    cuda = "cuda"


class EngineOrRay(StrEnum):
    """The same, or where it runs."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"
    cuda = "cuda"
    ray = "ray"


class Keep(StrEnum):
    """What becomes of EXIF, XMP, IPTC, resolution and comments."""

    KEEP = "keep"
    STRIP = "strip"
    NO_GPS = "no-gps"


def style_names() -> list[str]:
    """Name the styles there are, for completion by the shell."""
    from toonbox.engine import style

    return style.style_names()


Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTO",
        help="Pictures, or folders: then all pictures directly in them.",
        show_default=False,
    ),
]
StyleName = Annotated[
    str,
    typer.Option(
        metavar="NAME|DIR",
        help="A style's name (see `toonbox styles`) or folder.",
        autocompletion=style_names,
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
Surface = Annotated[
    float | None,
    typer.Option(
        min=0, max=2, metavar="0..2", help="More paints with a smoother brush; 1 as trained."
    ),
]
Structure = Annotated[
    float | None,
    typer.Option(
        min=0, max=2, metavar="0..2", help="More makes flatter and fewer areas of colour."
    ),
]
Texture = Annotated[
    float | None,
    typer.Option(min=0, max=2, metavar="0..2", help="More draws stronger outlines."),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="jpeg, png, webp, avif, tiff, bmp, gif or ppm; mp4, mov, mkv, webm or gif for videos. "
        "Default: as the photo or video.",
    ),
]
Quality = Annotated[
    int | None, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF. Default: 95.")
]
Lossless = Annotated[
    bool, typer.Option("--lossless", help="Keep every value; fail where a format cannot.")
]
KeptMetadata = Annotated[
    Keep, typer.Option(help="EXIF, XMP, IPTC, resolution and comments; no-gps: all but places.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
MaxPixels = Annotated[
    int,
    typer.Option(
        min=1,
        help="Refuse pictures with more pixels than this, all frames of an animation together, "
        "and videos with such frames.",
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory to keep to, such as 800M or 1.5G: smaller tiles, fewer pictures at a time, "
        "and what is too large bit by bit. Default: three quarters of the machine's.",
    ),
]

Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Of folders, only the pictures that this fits, by name or by path below the folder. "
        "May be given several times.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Of folders, leave out the pictures and folders that this fits. "
        "May be given several times.",
    ),
]
EngineName = Annotated[Engine, typer.Option("--engine", help="What runs the network.")]
EngineOrRayName = Annotated[
    EngineOrRay,
    typer.Option(
        "--engine",
        help="What runs the network; with ray, workers of a Ray cluster, each with the best "
        "engine it has.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        help="Of the cluster, with --engine ray. Default: workers on this machine only.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads for the network. Default: one for each core."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Pictures, or frames of a video, at a time, which share the threads. "
        "Default: one for each core, four frames at most.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Tell of each picture in a line of JSON on standard output."),
]


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


def parse_memory(text: str | None) -> int | None:
    """Read a size as typed: bytes, or with K, M, G or T after it, each 1024 times the one before.

    Raises:
        typer.BadParameter: not a size.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise typer.BadParameter(
            f"{text!r} is no size such as 800M or 1.5G.", param_hint="'--max-memory'"
        )
    return int(float(match[1]) * 1024 ** (" KMGT".index(match[2].upper() or " ")))


def pictures_of(photo: Path) -> list[Path]:
    """List a folder's pictures, without our own; anything else is itself."""
    from toonbox.images.formats import is_picture

    if not photo.is_dir():
        return [photo]
    found = [
        path
        for path in sorted(photo.iterdir())
        if is_picture(path) and not path.name.startswith(".")
    ]
    # An empty folder stays in the list, to be named among the failures.
    return found or [photo]


def sum_up(done: int, failed: list[Path]) -> None:
    """Say on standard error how many pictures went well, and which did not."""
    names = ": " + ", ".join(str(picture) for picture in failed) if failed else ""
    typer.echo(f"{done} done, {len(failed)} failed{names}", err=True)


class Steps:
    """Shows how far the steps of some work are on standard error, if that is a terminal.

    Call it after each step. Animations among the pictures get a bar of their own if they take long.
    """

    def __init__(self, description: str, total: int, open_bars: ExitStack) -> None:
        """Begin; a bar is shown for more than one step.

        Args:
            description: of the work.
            total: how many steps there are.
            open_bars: ends what is shown.
        """
        self._open_bars, self._turn = open_bars, threading.Lock()
        self._bars: Progress | None = None
        self._began: dict[str, float] = {}
        self._animations: dict[str, TaskID] = {}
        self._terminal = sys.stderr.isatty()
        self._whole = self._added(description, total) if total > 1 and self._terminal else None

    def __call__(self, name: str = "") -> None:
        """Count a step; take away the bar of an animation of this name."""
        with self._turn:
            self._began.pop(name, None)
            if self._bars and (ended := self._animations.pop(name, None)) is not None:
                self._bars.remove_task(ended)
            if self._whole is not None:
                self._count(self._whole)

    def frame(self, name: str, done: int, total: int) -> None:
        """Tell how far an animation is; a `picture.OnFrame`, for use by any thread."""
        if not self._terminal:
            return
        with self._turn:
            passed = time.monotonic() - self._began.setdefault(name, time.monotonic())
            shown = name in self._animations
            if not shown and passed > LONG:
                self._animations[name] = self._added(shown_name(name), total)
            if (bar := self._animations.get(name)) is not None:
                self._count(bar, done)
                if self._bars and not shown:
                    self._bars.refresh()

    def _added(self, description: str, total: int) -> "TaskID":
        if self._bars is None:
            from rich.console import Console
            from rich.progress import MofNCompleteColumn, Progress, TextColumn

            rate = TextColumn("{task.fields[rate]}", style="progress.data.speed")
            columns = (*Progress.get_default_columns(), MofNCompleteColumn(), rate)
            # Where standard output is a file or a pipe its lines must not go to the bar's console.
            bars = Progress(
                *columns,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._bars = self._open_bars.enter_context(bars)
        return self._bars.add_task(description, total=total, rate="")

    def _count(self, bar: "TaskID", done: int | None = None) -> None:
        """Let a bar go on by a step, or to so many."""
        assert self._bars is not None
        speed = next(each.speed for each in self._bars.tasks if each.id == bar)
        rate = f"{speed:.2g}/s" if speed else ""
        advance = 1 if done is None else None
        self._bars.update(bar, completed=done, advance=advance, rate=rate)


def shown_name(file: str | Path) -> str:
    """Name a file for a bar, where brackets could be markup."""
    from rich.markup import escape

    return escape(printable(Path(file).name))


@contextmanager
def progress(description: str, total: int) -> Iterator[Steps]:
    """Show a bar, rate and time left on standard error for more than one step."""
    with ExitStack() as open_bars:
        yield Steps(description, total, open_bars)
