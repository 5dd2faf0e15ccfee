"""`toonbox page`: the page as a folder of files, for any web server."""

from pathlib import Path
from typing import Annotated

import typer

from toonbox.cli.options import Force


def page(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the site.")
    ],
    style: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|DIR",
            help="Style to include; may be repeated. The first one is preselected. "
            "Default: those that are shipped.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Write the page as a static site that draws in the browser and uploads no photo.

    \b
    Examples:
      toonbox page -o site
      toonbox page -o site --style comic --style ./my-style --force
    """
    from toonbox.page import write_site

    write_site(output, style, force=force)
    typer.echo(f"{output / 'index.html'}")
