"""`toonbox evaluate`: the quality of styles, in numbers and side by side."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Annotated

import typer

from toonbox.atomic import folder_beside
from toonbox.cli.options import (
    KEYS,
    METAVAR,
    existing_file,
    existing_folder,
    parse_style,
    style_names,
)
from toonbox.cli.terminal import Steps, complain, needs
from toonbox.errors import DataError, UsageError
from toonbox.options import DEFAULT_STYLE, StyleOptions

if TYPE_CHECKING:
    from toonbox.learn.evaluate.evaluate import Subject

LEAST_RESOLUTION = 64  # pixels; smaller pictures cannot be measured


def evaluate(
    photos: Annotated[Path, existing_folder("Photos that no style was trained on.")],
    cartoons: Annotated[
        list[Path] | None,
        existing_folder("Reference cartoons for --features and --classifier; may be repeated."),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(
            metavar=METAVAR,
            help=f"May be repeated. {KEYS} Default: comic.",
            autocompletion=style_names,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for JSON, CSV and a page with the pictures."),
    ] = None,
    features: Annotated[
        list[Path] | None,
        existing_file(
            "Feature network for distances to the cartoons: ONNX or TorchScript; may be repeated. "
            "For FID see docs/evaluate.md. Default: no distances."
        ),
    ] = None,
    train_photos: Annotated[
        Path | None,
        existing_folder(
            "Photos to train the linear probe and the classifier. Default: half of --photos; the "
            "other half is judged."
        ),
    ] = None,
    classifier: Annotated[
        bool,
        typer.Option(
            "--classifier/--no-classifier",
            help="Train a classifier of photos and cartoons (minutes), and test representations "
            "and outputs on it.",
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=4, help="Number of photos to use, sampled with the seed.")
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            min=LEAST_RESOLUTION,
            help="Short side, in pixels, at which the network works. Default: the style's.",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="Bootstrap samples for each interval.")] = 20,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed for crops, bootstrap samples and halves.")
    ] = 0,
) -> None:
    """Measure styles: content, flatness, outlines, artefacts, distances to cartoons and photos.

    \b
    Examples:
      toonbox evaluate --photos holiday
      toonbox evaluate --style comic --style ./mine --photos holiday --cartoons books \\
        --features network.onnx --out report
      toonbox evaluate --style comic --style comic:texture=2 --photos holiday

    A resolution behind a style's name takes precedence over --resolution.
    """
    import numpy as np

    with needs("train"):
        from toonbox.learn.evaluate.classifier import ClassifierConfig
        from toonbox.learn.evaluate.evaluate import evaluate as run
        from toonbox.learn.evaluate.feature_networks import load_feature_network
        from toonbox.learn.evaluate.report import text, write_report

    if (features or classifier) and not cartoons:
        raise UsageError("--features and --classifier compare with --cartoons")
    subjects = _subjects(style or [DEFAULT_STYLE], resolution)
    found = _pictures(photos)
    drawn = np.random.default_rng(seed).permutation(len(found))[:limit]
    with folder_beside(Path(gettempdir(), "work")) as work:
        evaluation = run(
            subjects,
            [found[place] for place in sorted(drawn)],
            [file for folder in cartoons or [] for file in _pictures(folder)],
            [load_feature_network(file) for file in features or []],
            work=work,
            train_photos=_pictures(train_photos) if train_photos else [],
            classifier=ClassifierConfig(seed=seed) if classifier else None,
            draws=draws,
            seed=seed,
            progress=Steps,
        )
        typer.echo(text(evaluation))
        if out is not None:
            write_report(evaluation, out)
            typer.echo(f"-> {out / 'index.html'}", err=True)
    for message in evaluation.unreadable:
        complain(message)
    if evaluation.unreadable:
        raise typer.Exit(1)


def _subjects(texts: list[str], resolution: int | None) -> "list[Subject]":
    """Load each style and try its settings: measuring takes minutes before its turn comes."""
    import numpy as np

    from toonbox.engine.style import load_style
    from toonbox.learn.evaluate.evaluate import Subject

    load = cache(load_style)
    subjects = []
    for text in texts:
        name, options = parse_style(text, StyleOptions(resolution=resolution))
        style = load(name)
        pixels = options.resolution or style.card.working_resolution
        if pixels == "native" or pixels < LEAST_RESOLUTION:
            raise UsageError(f"{text}: resolution should be at least {LEAST_RESOLUTION} pixels")
        # Photos are reduced before.
        cartoonize = partial(style.stylize, options=replace(options, resolution="native"))
        cartoonize(np.zeros((LEAST_RESOLUTION, LEAST_RESOLUTION, 3), np.uint8))
        subjects.append(Subject(text, pixels, cartoonize))
    return subjects


def _pictures(folder: Path) -> list[Path]:
    from toonbox.learn.inspect import find_pictures

    try:
        return find_pictures(folder)
    except DataError as error:
        raise UsageError(str(error)) from error
