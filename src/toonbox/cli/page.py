"""`toonbox page`: the page as a folder of files, for any web server."""

from pathlib import Path

from typer import Option, echo

from toonbox.cli.options import FORCE


def page(
    output: Path = Option(..., "--output", "-o", metavar="DIR", help="Folder for the site."),
    style: list[str] | None = Option(
        None,
        metavar="NAME|DIR",
        help="Style to include; may be repeated. The first one is preselected. "
        "Default: the shipped styles.",
    ),
    force: bool = FORCE,
) -> None:
    """Write the page as a static site that draws in the browser and uploads no photo.

    \b
    Examples:
      toonbox page -o site
      toonbox page -o site --style comic --style ./my-style --force
    """
    from toonbox.page import write_site

    write_site(output, style, force=force)
    echo(f"{output / 'index.html'}")
