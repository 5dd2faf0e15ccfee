"""`toonbox PHOTO...`: photos and videos into cartoons beside them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toonbox.cli.failures import Debug
from toonbox.cli.options import (
    Address,
    AsJson,
    EngineOrRay,
    EngineOrRayName,
    Exclude,
    Force,
    Include,
    Jobs,
    StyleName,
    Threads,
    parse_time,
    takes,
)
from toonbox.cli.outcomes import Outcomes, summed_up
from toonbox.cli.pipe import check_pipe, convert_pipe, is_piped
from toonbox.cli.progress import progress
from toonbox.cli.targets import Plan
from toonbox.cli.video import check_options, convert_videos, is_video_job, write_preview
from toonbox.errors import UsageError
from toonbox.options import OutputOptions, StyleOptions, VideoOptions
from toonbox.parallel import interruptible

if TYPE_CHECKING:
    from toonbox.convert.job import Job, Outcome


@takes(StyleOptions, OutputOptions, VideoOptions)
def cartoonize(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO...",
            help="Pictures and videos; folders, for everything in and below them; "
            "or - for standard input.",
            show_default=False,
        ),
    ],
    style_options: StyleOptions,
    output_options: OutputOptions,
    video_options: VideoOptions,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR",
            help="Where to write: a file; a folder for several photos; - for standard output. "
            "Default: NAME.toon.EXT beside each.",
        ),
    ] = None,
    style: StyleName = "comic",
    force: Force = False,
    include: Include = None,
    exclude: Exclude = None,
    engine: EngineOrRayName = EngineOrRay.auto,
    address: Address = None,
    threads: Threads = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
    debug: Debug = False,
    preview: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Write only the frame at this time of a video, as a picture: NAME.toon.png.",
        ),
    ] = None,
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

    Pictures of folders whose cartoons exist are skipped: rerun the same command to resume. Only
    styles with knobs take --surface, --structure and --texture: see `toonbox styles`.
    """
    from toonbox.convert.job import Converter, convert_all
    from toonbox.engine.style import load_style

    options = (style_options, output_options, video_options)
    on_ray = engine is EngineOrRay.ray
    if address and not on_ray:
        raise UsageError("--address is for --engine ray")
    if on_ray and output_options.max_memory:
        raise UsageError("--max-memory does not apply to --engine ray")
    if on_ray and (preview is not None or is_piped(photos, output)):
        raise UsageError("pipes and previews cannot be combined with --engine ray")
    load = partial(load_style, style, engine=engine.value, threads=threads)
    if preview is not None:
        write_preview(photos, output, parse_time(preview), load(), force, options)
        return
    if is_piped(photos, output):
        check_pipe(photos, output, as_json)
        convert_pipe(photos[0], output, Converter(load(), style_options, output_options), force)
        return
    several = len(photos) > 1 or photos[0].is_dir()
    plan = Plan(output, force, include or [], exclude or [], output_options.format, videos=True)
    plan.add_all(photos, several)
    everything: list[Job | Outcome] = [*plan.jobs, *plan.settled]
    as_videos = [each for each in everything if is_video_job(each, photos, video_options)]
    check_options(len(everything), len(as_videos), output_options, video_options)
    videos = [job for job in plan.jobs if job in as_videos]
    pictures = [job for job in plan.jobs if job not in as_videos]
    if on_ray and videos:
        raise UsageError(f"{videos[0].source}: videos cannot be combined with --engine ray")
    convert: Callable[..., Iterator[Outcome]] | None = None
    if on_ray:
        from toonbox.convert.ray import convert_on_ray, running

        convert = partial(
            convert_on_ray, pictures, style, style_options, output_options,
            workers=jobs, threads=threads or 1,
        )  # fmt: skip
    else:
        loaded = load()
        if pictures or not videos:
            converter = Converter(loaded, style_options, output_options)
            convert = partial(convert_all, pictures, converter, parallel=jobs)
    outcomes = Outcomes(as_json, sys.stdout if on_ray else None)
    with (
        running(address) if on_ray else nullcontext(),
        summed_up(outcomes, several),
        interruptible(several or bool(videos)) as stop,
    ):
        for outcome in plan.settled:
            outcomes.report(outcome)
        if convert:
            with progress("Cartoonizing", len(pictures)) as step:
                if not on_ray:
                    convert = partial(convert, on_frame=step.frame)
                for outcome in convert(stop=stop):
                    outcomes.report(outcome)
                    step(str(outcome.source))
        if videos:
            apart = load if several else None
            for outcome in convert_videos(videos, loaded, options, jobs, stop, apart):
                outcomes.report(outcome)
    if outcomes.failed:
        raise typer.Exit(1)
