"""`toonbox camera`: a live camera as a cartoon, in a window."""

from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from toonbox.cli.options import CommonOptions, EngineName, takes
from toonbox.options import EngineOptions, Stabilize, StyleOptions, VideoOptions, split_options
from toonbox.parallel import interruptible


@takes(
    (CommonOptions, "style", "threads"),
    StyleOptions,
    (VideoOptions, "compare", "stabilize", "max_height"),
    EngineOptions,
)
def camera(
    camera: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of the camera, from 0.")
    ] = 0,
    mirror: Annotated[
        bool, typer.Option("--mirror/--no-mirror", help="Swap left and right, as in a mirror.")
    ] = True,
    fps: Annotated[
        bool, typer.Option("--fps/--no-fps", help="Show the frame rate in the window's title.")
    ] = True,
    snapshots: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for saved pictures.", file_okay=False),
    ] = Path(),
    engine: EngineName = "auto",
    **given: Any,
) -> None:
    """Show a live camera as a cartoon, until q, Esc, Ctrl-C or the window is closed.

    \b
    Examples:
      toonbox camera
      toonbox camera --style comic-fast --resolution 256 --max-height 480

    In the window, s saves a picture, the space bar pauses and resumes, and digits change the
    style, in the order of `toonbox styles`. Requires OpenCV: pip install 'toonbox[camera]'.
    """
    from toonbox.video.window import Window, opencv

    opencv()  # before PyAV, see there
    from toonbox.engine.style import load_style, style_names
    from toonbox.video.camera import Camera, FrameStylizer, LatestValue, Show
    from toonbox.video.steadying import default_stabilization

    common, style_options, video_options, computing = split_options(
        given, CommonOptions, StyleOptions, VideoOptions, EngineOptions
    )
    stabilize = cast(Stabilize, video_options.stabilize or default_stabilization())
    load = cache(
        partial(load_style, engine=engine, threads=common.threads, precision=computing.precision)
    )
    stylizer = FrameStylizer(load, common.style, style_options, stabilize)
    with (
        suppress(KeyboardInterrupt),  # the usual end
        interruptible() as stop,
        closing(Camera(camera, video_options.max_height)) as device,
        closing(Window("toonbox")) as screen,
        closing(LatestValue(device.frames())) as frames,
    ):
        Show(
            stylizer, screen, mirror, video_options.compare, style_names(), snapshots, fps,
            report=typer.echo,
        ).run(frames, stop)  # fmt: skip
