"""`toonbox PHOTO...`: photos into cartoons beside them."""

import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toonbox.cli.outcomes import Outcomes, interruptible, summed_up
from toonbox.cli.photos import (
    MAX_PIXELS,
    Address,
    AsJson,
    EngineOrRay,
    EngineOrRayName,
    Exclude,
    Force,
    Format,
    Include,
    Jobs,
    Keep,
    KeptMetadata,
    Lossless,
    MaxMemory,
    MaxPixels,
    Quality,
    Strength,
    Structure,
    StyleName,
    Surface,
    Texture,
    Threads,
    WorkingResolution,
    parse_memory,
    parse_resolution,
    progress,
)
from toonbox.cli.pipe import cartoonize_pipe, check_pipe, is_piped
from toonbox.cli.targets import Plan
from toonbox.errors import UsageError

if TYPE_CHECKING:
    from toonbox.engine.stylize import Look
    from toonbox.picture import Saving


def cartoonize(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO",
            help="Pictures; folders, for all pictures in them and in folders below; "
            "or - for standard input.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR",
            help="Where to write; a folder for several photos; - for standard output. "
            "Default: NAME.toon.EXT beside each.",
        ),
    ] = None,
    style: StyleName = "storybook",
    strength: Strength = 1.0,
    resolution: WorkingResolution = None,
    surface: Surface = None,
    structure: Structure = None,
    texture: Texture = None,
    format: Format = None,
    quality: Quality = None,
    lossless: Lossless = False,
    metadata: KeptMetadata = Keep.KEEP,
    force: Force = False,
    include: Include = None,
    exclude: Exclude = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    max_memory: MaxMemory = None,
    engine: EngineOrRayName = EngineOrRay.auto,
    address: Address = None,
    threads: Threads = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Turn photos into cartoons of the same size.

    \b
    Examples:
      toonbox photo.jpg
      toonbox a.jpg b.png -o cartoons/
      toonbox holiday/ -o cartoons/ --exclude 'raw/*'
      toonbox photo.png -o cartoon.webp --resolution native
      toonbox photo.jpg --style ./my-style --strength 0.7 --force
      toonbox photo.jpg --texture 1.6 --surface 0.5
      toonbox - < photo.jpg > cartoon.jpg

    Pictures of folders that are done already are skipped, so that the same command goes on where
    it was stopped. Only styles with knobs take --surface, --structure and --texture: see
    `toonbox styles`.
    """
    from toonbox.batch import cartoonize_files
    from toonbox.engine.stylize import load_style

    look: Look = {
        "strength": strength,
        "resolution": parse_resolution(resolution),
        "surface": surface,
        "structure": structure,
        "texture": texture,
    }
    memory = parse_memory(max_memory)
    saving: Saving = {
        "format": format,
        "quality": quality,
        "lossless": lossless,
        "metadata": metadata.value,
    }
    on_ray = engine is EngineOrRay.ray
    if address and not on_ray:
        raise UsageError("--address is for --engine ray")
    if on_ray and memory:
        raise UsageError("--max-memory is for this machine alone, without --engine ray")
    if is_piped(photos, output):
        if on_ray:
            raise UsageError("a pipe goes through this machine alone, without --engine ray")
        check_pipe(photos, output, as_json)
        loaded = load_style(style, engine=engine.value, threads=threads)
        cartoonize_pipe(
            photos[0],
            output,
            loaded,
            max_pixels=max_pixels,
            max_memory=memory,
            force=force,
            saving=saving,
            look=look,
        )
        return
    several = len(photos) > 1 or photos[0].is_dir()
    plan = Plan(output, force, include or [], exclude or [], format)
    plan.add_all(photos, several)
    if on_ray:
        from toonbox.distributed import cartoonize_tasks, running

        work = partial(cartoonize_tasks, plan.tasks, style, workers=jobs, threads=threads or 1)
    else:
        loaded = load_style(style, engine=engine.value, threads=threads)
        work = partial(cartoonize_files, plan.tasks, loaded, jobs=jobs, max_memory=memory)
    outcomes = Outcomes(as_json, sys.stdout if on_ray else None)
    with (
        running(address) if on_ray else nullcontext(),
        summed_up(outcomes, several),
        progress("Cartoonizing", len(plan.tasks)) as advance,
        interruptible(several) as stop,
    ):
        for outcome in plan.settled:
            outcomes.tell(outcome)
        for outcome in work(max_pixels=max_pixels, saving=saving, stop=stop, **look):
            outcomes.tell(outcome)
            advance()
    if outcomes.failed:
        raise typer.Exit(1)
