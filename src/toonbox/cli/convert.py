"""`toonbox PHOTO...`: photos and videos into cartoons beside them."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typer import Argument, BadParameter, Exit, Option

from toonbox.atomic import exists, is_dir, is_file, refuse_existing, writing
from toonbox.cli.options import DEBUG, FORCE, CommonOptions, parse_time
from toonbox.cli.terminal import Outcomes, Steps, complain, drop_output, video_progress
from toonbox.errors import OutputError, PictureError, ToonboxError, UsageError
from toonbox.images.formats import (
    CONTAINERS,
    SUFFIXES,
    becomes_video,
    cartoon_below,
    cartoon_name,
    container_of,
    find_pictures,
    format_named,
    own_cartoons,
)
from toonbox.options import (
    FOR_VIDEOS_TOO,
    Engine,
    EngineOptions,
    Options,
    OutputOptions,
    StyleOptions,
    VideoOptions,
    changed,
)
from toonbox.parallel import failing_alone, interruptible

if TYPE_CHECKING:
    from toonbox.convert.job import Converter, Job, Outcome
    from toonbox.engine.style import Style

PIPE = "-"

_IN_PREVIEWS = {"max_height", "compare", "max_pixels"}
_SHAPING = ("start", "end", "max_height", "compare", "stabilize")  # what a GIF can be asked for too


def photo_named(text: str) -> Path:
    """Read the name of a photo or a folder as typed; an empty one would be the current folder."""
    if not text:
        raise BadParameter("A photo's name cannot be empty.")
    return Path(text)


def cartoonize(
    common: CommonOptions,
    style_options: StyleOptions,
    output_options: OutputOptions,
    video_options: VideoOptions,
    computing: EngineOptions,
    photos: list[Path] = Argument(
        ...,
        metavar="PHOTO...",
        parser=photo_named,
        help="Pictures, videos, and folders with everything below them; or - for standard input.",
        show_default=False,
    ),
    output: str | None = Option(
        None,
        "--output",
        "-o",
        metavar="FILE|DIR",
        help="Where to write: a file; a folder for several photos; - for standard output. "
        "Default: NAME.toon.EXT beside each.",
    ),
    force: bool = FORCE,
    engine: Literal[Engine, "ray"] = Option(
        "auto", help="What runs the network; ray distributes pictures to a cluster."
    ),
    address: str | None = Option(
        None,
        metavar="HOST:PORT|auto",
        help="Address of the cluster, with --engine ray. Default: workers on this machine.",
    ),
    debug: bool = DEBUG,
    preview: float | None = Option(
        None,
        metavar="TIME",
        parser=parse_time,
        help="Write only the frame at this time of a video, as a picture: NAME.toon.png.",
    ),
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

    In folders, pictures that already have a cartoon are skipped: rerun the same command to resume.
    Only styles with knobs take --surface, --structure and --texture: see `toonbox styles`.
    """
    from toonbox.convert.job import Converter, convert_all
    from toonbox.engine.style import load_style

    options = style_options, output_options, video_options
    on_ray, piped = engine == "ray", output == PIPE or Path(PIPE) in photos
    if address and not on_ray:
        raise UsageError("--address is for --engine ray")
    if on_ray and (preview is not None or piped):
        raise UsageError("pipes and previews cannot be combined with --engine ray")
    if on_ray and (output_options.max_memory or changed(computing)):
        name = "max-memory" if output_options.max_memory else "precision"
        raise UsageError(f"--{name} does not apply to --engine ray")
    if (common.include or common.exclude) and not any(map(is_dir, photos)):
        raise UsageError("--include and --exclude are for folders, and there are none")
    several = len(photos) > 1 or is_dir(photos[0])
    resized = style_options.resolution is not None
    load = partial(
        load_style,
        common.style,
        engine=engine,
        threads=common.threads,
        precision=computing.precision,
        single=preview is not None or not (several or resized or becomes_video(photos[0])),
    )
    if preview is not None:
        if unused := {*changed(video_options), *changed(output_options)} - _IN_PREVIEWS:
            raise UsageError(f"{_flag(min(unused))} does not apply to --preview")
        _write_preview(photos, output, preview, load, force, common.json, options)
        return
    if piped:
        _check_options([False], output_options, video_options)
        _convert_pipe(
            photos, output, common.json, output_options.format, force,
            lambda: Converter(load(), style_options, output_options),
        )  # fmt: skip
        return
    plan = Plan(output, force, common, output_options.format, videos=True)
    plan.add_all(photos, several)
    shaping = any(getattr(video_options, name) not in (None, "off") for name in _SHAPING)

    def is_for_video(job: "Job | Outcome") -> bool:
        """Return whether a video is made; an option can ask for one of a GIF named on its own."""
        shaped = shaping and becomes_video(job.source) and job.source in photos
        return shaped or becomes_video(job.source, job.target or job.source)

    pictures = [job for job in plan.jobs if not is_for_video(job)]
    videos = [job for job in plan.jobs if is_for_video(job)]
    for_videos = [*map(is_for_video, plan.jobs), *map(is_for_video, plan.settled)]
    _check_options(for_videos, output_options, video_options)
    if on_ray and videos:
        raise UsageError(f"{videos[0].source}: videos cannot be combined with --engine ray")
    if on_ray:
        from toonbox.convert.ray import convert_on_ray, running
    else:
        loaded = load()
    outcomes = Outcomes(common.json, stream=sys.stdout if on_ray else None, several=several)
    with (
        running(address) if on_ray else nullcontext(),
        outcomes,
        interruptible(several or bool(videos)) as stop,
    ):
        for outcome in plan.settled:
            outcomes.report(outcome)
        if pictures:
            with Steps("Cartoonizing", len(pictures)) as step:
                if on_ray:
                    done = convert_on_ray(
                        pictures, common.style, style_options, output_options,
                        workers=common.jobs, threads=common.threads or 1, stop=stop,
                    )  # fmt: skip
                else:
                    converter = Converter(loaded, style_options, output_options)
                    converter.on_frame = step.frame
                    done = convert_all(pictures, converter, parallel=common.jobs, stop=stop)
                for outcome in done:
                    outcomes.report(outcome)
                    step(str(outcome.source))
        if videos:
            from toonbox.video.pipeline import convert_videos
            from toonbox.video.steadying import default_stabilization

            stabilize = video_options.stabilize or default_stabilization(video_options.bits)
            options = style_options, output_options, replace(video_options, stabilize=stabilize)
            for outcome in convert_videos(
                videos, loaded, options, frames=common.jobs, stop=stop, showing=video_progress,
                load=load if several else None,
            ):  # fmt: skip
                outcomes.report(outcome)
    if outcomes.failed:
        raise Exit(1)


@dataclass
class Plan:
    """What to do with photos and folders of them, as typed."""

    output: str | None = None
    force: bool = False
    common: CommonOptions = CommonOptions()
    format: str | None = None
    videos: bool = False
    jobs: "list[Job]" = field(default_factory=list)  # one named on its own refuses to overwrite
    settled: "list[Outcome]" = field(default_factory=list)  # what is skipped, or fails, already
    _taken: dict[str, Path] = field(default_factory=dict)

    def add_all(self, photos: list[Path], several: bool) -> None:
        """Add photos and folders; raise UsageError if the output cannot be one for these."""
        if several and self.output is not None and not is_folder(self.output):
            path = Path(self.output)
            if is_file(path) or path.suffix.lower() in {*SUFFIXES, *CONTAINERS}:
                raise UsageError(f"{path} is one file, but there are several photos")
        cartoons = own_cartoons([photo for photo in photos if not is_dir(photo)])
        if cartoons:
            complain(
                f"{len(cartoons)} skipped as cartoons of other photos named here; "
                "to redraw one, name it without its photo"
            )
        for photo in photos:
            if photo in cartoons:
                self._settle(photo, None)
            elif not is_dir(photo):
                target = choose_target(photo, self.output, several, self.format)
                self._claim(photo, target, "refuse")
            elif not self.add_folder(photo):
                chosen = self.common.include or self.common.exclude
                matching = "matching " if chosen else ""
                self._settle(photo, None, PictureError(f"is a folder without {matching}pictures"))

    def add_folder(self, folder: Path) -> bool:
        """Add the pictures below a folder, if there is anything; their cartoons mirror its tree."""
        output = Path(self.output) if self.output is not None else None
        include, exclude = self.common.include or (), self.common.exclude or ()
        found = find_pictures(folder, include, exclude, output, videos=self.videos)
        for unreadable, reason in found.unreadable:
            self._settle(unreadable, None, PictureError(f"cannot be read: {reason}"))
        for picture in found.pictures:
            target = cartoon_below(picture, folder, output, self.format)
            self._claim(picture, target, "skip")
        return bool(found.pictures or found.unreadable)

    def _claim(self, source: Path, target: Path, on_existing: Literal["refuse", "skip"]) -> None:
        """Add a picture, once; the second of two for one file fails."""
        from toonbox.convert.job import Job

        other = self._taken.setdefault(os.path.realpath(target), source)
        if other is not source and os.path.realpath(other) == os.path.realpath(source):
            return  # found again, as folders overlap
        if other is not source:
            clash = f"would be written to {target}, which is taken by {other}"
            self._settle(source, target, OutputError(clash))
        elif on_existing == "skip" and not self.force and exists(target):
            self._settle(source, target)
        else:
            self.jobs.append(Job(source, target, "overwrite" if self.force else on_existing))

    def _settle(self, source: Path, target: Path | None, error: ToonboxError | None = None) -> None:
        from toonbox.convert.job import Outcome

        status: Literal["skipped", "failed"] = "failed" if error else "skipped"
        self.settled.append(Outcome(source, target, status, error=error))


def choose_target(
    photo: Path, output: str | None, several: bool = False, format: str | None = None
) -> Path:
    """Choose the file to write for a photo that was named on its own, maybe one of several.

    Raises:
        UsageError: the output is of a format that cannot be written, or not of the wanted one.
    """
    if output is None:
        return photo.with_name(cartoon_name(photo, format))
    path = Path(output)
    if several or is_folder(output):
        return path / cartoon_name(photo, format)
    if becomes_video(photo, path):
        container = container_of(path)
        if format and CONTAINERS.get(f".{format.lower().removeprefix('.')}") != container:
            raise UsageError(f"{output} does not match --format {format}")
    elif path.suffix and path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot write {path.suffix}, only {' '.join(SUFFIXES)}")
    elif format and path.suffix and SUFFIXES[path.suffix.lower()] != format_named(format):
        raise UsageError(f"{output} does not match --format {format}")
    return path


def is_folder(output: str) -> bool:
    """Return whether -o is a folder: there is one, or it ends like one."""
    return is_dir(Path(output)) or output.endswith(("/", os.sep))


def _check_options(for_videos: list[bool], output: OutputOptions, video: VideoOptions) -> None:
    """Raise UsageError for the first option that has no effect on these inputs."""
    for options, kind, wanted in ((video, "videos", True), (output, "pictures", False)):
        for name in changed(options):
            if name not in FOR_VIDEOS_TOO and for_videos and wanted not in for_videos:
                raise UsageError(f"{_flag(name)} is for {kind}, and there are none")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _convert_pipe(
    photos: list[Path],
    output: str | None,
    as_json: bool,
    format: str | None,
    force: bool,
    load: "Callable[[], Converter]",
) -> None:
    """Convert one picture that comes or goes through a pipe; errors as in `cartoonize_file`."""
    from toonbox.convert.job import Job, Outcome

    photo, target = photos[0], None
    if len(photos) > 1 or is_dir(photo):
        raise UsageError("only one photo can go through -")
    if photo == Path(PIPE) and sys.stdin is None:
        raise UsageError("standard input is closed")
    if photo == Path(PIPE) and sys.stdin.isatty():
        raise UsageError("standard input is a terminal, not a picture")
    if output is not None and output != PIPE:
        if is_folder(output):
            raise UsageError(f"{output} is a folder; a photo from standard input needs a file name")
        target = choose_target(photo, output, format=format)
        if not force:
            refuse_existing(target)
    elif as_json:
        raise UsageError("--json and the picture cannot both go to standard output")
    elif sys.stdout is None:
        raise UsageError("standard output is closed")
    elif sys.stdout.isatty():
        raise UsageError("standard output is a terminal; give -o FILE, or redirect it")
    job = Job(photo, target)
    if photo == Path(PIPE):
        job = Job(Path("standard input"), target, data=sys.stdin.buffer.read())
    converter = load()
    began = time.perf_counter()
    with Steps("", 1) as step:
        converter.on_frame = step.frame
        converted = converter.convert(job)
    if target is not None:
        taken = time.perf_counter() - began
        Outcomes(as_json).report(Outcome(photo, target, "ok", taken, converted.size))
        return
    try:
        left = memoryview(converted.data)
        while left:  # without a buffer, as PYTHONUNBUFFERED wants it, only a part may be written
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except OSError as error:
        drop_output()
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def _write_preview(
    videos: list[Path],
    output: str | None,
    seconds: float,
    load: "Callable[[], Style]",
    force: bool,
    as_json: bool,
    options: Options,
) -> None:
    """Write one frame of a video as a PNG picture; errors as in `frame_at` and `writing`."""
    from PIL import Image

    from toonbox.convert.job import Outcome
    from toonbox.video.stylizer import composed, frame_at, video_style_options

    style_options, output_options, video_options = options
    video = videos[0]
    if len(videos) > 1 or not becomes_video(video):
        raise UsageError("--preview takes one video")
    target = choose_target(video.with_suffix(".png"), output)
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: a preview is a PNG picture")
    if not force:
        refuse_existing(target)
    style = load()
    began = time.perf_counter()
    with failing_alone(str(video)):
        limits = video_options.max_height, output_options.max_pixels
        photo, about = frame_at(video, seconds, *limits)
        cartoon = style.stylize(photo, video_style_options(style, style_options))
    image = Image.fromarray(composed(photo, cartoon, video_options.compare))
    if about.aspect != 1:
        image = image.resize((about.square_width(*image.size), image.height))
    with writing(target) as temporary:
        image.save(temporary, "PNG")
    taken = time.perf_counter() - began
    Outcomes(as_json).report(Outcome(video, target, "ok", taken, image.size))
