"""Time the live camera of the page, against Python on the same machine in the same run.

Run `python benchmarks/browser_camera.py`; it needs what `benchmarks/browser.py` needs, and Linux.
The page draws Chromium's test camera, 1280 x 720 pixels 30 times a second: first at fixed
resolutions, then at the one that it chooses. A frame is one that was drawn, from its own pixels,
and shown. Processor time is that of all processes of the browser, the test camera's too; Python's
is that of a picture of 640 x 360 pixels, as the page shows. Frames a second hold on a machine that
does nothing else.
"""

import argparse
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from browser import opened
from toonbox.engine.style import load_style
from toonbox.page import FOLDER, site_files
from toonbox.parallel import available_processors

PATIENCE = 600_000  # milliseconds
WIDTH, HEIGHT = 640, 360
# Counts the frames that are shown.
COUNT = """
window.framesShown = 0;
const real = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (...given) {
  window.framesShown++;
  return real.apply(this, given);
};
"""


def fixed_at(resolution: int) -> str:
    """Give the camera's script so that it draws at one resolution, however long it takes."""
    script = (FOLDER / "camera.js").read_text()
    for name, value in ("WANTED", 1000), ("FIRST", resolution), ("SMALLEST", resolution):
        script, count = re.subn(
            rf"^const {name} = \d+", f"const {name} = {value}", script, flags=re.M
        )
        assert count == 1, name
    return script


def processor_seconds(root: int) -> float:
    """Sum what a process and all that it started have used."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        process = int(stat.parent.name)
        parents[process] = int(fields[1])
        used[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total, waiting = 0.0, [root]
    while waiting:
        process = waiting.pop()
        total += used.get(process, 0)
        waiting += [child for child, parent in parents.items() if parent == process]
    return total


def live(
    page: Page, style: str, seconds: float, resolution: int | None = None
) -> tuple[float, float, str]:
    """Let the page draw its camera, at a resolution or the one that it chooses.

    Returns:
        Frames a second; processor seconds of a frame; what the page says of itself.
    """
    assert page.context.browser is not None
    context = page.context.browser.new_context(
        permissions=["camera"], locale="en-GB", service_workers="block"
    )
    context.add_init_script(COUNT)
    if resolution is not None:
        script = fixed_at(resolution)
        context.route(
            "**/camera.js",
            lambda route: route.fulfill(body=script, content_type="text/javascript"),
        )
    view = context.new_page()
    view.set_default_timeout(PATIENCE)
    view.goto(page.url.replace("benchmark.html", "index.html#camera"))
    view.get_by_role("button", name="Start the camera").click()
    caption = view.locator("#camera .caption")
    expect(caption).to_contain_text("frames per second", timeout=PATIENCE)
    view.locator(f"#styles input[value='{style}']").check(force=True)
    view.wait_for_timeout(1000 * seconds / 2)  # until it has settled
    shown = "window.framesShown"
    frames, used, begun = view.evaluate(shown), processor_seconds(os.getpid()), time.monotonic()
    view.wait_for_timeout(1000 * seconds)
    took = time.monotonic() - begun
    used = processor_seconds(os.getpid()) - used
    frames = max(1, view.evaluate(shown) - frames)
    said = caption.inner_text()
    context.close()
    return frames / took, used / frames, said


def in_python(style: str, resolution: int, repeats: int) -> float:
    """Time a frame on one thread: the least processor seconds."""
    loaded = load_style(style, engine="onnxruntime", threads=1)
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    times = []
    for _ in range(repeats + 1):  # the first warms up
        begun = time.process_time()
        loaded(photo, resolution=resolution)
        times.append(time.process_time() - begun)
    return min(times[1:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and what the page chooses; `arguments` are the command line's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--style", default="comic-fast")
    parser.add_argument("--seconds", type=float, default=10, help="for each of the resolutions")
    parser.add_argument("--repeats", type=int, default=10, help="in Python")
    parser.add_argument("--resolution", type=int, nargs="*", default=[256, 192, 128])
    options = parser.parse_args(arguments)
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{options.style}, {available_processors()} processors, load {loads}")
    print(f"{'pixels':>8}{'frames/s':>10}{'ms of processors':>18}{'Python':>8}{'ratio':>7}")
    with opened(site_files()) as page:
        for resolution in options.resolution:
            rate, used, _ = live(page, options.style, options.seconds, resolution)
            here = in_python(options.style, resolution, options.repeats)
            print(
                f"{resolution:8}{rate:10.1f}{1000 * used:18.0f}{1000 * here:8.0f}"
                f"{used / here:7.2f}",
                flush=True,
            )
        rate, _, said = live(page, options.style, 2 * options.seconds)
    print(f"as it chooses: {rate:.1f} frames a second; it says: {said}")


if __name__ == "__main__":
    main()
