"""`toonbox camera`: a live camera as a cartoon, in a window."""

from contextlib import ExitStack, closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from toonbox.cli.options import Engine, EngineName, Force, StyleName, Threads, takes
from toonbox.cli.video import default_stabilization
from toonbox.errors import UsageError
from toonbox.options import Stabilize, StyleOptions, VideoOptions
from toonbox.signals import interruptible

if TYPE_CHECKING:
    from collections.abc import Callable

    from toonbox.video.camera import Show


@takes(StyleOptions, VideoOptions, only=("compare", "stabilize", "max_height"))
def camera(
    style_options: StyleOptions,
    video_options: VideoOptions,
    camera: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Which camera, counted from 0. Default: 0."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A video file that takes the place of the camera."),
    ] = None,
    sink: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write what is shown: .mp4, .mkv or .webm."),
    ] = None,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Show it; without, only --sink gets it.")
    ] = True,
    style: StyleName = "comic",
    mirror: Annotated[
        bool | None,
        typer.Option(
            "--mirror/--no-mirror", help="Left is right, as in a mirror. Default: for a camera."
        ),
    ] = None,
    fps: Annotated[
        bool, typer.Option("--fps/--no-fps", help="Tell frames a second in the window's title.")
    ] = True,
    snapshots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where s saves pictures. Default: here.", file_okay=False),
    ] = None,
    force: Force = False,
    engine: EngineName = Engine.auto,
    threads: Threads = None,
) -> None:
    """Show a live camera as a cartoon, until q, Esc, Ctrl-C or the window is closed.

    \b
    Examples:
      toonbox camera
      toonbox camera --style comic-fast --resolution 256 --max-height 480
      toonbox camera --sink me.mp4
      toonbox camera --source clip.mp4 --sink toon.mp4 --no-window

    In the window, s saves a picture, the space bar pauses and goes on, and the digits change the
    style, in the order of `toonbox styles`. It needs OpenCV: pip install 'toonbox[camera]'.
    """
    _check(camera, source, sink, window, snapshots, force)
    from toonbox.engine.card import style_names
    from toonbox.engine.style import load_style
    from toonbox.video.camera import Artist, Show, Showing, record_video

    steady = cast(Stabilize, video_options.stabilize or default_stabilization())
    max_height = video_options.max_height
    load = cache(partial(load_style, engine=engine.value, threads=threads))
    artist = Artist(load, style, style_options, steady)
    mirrored = source is None if mirror is None else mirror
    showing = Showing(mirrored, video_options.compare)
    with suppress(KeyboardInterrupt), interruptible() as stop:  # the usual end without a window
        if source is not None and sink is not None and not window:
            if record_video(source, sink, artist, showing, steady, max_height, stop):
                typer.echo(f"{source} -> {sink}")
            return
        show = Show(artist, showing, styles=style_names(), rate=fps, tell=typer.echo)
        show.snapshots = snapshots or Path()
        _play(show, source, camera or 0, max_height, sink, window, stop)


def _check(
    camera: int | None,
    source: Path | None,
    sink: Path | None,
    window: bool,
    snapshots: Path | None,
    force: bool,
) -> None:
    """Refuse what cannot be before anything is begun.

    Raises:
        UsageError: options that do not go together.
        OutputError: the sink is there already.
        MissingExtraError: OpenCV is needed and not installed.
    """
    if source is not None and camera is not None:
        raise UsageError("--source takes the place of --camera; give one of them")
    if not window and sink is None:
        raise UsageError("--no-window leaves nothing to do without --sink FILE")
    if not window and snapshots is not None:
        raise UsageError("--snapshots is for the window, where s saves pictures")
    if window or source is None:
        from toonbox.video.window import opencv

        opencv()  # now: see there
    if sink is not None:
        from toonbox.atomic import refuse_existing
        from toonbox.images.formats import container_of

        container_of(sink)
        if not force:
            refuse_existing(sink)


def _play(
    show: "Show",
    source: Path | None,
    camera: int,
    max_height: int | None,
    sink: Path | None,
    window: bool,
    stop: "Callable[[], bool]",
) -> None:
    """Open what is needed, show and record, and close it."""
    from toonbox.video.camera import Camera, Pace, Recording, play, video_frames_at_pace
    from toonbox.video.pipeline import track_of
    from toonbox.video.read import read_video
    from toonbox.video.window import Window

    with ExitStack() as stack:
        if source is not None:
            video, show.pace = read_video(source), Pace()
            frames = video_frames_at_pace(video, show.pace, max_height)
            track = track_of(video, video.size)
        else:
            device = stack.enter_context(closing(Camera(camera, max_height)))
            frames, track = device.frames(), device.track
        if window:
            show.screen = stack.enter_context(closing(Window("toonbox")))
        recording = None if sink is None else Recording(sink, track)
        lost = play(show, frames, recording, stop)
        if sink is not None and show.shown:
            typer.echo(f"{source or f'camera {camera}'} -> {sink}")
        if lost is not None:
            raise lost
