"""`toonbox compare`: photos beside their cartoons in several styles, openly or in blind pairs."""

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, echo

from toonbox.atomic import is_dir
from toonbox.cli.options import DEBUG, FORCE, STYLE_KEYS, STYLE_METAVAR, parse_style, style_names
from toonbox.cli.terminal import Outcomes, Steps
from toonbox.errors import StyleError, UsageError
from toonbox.images.formats import find_pictures
from toonbox.options import OutputOptions, StyleOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from toonbox.convert.compare import Column
    from toonbox.engine.style import Style


def compare(
    drawing: Annotated[StyleOptions, "strength", "resolution"],
    limits: Annotated[OutputOptions, "max_pixels"],
    paths: list[Path] | None = Argument(
        None,
        metavar="PHOTO...",
        help="Pictures, and folders with all pictures below them. With --tally: files of answers.",
        show_default=False,
    ),
    style: list[str] | None = Option(
        None,
        metavar=STYLE_METAVAR,
        help="A column: a style, or a folder of finished pictures named like the photos; may "
        f"be repeated. {STYLE_KEYS} Default: every installed style.",
        autocompletion=style_names,
    ),
    photos: list[Path] | None = Option(None, metavar="DIR", help="Same as PHOTO; may be repeated."),
    out: Path = Option(
        Path("comparison"),
        "--out",
        "-o",
        metavar="DIR",
        help="Folder for index.html and comparison.png, or sheets.",
    ),
    height: int | None = Option(
        None,
        min=16,
        max=4096,
        help="Height of each picture in the grid, in pixels (default 360, blind pairs 620).",
    ),
    force: bool = FORCE,
    blind: tuple[str, str] | None = Option(
        None,
        metavar="A B",
        help="Make blind pairs of two styles or folders, given as for --style: a page and "
        "sheets for judges, and a key beside the folder.",
        show_default=False,
    ),
    limit: int | None = Option(
        None, min=1, help="Number of blind pairs, sampled with the seed (default: all)."
    ),
    seed: int = Option(0, min=0, help="Seed for the photos and sides of blind pairs."),
    tally: bool = Option(False, "--tally", help="Count answers to blind pairs."),
    key: Path | None = Option(None, metavar="FILE", help="Key of the pairs, with --tally."),
    list_: bool = Option(
        False, "--list", help="With --tally: list each pair's photo and preference."
    ),
    debug: bool = DEBUG,
) -> None:
    """Show photos beside their cartoons: one row per photo, one column per style.

    With --blind, judges see pairs without names, and --tally counts what they prefer.

    \b
    Examples:
      toonbox compare a.jpg b.jpg
      toonbox compare holiday/ --style comic --style ./my-style --out album
      toonbox compare a.jpg --style comic:texture=0 --style comic:texture=2,surface=0.5
      toonbox compare --blind comic ./my-style --photos holiday/ -o pairs
      toonbox compare --tally answers.json --key pairs.key.json

    Settings behind a style's name take precedence over --strength and --resolution.
    """
    paths = [*(paths or []), *(photos or [])]
    if tally:
        if not paths or key is None or blind:
            raise UsageError("--tally takes files of answers, and their pairs' --key")
        if style or limit or seed or height or out != Path("comparison"):
            raise UsageError("--tally takes only --key and --list")
        _tally(paths, key, list_)
        return
    if key or list_:
        raise UsageError("--key and --list are for --tally")
    if limit and not blind:
        raise UsageError("--limit is for --blind")
    if not paths:
        raise UsageError("which photos? Give files or folders")
    if blind and style:
        raise UsageError("--blind takes the two styles itself, without --style")
    from toonbox.convert.compare import Comparison
    from toonbox.convert.job import Job, done_or_failed
    from toonbox.engine.style import load_style
    from toonbox.learn.evaluate.blind import Pairs, choose_photos

    # A folder without pictures stays in the list, to be named among the failures.
    pictures = [
        picture
        for path in paths
        for picture in (is_dir(path) and find_pictures(path, output=out).pictures) or [path]
    ]
    texts = blind or style or style_names()
    if not texts:
        raise StyleError("there are no styles")
    load = cache(load_style)
    columns = [_column(text, drawing, limits.max_pixels, load) for text in texts]
    made: Comparison | Pairs
    if blind:
        made = Pairs(out, columns, height or 620, seed, overwrite=force)
        pictures = choose_photos(pictures, columns, limit, seed)
    else:
        made = Comparison(out, columns, height or 360, overwrite=force)
    outcomes = Outcomes(several=len(pictures) > 1, at_once=True)
    with outcomes, Steps("Cartoonizing", len(pictures) * len(columns)) as advance:
        for picture in pictures:
            add = partial(made.add, picture, limits.max_pixels, advance)
            if failed := done_or_failed(Job(picture), add):
                outcomes.report(failed)
            else:
                outcomes.counts["ok"] += 1
        if outcomes.counts["ok"]:
            echo("\n".join(map(str, made.write())))
    if outcomes.failed:
        raise Exit(1)


def _column(
    text: str, defaults: StyleOptions, max_pixels: int, load: "Callable[[str], Style]"
) -> "Column":
    from toonbox.convert.compare import FolderColumn, StyleColumn
    from toonbox.engine.style import find_style

    name, options = parse_style(text, defaults)
    try:
        find_style(name)
    except StyleError:
        if not name or not is_dir(Path(name)):
            raise
        if text != name:
            raise UsageError(f"{text}: a folder of finished pictures takes no settings") from None
        return FolderColumn(text, Path(name), max_pixels)
    return StyleColumn(text, load(name), options)


def _tally(files: list[Path], key_file: Path, listed: bool) -> None:
    from toonbox.learn.evaluate.blind import read_answers, read_key, tally

    key = read_key(key_file)
    judges = [read_answers(file, key) for file in files]
    if listed:
        for file, answers in zip(files, judges, strict=True):
            for number, answer in sorted(answers.items()):
                photo = key.pairs[number]["photo"]
                echo(f"{file}\t{number}\t{photo}\t{key.preferred(number, answer)}")
    echo(tally(key, judges))
