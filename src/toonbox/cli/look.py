"""`toonbox look`: the drawn looks that styles learn, to list, to copy and to preview."""

from pathlib import Path

from typer import Argument, Option, Typer, echo

from toonbox.atomic import writing
from toonbox.cli.options import FORCE
from toonbox.cli.terminal import needs
from toonbox.errors import OutputError, UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SURFACE, STRUCTURE, TEXTURE = (
    Option(1.0, min=0, max=2, help=text)
    for text in ("Brush smoothness.", "Flatness of the areas.", "Strength of the outlines.")
)

look = Typer(rich_markup_mode=None, no_args_is_help=True)


@look.callback()
def about() -> None:
    """List, copy and preview the looks that a style can learn to draw.

    \b
    Examples:
      toonbox look list
      toonbox look show comic > my.toml
      toonbox look preview photo.jpg --look my.toml
      toonbox train --photos DIR --look my.toml --out runs/mine
    """


def look_names() -> list[str]:
    """List the shipped looks, for completion by the shell."""
    with needs("train"):
        from toonbox.learn.looks import look_names as names
    return names()


@look.command("list")
def list_all() -> None:
    """List the shipped looks."""
    names = look_names()
    width = max(map(len, names))
    for name in names:
        first = _text(name).partition("\n")[0]
        echo(f"{name.ljust(width)}  {first.removeprefix('# ')}")


@look.command()
def show(name: str = Argument(..., help="Name of a look.", autocompletion=look_names)) -> None:
    """Print a look as TOML, to adapt in a file of your own.

    Example: toonbox look show comic > my.toml
    """
    echo(_text(name), nl=False)


def _text(name: str) -> str:
    with needs("train"):
        from toonbox.learn.looks import look_file
    return look_file(name).read_text(encoding="utf-8")


@look.command()
def preview(
    photo: Path = Argument(..., exists=True, dir_okay=False, help="A photo."),
    name: str = Option(
        "comic",
        "--look",
        "--config",
        metavar="NAME|FILE",
        help="A shipped look, or one of your own in a TOML file.",
        autocompletion=look_names,
    ),
    out: Path | None = Option(
        None, "--out", "-o", metavar="FILE", help="Default: photo.LOOK.png beside the photo."
    ),
    surface: float = SURFACE,
    structure: float = STRUCTURE,
    texture: float = TEXTURE,
    force: bool = FORCE,
) -> None:
    """Preview the drawing that a network would learn from, at 512 pixels.

    \b
    Examples:
      toonbox look preview photo.jpg --look anime
      toonbox look preview photo.jpg --look my.toml --texture 2 --force
    """
    with needs("train"):
        from PIL import Image

        from toonbox.learn.inspect import read_scaled
        from toonbox.learn.looks import load_look
        from toonbox.learn.representations.drawing import DESIGNED_SIDE, Layers

    chosen = load_look(name)
    target = out or photo.with_suffix(f".{Path(name).stem}.png")
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{target}: cannot be written; choose one of {', '.join(SUFFIXES)}")
    if target.exists() and (not force or target.samefile(photo)):
        raise OutputError(f"{target} exists already; --force overwrites it, but never the photo")
    layers = Layers.of(read_scaled(photo, DESIGNED_SIDE))
    drawn, _ = layers.draw(chosen, surface, structure, texture)
    with writing(target) as temporary:
        Image.fromarray(drawn).save(temporary)
    echo(f"{photo} -> {target}")
