"""`toonbox PHOTO...`: photos and videos into cartoons beside them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toonbox.cli.failures import Debug
from toonbox.cli.outcomes import Outcomes, summed_up
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
    look_of,
    parse_memory,
    progress,
)
from toonbox.cli.pipe import cartoonize_pipe, check_pipe, is_piped
from toonbox.cli.targets import Plan
from toonbox.cli.video import (
    Bits,
    CodecName,
    Comparison,
    Crf,
    EncoderPreset,
    End,
    Hardware,
    KeepPartial,
    MaxHeight,
    Preview,
    Resume,
    Stabilize,
    Start,
    cartoonize_films,
    cartoonize_preview,
    check_options,
    goes_as_film,
    parse_time,
)
from toonbox.errors import UsageError
from toonbox.signals import interruptible

if TYPE_CHECKING:
    from toonbox.convert.batch import Outcome, Task
    from toonbox.convert.job import Saving
    from toonbox.video.pipeline import Filming


def cartoonize(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO",
            help="Pictures and videos; folders, for all of them in there and in folders below; "
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
    style: StyleName = "comic",
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
    debug: Debug = False,
    start: Start = None,
    end: End = None,
    preview: Preview = None,
    compare: Comparison = None,
    stabilize: Stabilize = None,
    max_height: MaxHeight = None,
    codec: CodecName = None,
    crf: Crf = None,
    encoder_preset: EncoderPreset = None,
    hardware: Hardware = None,
    bits: Bits = None,
    resume: Resume = False,
    keep_partial: KeepPartial = False,
) -> None:
    """Turn photos and videos into cartoons of the same size.

    \b
    Examples:
      toonbox photo.jpg
      toonbox a.jpg b.png -o cartoons/
      toonbox holiday/ -o cartoons/ --exclude 'raw/*'
      toonbox photo.png -o cartoon.webp --resolution native
      toonbox photo.jpg --style ./my-style --strength 0.7 --force
      toonbox photo.jpg --texture 1.6 --surface 0.5
      toonbox - < photo.jpg > cartoon.jpg
      toonbox clip.mp4 --preview 0:12
      toonbox clip.mp4 --style comic-fast --resume

    Pictures of folders that are done already are skipped, so that the same command goes on where
    it was stopped. Only styles with knobs take --surface, --structure and --texture: see
    `toonbox styles`.
    """
    from toonbox.convert.batch import cartoonize_files
    from toonbox.engine.stylize import load_style

    look = look_of(strength, resolution, surface, structure, texture)
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
    filming: Filming = {
        "start": parse_time(start, "--start"),
        "end": parse_time(end, "--end"),
        "max_height": max_height,
        "compare": compare.value if compare else None,
        "stabilize": stabilize.value if stabilize else None,
        "codec": codec.value if codec else None,
        "crf": crf,
        "encoder_preset": encoder_preset,
        "hardware": hardware.value if hardware else None,
        "bits": bits,
        "metadata": metadata.value,
        "resume": resume,
        "keep_partial": keep_partial,
        "jobs": jobs,
        "max_pixels": max_pixels,
    }
    load = partial(load_style, style, engine=engine.value, threads=threads)
    if on_ray and (preview is not None or is_piped(photos, output)):
        raise UsageError("pipes and previews go through this machine alone, without --engine ray")
    if preview is not None:
        cartoonize_preview(photos, output, preview, load(), force, filming, look)
        return
    if is_piped(photos, output):
        check_pipe(photos, output, as_json)
        cartoonize_pipe(
            photos[0],
            output,
            load(),
            max_pixels=max_pixels,
            max_memory=memory,
            force=force,
            saving=saving,
            look=look,
        )
        return
    several = len(photos) > 1 or photos[0].is_dir()
    plan = Plan(output, force, include or [], exclude or [], format, videos=True)
    plan.add_all(photos, several)
    tasks: list[Task | Outcome] = [*plan.tasks, *plan.settled]
    as_films = [task for task in tasks if goes_as_film(task, photos, filming)]
    check_options(tasks, as_films, filming, saving)
    films = [task for task in plan.tasks if task in as_films]
    pictures = [task for task in plan.tasks if task not in as_films]
    if on_ray and films:
        raise UsageError(f"{films[0].source}: videos are for this machine, without --engine ray")
    work: Callable[..., Iterator[Outcome]] | None = None
    if on_ray:
        from toonbox.convert.ray import cartoonize_tasks, running

        work = partial(cartoonize_tasks, pictures, style, workers=jobs, threads=threads or 1)
    else:
        loaded = load()
        if pictures or not films:
            work = partial(cartoonize_files, pictures, loaded, jobs=jobs, max_memory=memory)
    outcomes = Outcomes(as_json, sys.stdout if on_ray else None)
    with (
        running(address) if on_ray else nullcontext(),
        summed_up(outcomes, several),
        interruptible(several or bool(films)) as stop,
    ):
        for outcome in plan.settled:
            outcomes.tell(outcome)
        if work:
            with progress("Cartoonizing", len(pictures)) as step:
                if not on_ray:
                    work = partial(work, on_frame=step.frame)
                for outcome in work(max_pixels=max_pixels, saving=saving, stop=stop, **look):
                    outcomes.tell(outcome)
                    step(str(outcome.source))
        if films:
            apart = load if several else None
            for outcome in cartoonize_films(films, loaded, stop, filming, look, apart):
                outcomes.tell(outcome)
    if outcomes.failed:
        raise typer.Exit(1)
