"""`toonbox compare`: photos beside what styles make of them, open or in blind pairs."""

import functools
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toonbox.cli.failures import Debug, message_of, report
from toonbox.cli.options import (
    KEYS,
    METAVAR,
    Force,
    parse_resolution,
    parse_style,
    style_names,
)
from toonbox.cli.progress import progress
from toonbox.errors import StyleError, ToonboxError, UsageError, failing_alone
from toonbox.options import MAX_PIXELS, OutputOptions, StyleOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from toonbox.convert.compare import Column, Finished
    from toonbox.engine.style import Style


HELP = {
    each.name: each.metadata["help"]
    for kind in (StyleOptions, OutputOptions)
    for each in fields(kind)
}


def compare(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PHOTO",
            help="Pictures, or folders: then all pictures directly in them. With --tally: files "
            "of answers.",
            show_default=False,
        ),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(
            metavar=METAVAR,
            help=f"One for each column, or a folder of finished pictures with the photos' names. "
            f"{KEYS} Default: every style there is.",
            autocompletion=style_names,
        ),
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="The same as PHOTO. May be given several times."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder for index.html and comparison.png or sheets."
        ),
    ] = Path("comparison"),
    strength: Annotated[float, typer.Option(min=0, max=1, help=HELP["strength"])] = 1.0,
    resolution: Annotated[
        str | None,
        typer.Option(metavar="N|native", parser=parse_resolution, help=HELP["resolution"]),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=4096,
            help="Of each picture in the grid, in pixels. Default: 360, of blind pairs 620.",
        ),
    ] = None,
    force: Force = False,
    max_pixels: Annotated[int, typer.Option(min=1, help=HELP["max_pixels"])] = MAX_PIXELS,
    blind: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Make blind pairs of two styles or folders, given as for --style: a page and "
            "sheets for judges, and beside the folder the key.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Of blind pairs, drawn by the seed. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of blind pairs: photos and sides.")] = 0,
    tally: Annotated[
        bool, typer.Option("--tally", help="Count answers about blind pairs.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of the pairs, with --tally.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="With --tally: tell each pair's photo and preference.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show photos beside what styles make of them: one row a photo, one column a style.

    With --blind, judges see pairs without names, and --tally counts what they prefer.

    \b
    Examples:
      toonbox compare a.jpg b.jpg
      toonbox compare holiday/ --style comic --style ./my-style --out album
      toonbox compare a.jpg --style comic:texture=0 --style comic:texture=2,surface=0.5
      toonbox compare --blind comic ./my-style --photos holiday/ -o pairs
      toonbox compare --tally answers.json --key pairs.key.json

    Settings behind a style's name go before --strength and --resolution.
    """
    given = [*(paths or []), *(photos or [])]
    if tally:
        if not given or key is None or blind:
            raise UsageError("--tally takes files of answers, and their pairs' --key")
        _tally(given, key, list_)
        return
    if not given:
        raise UsageError("which photos? Give files or folders")
    if blind and style:
        raise UsageError("--blind takes the two styles itself, without --style")
    from toonbox.convert.compare import Comparison
    from toonbox.engine.style import load_style
    from toonbox.learn.evaluate.blind import Pairs, choose

    pictures = [picture for path in given for picture in pictures_of(path)]
    defaults = StyleOptions(strength=strength, resolution=resolution)  # type: ignore[arg-type]
    texts = blind or style or style_names()
    if not texts:
        raise StyleError("there are no styles")
    load = functools.cache(load_style)
    columns = [_column(text, defaults, load) for text in texts]
    made: Comparison | Pairs
    if blind:
        made = Pairs(out, columns, height or 620, seed, overwrite=force)
        pictures = choose(pictures, columns, limit, seed)
    else:
        made = Comparison(out, columns, height or 360, overwrite=force)
    failed: list[Path] = []
    with progress("Cartoonizing", len(pictures) * len(columns)) as advance:
        for picture in pictures:
            try:
                with failing_alone(str(picture)):
                    made.add(picture, max_pixels, advance)
            except UsageError:  # as wrong for all other pictures
                raise
            except ToonboxError as error:
                failed.append(picture)
                report(picture, message_of(error))
    if len(failed) < len(pictures):
        typer.echo("\n".join(map(str, made.write())))
    if len(pictures) > 1:
        sum_up(len(pictures) - len(failed), failed)
    if failed:
        raise typer.Exit(1)


def _column(
    text: str, defaults: StyleOptions, load: "Callable[[str], Style]"
) -> "Column | Finished":
    from toonbox.convert.compare import Column, Finished
    from toonbox.engine.card import find_style

    name, options = parse_style(text, defaults)
    try:
        find_style(name)
    except StyleError:
        if not name or not Path(name).is_dir():
            raise
        if text != name:
            raise UsageError(f"{text}: a folder of finished pictures takes no settings") from None
        return Finished(text, Path(name))
    return Column(text, load(name), options)


def _tally(files: list[Path], key_file: Path, listed: bool) -> None:
    from toonbox.learn.evaluate.blind import preferred, read_answers, read_key, tally

    key = read_key(key_file)
    judges = [read_answers(file, key) for file in files]
    if listed:
        for file, answers in zip(files, judges, strict=True):
            for number, answer in sorted(answers.items()):
                pair = key.pairs[number]
                typer.echo(f"{file}\t{number}\t{pair['photo']}\t{preferred(answer, pair)}")
    typer.echo(tally(key, judges))


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
    """Print to standard error how many pictures went well, and which did not."""
    names = ": " + ", ".join(map(str, failed)) if failed else ""
    typer.echo(f"{done} done, {len(failed)} failed{names}", err=True)
