"""`toonbox PHOTO...`: photos into cartoons beside them."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
    report,
    style_names,
    sum_up,
)
from toonbox.errors import OutputError, PictureError, ToonboxError, UsageError


class Keep(StrEnum):
    """What becomes of EXIF, XMP, IPTC, resolution and comments."""

    KEEP = "keep"
    STRIP = "strip"
    NO_GPS = "no-gps"


class Engine(StrEnum):
    """What runs the network."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"
    cuda = "cuda"


def cartoonize(
    photos: Photos,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR",
            help="Where to write; a folder for several photos. Default: NAME.toon.EXT beside each.",
        ),
    ] = None,
    style: Annotated[
        str,
        typer.Option(
            metavar="NAME|DIR",
            help="A style's name (see `toonbox styles`) or folder.",
            autocompletion=style_names,
        ),
    ] = "storybook",
    strength: Strength = 1.0,
    resolution: WorkingResolution = None,
    surface: Annotated[
        float | None,
        typer.Option(
            min=0, max=2, metavar="0..2", help="More paints with a smoother brush; 1 as trained."
        ),
    ] = None,
    structure: Annotated[
        float | None,
        typer.Option(
            min=0, max=2, metavar="0..2", help="More makes flatter and fewer areas of colour."
        ),
    ] = None,
    texture: Annotated[
        float | None,
        typer.Option(min=0, max=2, metavar="0..2", help="More draws stronger outlines."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="jpeg, png, webp, avif, tiff, bmp, gif or ppm. Default: as the photo.",
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF. Default: 95."),
    ] = None,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="Keep every value; fail where a format cannot.")
    ] = False,
    metadata: Annotated[
        Keep, typer.Option(help="EXIF, XMP, IPTC, resolution and comments; no-gps: all but places.")
    ] = Keep.KEEP,
    force: Force = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = Engine.auto,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads for the network. Default: one for each core."),
    ] = None,
) -> None:
    """Turn photos into cartoons of the same size.

    \b
    Examples:
      toonbox photo.jpg
      toonbox a.jpg b.png -o cartoons/
      toonbox photo.png -o cartoon.webp --resolution native
      toonbox photo.jpg --style ./my-style --strength 0.7 --force
      toonbox photo.jpg --texture 1.6 --surface 0.5

    Only styles with knobs take --surface, --structure and --texture: see `toonbox styles`.
    """
    from toonbox.engine.stylize import load_style
    from toonbox.picture import Saving, cartoonize_file

    saving: Saving = {
        "format": format,
        "quality": quality,
        "lossless": lossless,
        "metadata": metadata.value,
    }
    size = parse_resolution(resolution)
    several = len(photos) > 1 or photos[0].is_dir()
    pictures = [picture for photo in photos for picture in pictures_of(photo)]
    targets = _targets(pictures, output, several, format)
    loaded = load_style(style, engine=engine.value, threads=threads)
    failed: list[Path] = []
    taken: dict[str, Path] = {}
    with progress("Cartoonizing", len(pictures)) as advance:
        for picture, target in zip(pictures, targets, strict=True):
            try:
                _claim(target, picture, taken)
                cartoonize_file(
                    picture,
                    target,
                    loaded,
                    max_pixels=max_pixels,
                    overwrite=force,
                    saving=saving,
                    strength=strength,
                    resolution=size,
                    surface=surface,
                    structure=structure,
                    texture=texture,
                )
                typer.echo(f"{picture} -> {target}")
            except UsageError:  # as wrong for all other pictures
                raise
            except ToonboxError as error:
                failed.append(picture)
                report(picture, error)
            advance()
    if several:
        sum_up(len(pictures) - len(failed), failed)
    if failed:
        raise typer.Exit(1)


def _targets(
    pictures: list[Path], output: str | None, several: bool, format: str | None
) -> list[Path]:
    """Choose the file to write for each picture."""
    from toonbox.media.formats import SUFFIXES, format_named

    if output is None:
        return [picture.with_name(_toon_name(picture, format)) for picture in pictures]
    path = Path(output)
    known = path.suffix.lower() in SUFFIXES
    if path.is_dir() or output.endswith(("/", os.sep)):
        return [path / _toon_name(picture, format) for picture in pictures]
    if several and (known or path.is_file()):
        raise typer.BadParameter(
            f"{output} is one file, but there are several photos.", param_hint="'--output'"
        )
    if several:
        return [path / _toon_name(picture, format) for picture in pictures]
    if path.suffix and not known:
        raise typer.BadParameter(
            f"cannot write {path.suffix}, only {' '.join(SUFFIXES)}.", param_hint="'--output'"
        )
    if format and known and SUFFIXES[path.suffix.lower()] != format_named(format):
        raise typer.BadParameter(f"{output} is not called like {format}.", param_hint="'--format'")
    return [path]


def _toon_name(picture: Path, format: str | None) -> str:
    from toonbox.media.formats import toon_suffix

    return f"{picture.stem}.toon{toon_suffix(picture.suffix, format)}"


def _claim(target: Path, picture: Path, taken: dict[str, Path]) -> None:
    """Refuse two pictures of one name in one output folder, and folders without any."""
    if picture.is_dir():
        raise PictureError(f"{picture}: is a folder without pictures")
    other = taken.setdefault(os.path.realpath(target), picture)
    if other is not picture:
        raise OutputError(f"would be written to {target}, which is taken by {other}")
