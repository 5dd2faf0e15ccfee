"""`toonbox camera`: a live camera as a cartoon, in a window."""

from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import Annotated, cast

from typer import Option, echo

from toonbox.cli.options import ENGINE, CommonOptions
from toonbox.options import Engine, EngineOptions, Stabilize, StyleOptions, VideoOptions
from toonbox.parallel import interruptible


def camera(
    common: Annotated[CommonOptions, "style", "threads"],
    drawing: StyleOptions,
    video: Annotated[VideoOptions, "compare", "stabilize", "max_height"],
    computing: EngineOptions,
    camera: int = Option(0, min=0, metavar="N", help="Number of the camera, from 0."),
    mirror: bool = Option(True, help="Swap left and right, as in a mirror."),
    fps: bool = Option(True, help="Show the frame rate in the window's title."),
    snapshots: Path = Option(
        Path(), metavar="DIR", help="Folder for saved pictures.", file_okay=False
    ),
    engine: Engine = ENGINE,
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

    stabilize = cast(Stabilize, video.stabilize or default_stabilization())
    precision = computing.precision
    load = cache(partial(load_style, engine=engine, threads=common.threads, precision=precision))
    stylizer = FrameStylizer(load, common.style, drawing, stabilize)
    with (
        suppress(KeyboardInterrupt),  # the usual end
        interruptible() as stop,
        closing(Camera(camera, video.max_height)) as device,
        closing(Window("toonbox")) as screen,
        closing(LatestValue(device.frames())) as frames,
    ):
        Show(
            stylizer, screen, mirror, video.compare, style_names(), snapshots, fps, report=echo
        ).run(frames, stop)
