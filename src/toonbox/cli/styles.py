"""`toonbox styles`: what styles there are, and more of them from published weights."""

from pathlib import Path
from typing import Annotated

import typer

from toonbox.cli.options import Force
from toonbox.cli.terminal import complain, needs, printable
from toonbox.errors import StyleError

styles = typer.Typer(rich_markup_mode=None)


@styles.callback(invoke_without_command=True)
def choose(context: typer.Context) -> None:
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
        tuple(map(printable, (card.name, card.version, card.licence, card.description)))
        for card, _ in found
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    indent = " " * (widths[0] + 2)
    for row, (card, folder) in zip(rows, found, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join([*cells, row[3]]).rstrip())
        if card.knobs:
            typer.echo(indent + "knobs: " + " ".join(f"--{knob}" for knob in card.knobs))
        typer.echo(indent + printable(str(folder)))
    if damaged:
        raise typer.Exit(1)
    if not found:
        typer.echo("toonbox: there are no styles", err=True)


@styles.command("import")
def import_style(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A TensorFlow.js graph model: model.json and its shards."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the style.")],
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Parent folder of the style. Default: your styles."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Licence of the style. Default: that of the published weights."),
    ] = None,
    force: Force = False,
) -> None:
    """Import the published weights of the white-box generator as a style.

    \b
    Example:
      toonbox styles import ./white_box_model --name white-box
    """
    with needs("train"):
        from toonbox.learn.import_tfjs import LICENCE, import_tfjs
    folder = import_tfjs(source, name, to and to / name, licence or LICENCE, force)
    typer.echo(f"{source} -> {folder}")
