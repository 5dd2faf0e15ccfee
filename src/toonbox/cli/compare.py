"""`toonbox compare PHOTO...`: photos beside what styles make of them."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toonbox.cli.failures import Debug, message_of, report
from toonbox.cli.looks import KEYS, METAVAR, parse_style
from toonbox.cli.photos import (
    MAX_PIXELS,
    Force,
    MaxPixels,
    Photos,
    Strength,
    WorkingResolution,
    parse_resolution,
    pictures_of,
    progress,
    style_names,
    sum_up,
)
from toonbox.errors import StyleError, ToonboxError, UsageError

if TYPE_CHECKING:
    from toonbox.engine.stylize import Look


def compare(
    photos: Photos,
    style: Annotated[
        list[str] | None,
        typer.Option(
            metavar=METAVAR,
            help=f"One for each column. {KEYS} Default: every style there is.",
            autocompletion=style_names,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for index.html and comparison.png.")
    ] = Path("comparison"),
    strength: Strength = 1.0,
    resolution: WorkingResolution = None,
    height: Annotated[
        int, typer.Option(min=16, max=4096, help="Of each picture in the grid, in pixels.")
    ] = 360,
    force: Force = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    debug: Debug = False,
) -> None:
    """Show photos beside what styles make of them: one row a photo, one column a style.

    \b
    Examples:
      toonbox compare a.jpg b.jpg
      toonbox compare holiday/ --style storybook --style ./my-style --out album
      toonbox compare a.jpg --style storybook:texture=0 --style storybook:texture=2,surface=0.5

    Settings behind a style's name go before --strength and --resolution.
    """
    from toonbox.comparison import Column, Comparison
    from toonbox.engine import style as styles
    from toonbox.engine.stylize import load_style

    defaults: Look = {"strength": strength, "resolution": parse_resolution(resolution)}
    texts = style or styles.style_names()
    if not texts:
        raise StyleError("there are no styles")
    wanted = [(text, *parse_style(text, defaults)) for text in texts]
    load = functools.cache(load_style)
    columns = [Column(text, load(name), look) for text, name, look in wanted]
    comparison = Comparison(out, columns, height, overwrite=force)
    pictures = [picture for photo in photos for picture in pictures_of(photo)]
    failed: list[Path] = []
    with progress("Cartoonizing", len(pictures) * len(columns)) as advance:
        for picture in pictures:
            try:
                comparison.add(picture, max_pixels, advance)
            except UsageError:  # as wrong for all other pictures
                raise
            except ToonboxError as error:
                failed.append(picture)
                report(picture, message_of(error))
    if comparison.rows:
        comparison.write()
        typer.echo(f"{comparison.page}\n{comparison.sheet}")
    if len(pictures) > 1:
        sum_up(len(comparison.rows), failed)
    if failed:
        raise typer.Exit(1)
