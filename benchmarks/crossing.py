"""Count the files of toonbox that a photo and a video cross between the command line and the disk.

Run `python benchmarks/crossing.py`. The command runs in this process under a profiler, which lists
the files of src/toonbox whose functions are called, in the order of their first call.
"""

import argparse
import contextlib
import inspect
import io
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import av
import numpy as np
from PIL import Image

import toonbox
from toonbox.cli.main import main as command

SOURCE = Path(toonbox.__file__).parent


class Crossing:
    """A profiler that notes the files of toonbox in which functions are called."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note a call; the code of modules and classes themselves is no function."""
        code = frame.f_code
        file = Path(code.co_filename)
        function = code.co_flags & inspect.CO_NEWLOCALS and not code.co_name.startswith("<")
        if event == "call" and function and SOURCE in file.parents:
            self.files.setdefault(file.relative_to(SOURCE).as_posix())


def crossing(*arguments: str) -> list[str]:
    """Run the command; return the files it crosses, in order."""
    profiler = Crossing()
    threading.setprofile(profiler)
    sys.setprofile(profiler)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            command(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return list(profiler.files)


def make_clip(path: Path) -> None:
    """Write a video of a few noisy frames."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(4):
            rgb = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(stream.encode())


def main() -> None:
    """Print the files of both ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo, clip = Path(folder) / "photo.png", Path(folder) / "clip.mp4"
        Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(photo)
        make_clip(clip)
        for name, source in (("photo", photo), ("video", clip)):
            files = crossing(str(source), "--style", "comic-fast", "--engine", "onnxruntime")
            print(f"{name}: {len(files)} files")
            print(*(f"  {file}" for file in files), sep="\n")


if __name__ == "__main__":
    main()
