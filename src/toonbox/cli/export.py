"""`toonbox export`: from a run to a style folder."""

from pathlib import Path
from typing import Annotated

import typer

from toonbox.cli.terminal import needs


def export(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Of `toonbox train`.")],
    name: Annotated[str, typer.Option(help="What the style is called.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder for the style's folder; your styles if not given.")
    ] = None,
    description: Annotated[str, typer.Option(help="A line for people.")] = "",
    licence: Annotated[str, typer.Option(help="Of the style file.")] = "unstated",
    data: Annotated[
        str | None, typer.Option(help="What it was trained on; counted if not given.")
    ] = None,
    working_resolution: Annotated[
        int, typer.Option(min=64, help="Short side, in pixels, at which the network works.")
    ] = 720,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Name of the configuration's file; that which the run noted if not given."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace a style that is there.")] = False,
) -> None:
    """Write a trained run as a style that `toonbox --style NAME` takes.

    Example: toonbox export runs/mine --name mine --licence CC-BY-4.0
    """
    from toonbox.engine.style import styles_folder

    with needs("train"):
        from toonbox.learn.export import export_run

    folder = export_run(
        run,
        (to or styles_folder()) / name,
        name=name,
        description=description,
        licence=licence,
        data=data,
        working_resolution=working_resolution,
        recipe=recipe,
        force=force,
    )
    typer.echo(str(folder))
