"""`toonbox export`: from a run to a style folder."""

from pathlib import Path

from typer import Argument, Option, echo

from toonbox.cli.options import FORCE, style_folder
from toonbox.cli.terminal import needs


def export(
    run: Path = Argument(..., exists=True, file_okay=False, help="Folder of a training run."),
    name: str = Option(..., help="Name of the style."),
    to: Path | None = Option(
        None, help="Parent folder of the style. Default: $TOONBOX_STYLES, or your data folder."
    ),
    description: str = Option("", help="One line about the style."),
    licence: str = Option("unstated", help="Licence of the style."),
    data: str | None = Option(
        None, help="What it was trained on. Default: the number of pictures."
    ),
    working_resolution: int | None = Option(
        None,
        min=64,
        help="Short side, in pixels, at which the network works. Default: the largest in training.",
    ),
    detail_resolution: int = Option(
        0,
        min=0,
        help="The same for photos full of detail; small ones are enlarged. 0: no difference.",
    ),
    recipe: str | None = Option(
        None, help="Name of the configuration file. Default: the one recorded in the run."
    ),
    force: bool = FORCE,
) -> None:
    """Export a trained run as a style for `toonbox --style NAME`.

    Example: toonbox export runs/mine --name mine --licence CC-BY-4.0
    """
    with needs("train"):
        from toonbox.learn.export import export_run

    folder = export_run(
        run,
        style_folder(name, to),
        description=description,
        licence=licence,
        data=data,
        working_resolution=working_resolution,
        detail_resolution=detail_resolution,
        recipe=recipe,
        force=force,
    )
    echo(str(folder))
