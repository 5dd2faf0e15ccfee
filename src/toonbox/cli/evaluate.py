"""`toonbox evaluate`: how good styles are, in numbers and side by side."""

from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Annotated

import typer

from toonbox.atomic import folder_beside
from toonbox.cli.messages import complain
from toonbox.cli.options import KEYS, METAVAR, parse_style, style_names
from toonbox.cli.progress import progress
from toonbox.errors import DataError, UsageError
from toonbox.options import StyleOptions

if TYPE_CHECKING:
    from toonbox.learn.evaluate.distances import FeatureNetwork
    from toonbox.learn.evaluate.evaluate import Subject

LEAST_RESOLUTION = 64  # pixels; smaller pictures cannot be measured


def evaluate(
    photos: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Photos that no style was trained on.",
            exists=True,
            file_okay=False,
        ),
    ],
    cartoons: Annotated[
        list[Path],
        typer.Option(
            metavar="DIR",
            help="What outputs should look like; several add up.",
            exists=True,
            file_okay=False,
        ),
    ],
    style: Annotated[
        list[str] | None,
        typer.Option(
            metavar=METAVAR,
            help=f"May be given several times. {KEYS} Default: comic.",
            autocompletion=style_names,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for JSON, CSV and a page with the pictures."),
    ] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Feature network: ONNX, TorchScript or VGG safetensors. May be given several "
            "times. Default: Inception v3.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    inception: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights of Inception v3; downloaded if not given.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download.")] = False,
    train_photos: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="For the linear probe and the classifier to learn from. Default: half of the "
            "photos, judging the other.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    classifier: Annotated[
        bool,
        typer.Option(
            "--classifier/--no-classifier",
            help="Train one to tell photos from cartoons (minutes), and test representations "
            "and outputs on it.",
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=4, help="Use so many of the photos, drawn by the seed.")
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            min=LEAST_RESOLUTION,
            help="Short side at which to work, in pixels. Default: the style's.",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="Of each bootstrap interval.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of crops, draws and halves.")] = 0,
) -> None:
    """Measure styles: distances to cartoons and photos, content, flatness, outlines, artefacts.

    \b
    Examples:
      toonbox evaluate --photos holiday --cartoons books
      toonbox evaluate --style comic --style ./mine --photos holiday --cartoons books \\
        --features network.onnx --out report
      toonbox evaluate --style comic --style comic:texture=2 --photos holiday \\
        --cartoons books

    A resolution behind a style's name goes before --resolution.
    """
    from toonbox.cli.extras import learning_half

    with learning_half():
        from toonbox.learn.evaluate.classifier import ClassifierConfig
        from toonbox.learn.evaluate.evaluate import evaluate as run
        from toonbox.learn.evaluate.report import text, write_report

    subjects = _subjects(style or ["comic"], resolution)
    chosen = _some(_pictures(photos), limit, seed)
    drawn = [file for folder in cartoons for file in _pictures(folder)]
    learned = _pictures(train_photos) if train_photos else []
    networks = _networks(features or [], inception, offline)
    with folder_beside(Path(gettempdir(), "work")) as work:
        evaluation = run(
            subjects,
            chosen,
            drawn,
            networks,
            work=work,
            train_photos=learned,
            classifier=ClassifierConfig(seed=seed) if classifier else None,
            draws=draws,
            seed=seed,
            progress=progress,
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
    """Load each style, and try what it is told: measuring takes minutes before its turn comes."""
    from dataclasses import replace
    from functools import cache, partial

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
            raise typer.BadParameter(
                f"{text}: resolution should be at least {LEAST_RESOLUTION} pixels.",
                param_hint="'--style'",
            )
        # Photos are brought to their size before.
        cartoonize = partial(style.stylize, options=replace(options, resolution="native"))
        cartoonize(np.zeros((LEAST_RESOLUTION, LEAST_RESOLUTION, 3), np.uint8))
        subjects.append(Subject(text, pixels, cartoonize))
    return subjects


def _networks(files: list[Path], inception: Path | None, offline: bool) -> "list[FeatureNetwork]":
    """Load what was asked for; Inception v3 if that was, or if nothing was."""
    from toonbox.learn.evaluate.distances import load_feature_network, load_inception

    networks = [load_feature_network(file) for file in files]
    if inception or not files:
        networks.append(load_inception(inception, offline))
    return networks


def _pictures(folder: Path) -> list[Path]:
    """List a folder's pictures; none at all is wrong usage."""
    from toonbox.learn.inspect import find_pictures

    try:
        return find_pictures(folder)
    except DataError as error:
        raise UsageError(str(error)) from error


def _some(files: list[Path], limit: int | None, seed: int) -> list[Path]:
    """Draw up to `limit` of the files, in their order."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(files))[:limit]
    return [files[place] for place in sorted(order)]
