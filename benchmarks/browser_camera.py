"""Time the live camera of the page against Python on the same machine in the same run.

Run `python benchmarks/browser_camera.py`; it needs what `benchmarks/browser.py` needs. First the
page itself, with Chromium's test camera of 1280 x 720 pixels, which chooses its resolution. Then
single frames of what the page shows of such a camera, 640 x 360 pixels, drawn at fixed resolutions,
in turn with Python. Least times are near those of a machine that does nothing else; look at the
load before you believe the others.
"""

import argparse
import os
import re
import time
from statistics import median

import numpy as np
from playwright.sync_api import Page, expect

from browser import opened, timed
from toonbox.engine.style import load_style
from toonbox.page import site_files
from toonbox.parallel import available_processors

PATIENCE = 600_000  # milliseconds
WIDTH, HEIGHT = 640, 360
RESOLUTIONS = (256, 192, 128)
DRAW = """async ([name, resolution, seed]) => {
  const { Engine, listStyles } = await import("./engine.js");
  window.drawing ??= await Engine.start({ backend: "wasm" });
  const style = (await listStyles()).find((each) => each.name === name);
  const photo = new ImageData(640, 360);
  for (let i = 0; i < photo.data.length; i++) photo.data[i] = i % 4 === 3 ? 255 : (seed + i) % 251;
  const begun = performance.now();
  await window.drawing.cartoonize(photo, { style, resolution });
  return performance.now() - begun;
}"""


def live(page: Page, style: str, seconds: float) -> list[tuple[float, int]]:
    """Let the page draw its camera: frames a second and resolution, as it says, each second."""
    assert page.context.browser is not None
    context = page.context.browser.new_context(permissions=["camera"], locale="en-GB")
    view = context.new_page()
    view.set_default_timeout(PATIENCE)
    view.goto(page.url.replace("benchmark.html", "index.html#camera"))
    view.get_by_role("button", name="Start the camera").click()
    caption = view.locator("#camera .caption")
    expect(caption).to_contain_text("frames a second", timeout=PATIENCE)
    view.locator(f"#styles input[value='{style}']").check(force=True)
    said = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(1)
        rate, pixels = re.findall(r"[\d.]+", caption.inner_text())
        said.append((float(rate), int(pixels)))
    context.close()
    return said


def main() -> None:
    """Print what the page says of itself, and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--style", default="comic-fast")
    parser.add_argument("--seconds", type=float, default=20, help="for the live camera")
    parser.add_argument("--repeats", type=int, default=15, help="for single frames")
    options = parser.parse_args()
    threads = available_processors()
    style = load_style(options.style, engine="onnxruntime", threads=threads)
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    browser: dict[int, list[float]] = {resolution: [] for resolution in RESOLUTIONS}
    python: dict[int, list[float]] = {resolution: [] for resolution in RESOLUTIONS}
    with opened(site_files()) as page:
        said = live(page, options.style, options.seconds)
        for repeat in range(options.repeats + 1):  # the first warms up
            for resolution in RESOLUTIONS:
                drawn = page.evaluate(DRAW, [options.style, resolution, repeat])
                _, here = timed(lambda: style(photo, resolution=resolution))  # noqa: B023
                if repeat:
                    browser[resolution].append(drawn)
                    python[resolution].append(here)
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{options.style}, {threads} threads, load {loads} over 1, 5 and 15 minutes")
    half = said[len(said) // 2 :]
    rate, pixels = median(rate for rate, _ in half), median(pixels for _, pixels in half)
    print(f"live: {rate:.1f} frames a second at {pixels:.0f} pixels (second half of the time)")
    print(
        f"{'pixels':>8}{'ms':>7}{'least':>7}{'Python':>8}{'least':>7}{'ratio':>7}  frames/s, least"
    )
    for resolution in RESOLUTIONS:
        ours, theirs = browser[resolution], python[resolution]
        print(
            f"{resolution:8}{median(ours):7.0f}{min(ours):7.0f}{median(theirs):8.0f}"
            f"{min(theirs):7.0f}{min(ours) / min(theirs):7.2f}{1000 / min(ours):10.1f}"
        )


if __name__ == "__main__":
    main()
