"""`toonbox styles`: what styles there are, and more of them from published weights."""

from pathlib import Path

from typer import Argument, Context, Exit, Option, Typer, echo

from toonbox.cli.options import FORCE, style_folder
from toonbox.cli.terminal import complain, needs, printable
from toonbox.errors import StyleError

styles = Typer(rich_markup_mode=None)


@styles.callback(invoke_without_command=True)
def choose(context: Context) -> None:
    """List styles, or import one from published weights.

    \b
    Examples:
      toonbox styles
      toonbox styles import ./white_box_model --name white-box
    """
    if context.invoked_subcommand is None:
        list_all()


@styles.command("list")
def list_all() -> None:
    """List every style: name, version, licence, description, knobs if it has any, folder."""
    from toonbox.engine.style import find_style, read_card, style_names

    found, damaged = [], False
    for name in style_names():
        folder = find_style(name)
        try:
            found.append((read_card(folder), folder))
        except StyleError as error:
            complain(str(error))
            damaged = True
    rows = [
        [*map(printable, (card.name, card.version, card.licence, card.description))]
        for card, _ in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, (card, folder) in zip(rows, found, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        indent = " " * (widths[0] + 2)
        echo("  ".join(cells).rstrip())
        if card.knobs:
            echo(indent + "knobs: " + " ".join(f"--{knob}" for knob in card.knobs))
        echo(indent + printable(str(folder)))
    if damaged:
        raise Exit(1)
    if not found:
        complain("there are no styles")


@styles.command("import")
def import_style(
    source: Path = Argument(
        ..., metavar="DIR", help="A TensorFlow.js graph model: model.json and its shards."
    ),
    name: str = Option(..., help="Name of the style."),
    to: Path | None = Option(
        None, metavar="DIR", help="Parent folder of the style. Default: your styles."
    ),
    licence: str | None = Option(
        None, help="Licence of the style. Default: that of the published weights."
    ),
    force: bool = FORCE,
) -> None:
    """Import the published weights of the white-box generator as a style.

    \b
    Example:
      toonbox styles import ./white_box_model --name white-box
    """
    with needs("train"):
        from toonbox.learn.import_tfjs import LICENCE, import_tfjs
    folder = import_tfjs(source, style_folder(name, to), licence or LICENCE, force)
    echo(f"{source} -> {folder}")
