"""`toonbox export`: from a run to a style folder."""

from pathlib import Path
from typing import Annotated

import typer

from toonbox.cli.options import Force
from toonbox.cli.terminal import needs


def export(
    run: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder of a training run.")
    ],
    name: Annotated[str, typer.Option(help="Name of the style.")],
    to: Annotated[
        Path | None, typer.Option(help="Parent folder of the style. Default: your styles.")
    ] = None,
    description: Annotated[str, typer.Option(help="One line about the style.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the style.")] = "unstated",
    data: Annotated[
        str | None, typer.Option(help="What it was trained on. Default: the number of pictures.")
    ] = None,
    working_resolution: Annotated[
        int, typer.Option(min=64, help="Short side, in pixels, at which the network works.")
    ] = 720,
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of the configuration file. Default: the one recorded in the run."),
    ] = None,
    force: Force = False,
) -> None:
    """Export a trained run as a style for `toonbox --style NAME`.

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
