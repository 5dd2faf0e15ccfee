"""`toonbox evaluate`: the quality of styles, in numbers and side by side."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from typer import Exit, Option, echo

from toonbox.atomic import folder_beside
from toonbox.cli.options import FILE, FOLDER, STYLE_KEYS, STYLE_METAVAR, parse_style, style_names
from toonbox.cli.terminal import complain, needs
from toonbox.errors import DataError, UsageError
from toonbox.options import DEFAULT_STYLE, StyleOptions

if TYPE_CHECKING:
    from toonbox.learn.evaluate.evaluate import Subject

LEAST_RESOLUTION = 64  # pixels; smaller pictures cannot be measured


def evaluate(
    photos: Path = Option(..., help="Photos that no style was trained on.", **FOLDER),
    cartoons: list[Path] | None = Option(
        None, help="Reference cartoons for --features and --classifier; may be repeated.", **FOLDER
    ),
    style: list[str] | None = Option(
        None,
        metavar=STYLE_METAVAR,
        help=f"Style to measure; may be repeated. {STYLE_KEYS} Default: comic.",
        autocompletion=style_names,
    ),
    out: Path | None = Option(
        None, metavar="DIR", help="Folder for JSON, CSV and a page with the pictures."
    ),
    features: list[Path] | None = Option(
        None,
        help="Feature network for distances to the cartoons: ONNX or TorchScript; may be repeated. "
        "For FID see docs/evaluate.md. Default: no distances.",
        **FILE,
    ),
    train_photos: Path | None = Option(
        None,
        help="Photos to train the linear probe and the classifier. Default: half of --photos; the "
        "other half is judged.",
        **FOLDER,
    ),
    classifier: bool = Option(
        False,
        help="Train a classifier of photos and cartoons (minutes), and test representations and "
        "outputs on it.",
    ),
    limit: int | None = Option(None, min=4, help="Number of photos to use, sampled with the seed."),
    resolution: int | None = Option(
        None,
        min=LEAST_RESOLUTION,
        help="Short side, in pixels, at which the network works. Default: the style's.",
    ),
    draws: int = Option(20, min=2, help="Bootstrap samples for each interval."),
    seed: int = Option(0, min=0, help="Seed for crops, bootstrap samples and halves."),
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

    from toonbox.convert.compare import refuse_used_folder

    with needs("train"):
        from toonbox.learn.evaluate.classifier import ClassifierConfig
        from toonbox.learn.evaluate.evaluate import evaluate as run
        from toonbox.learn.evaluate.feature_networks import load_feature_network
        from toonbox.learn.evaluate.report import text, write_report

    if (features or classifier) and not cartoons:
        raise UsageError("--features and --classifier compare with --cartoons")
    if (cartoons or train_photos) and not (features or classifier):
        raise UsageError("--cartoons and --train-photos are for --features and --classifier")
    if out is not None:
        refuse_used_folder(out, overwrite=True)  # a file, before minutes of measuring
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
        )
        echo(text(evaluation))
        if out is not None:
            write_report(evaluation, out)
            echo(f"-> {out / 'index.html'}", err=True)
    for message in evaluation.unreadable:
        complain(message)
    if evaluation.unreadable:
        raise Exit(1)


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
