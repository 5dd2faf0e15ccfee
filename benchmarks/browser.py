"""Time a photo on the page, stage by stage, against Python on the same machine in the same run.

Run `python benchmarks/browser.py`; it needs Chromium, and `npm ci --prefix src/toonbox/page`.
A ratio is the browser's time to Python's on as many threads; ratios hold on a busy machine, times
do not.
"""

import argparse
import functools
import http.server
import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from ratios import Ratio, print_ratios
from toonbox.engine.guided import upsample
from toonbox.engine.style import Style, _resized, load_style
from toonbox.options import StyleOptions
from toonbox.page import Files, site_files
from toonbox.parallel import available_processors

EXAMPLE = Path(__file__).parents[1] / "examples" / "boats.jpg"
STAGES = ("decode", "reduce", "network", "upsample", "encode")
PATIENCE = 600_000  # milliseconds
HARNESS = b"""<!doctype html><meta charset="utf-8"><title>benchmark</title><script type="module">
import { Engine, listStyles } from "./engine.js";
import { readPicture, writePicture } from "./picture.js";
const styles = await listStyles(), engines = {};
window.draw = async (threads, name, resolution, shrunk) => {
  const engine = (engines[threads] ??= await Engine.start({ backend: "wasm", threads }));
  const style = styles.find((each) => each.name === name);
  await engine.load(style);
  const file = await (await fetch("photo.jpg")).blob();
  const begun = performance.now();
  let { bitmap } = await readPicture(file);
  if (shrunk) bitmap = await createImageBitmap(bitmap, { resizeHeight: shrunk });
  const decoded = performance.now();
  const cartoon = await engine.cartoonize(bitmap, { style, resolution });
  const drawn = performance.now();
  await writePicture(cartoon);
  const encoded = performance.now();
  const { read, reduce, network, finish } = engine.times;
  bitmap.close();
  return {
    threads: engine.threads,
    decode: decoded - begun + read, // as far as pixels in memory
    reduce: reduce - read,
    network: network - reduce,
    upsample: finish - network,
    encode: encoded - drawn,
    drawn: drawn - decoded,
    all: encoded - begun,
  };
};
document.title = "ready";
</script>"""


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, files: Files, *arguments: Any) -> None:
        self.files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        content = self.files.get(name, b"")
        data = content.read_bytes() if isinstance(content, Path) else content
        types = {".html": "text/html", ".wasm": "application/wasm", ".css": "text/css"}
        self.send_response(200)
        self.send_header("Content-Type", types.get(Path(name).suffix, "text/javascript"))
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def opened(files: Files) -> Iterator[Page]:
    """Serve files on 127.0.0.1, and open the benchmark's page in Chromium."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, files | {"benchmark.html": HARNESS})
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--use-fake-device-for-media-stream=fps=30"],
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"http://127.0.0.1:{server.server_port}/benchmark.html")
        page.wait_for_function("document.title === 'ready'")
        yield page
        browser.close()
    server.shutdown()


def enlarged_example(megapixels: float) -> bytes:
    """Make a JPEG of 4:3 with the content of an example, and a camera's noise."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    with Image.open(EXAMPLE) as opened:
        photo = opened.convert("RGB").resize((height * 4 // 3, height), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 3, (height, photo.width, 1)).astype(np.float32)
    values = np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(values).save(written, "JPEG", quality=92)
    return written.getvalue()


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Call, and say how many milliseconds it took."""
    start = time.perf_counter()
    result = work()
    return result, 1000 * (time.perf_counter() - start)


def in_python(style: Style, jpeg: bytes, resolution: int | None) -> dict[str, float]:
    """Time the same stages here."""
    times, threads = {}, style.session.threads
    photo, times["decode"] = timed(lambda: np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")))
    size = style.working_size(photo.shape, resolution)
    small, times["reduce"] = timed(lambda: _resized(photo, size, threads))
    native = StyleOptions(resolution="native")
    drawn, times["network"] = timed(lambda: style.stylize(small, native))
    parts, times["upsample"] = timed(lambda: list(upsample(photo, small, drawn, threads)))
    cartoon = Image.fromarray(np.concatenate([part for _, _, part in parts]))
    _, times["encode"] = timed(lambda: cartoon.save(io.BytesIO(), "JPEG", quality=95))
    times["all"] = sum(times.values())
    return times


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--style", default="comic-fast")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    jpeg = enlarged_example(options.megapixels)
    counts = sorted({1, available_processors()})
    styles = {n: load_style(options.style, engine="onnxruntime", threads=n) for n in counts}
    runs: dict[str, list[dict[str, float]]] = {}
    with opened(site_files() | {"photo.jpg": jpeg}) as page:
        for repeat in range(options.repeats + 1):  # the first warms up
            for count in counts:
                drawn = page.evaluate(
                    "given => draw(...given)", [count, options.style, options.resolution, None]
                )
                here = in_python(styles[count], jpeg, options.resolution)
                small = page.evaluate(
                    "given => draw(...given)", [count, options.style, options.resolution, 192]
                )
                if repeat:
                    runs.setdefault(f"browser {count}", []).append(drawn)
                    runs.setdefault(f"python {count}", []).append(here)
                    runs.setdefault(f"preview {count}", []).append(small)
    middle = {
        name: {stage: median(run[stage] for run in all_runs) for stage in all_runs[0]}
        for name, all_runs in runs.items()
    }
    print(f"{options.megapixels:g} megapixels, {options.style}, ms (median of {options.repeats})")
    print(f"{'':10}" + "".join(f"{f'{n} thread(s)':>14}{'Python':>8}{'ratio':>7}" for n in counts))
    for stage in (*STAGES, "all"):
        cells = ""
        for count in counts:
            browser, python = middle[f"browser {count}"][stage], middle[f"python {count}"][stage]
            cells += f"{browser:14.0f}{python:8.0f}{browser / max(python, 0.1):7.2f}"
        print(f"{stage:10}{cells}")
    previews = ", ".join(f"{middle[f'preview {n}']['drawn']:.0f} ({n})" for n in counts)
    print(f"a preview of 192 pixels, on so many threads: {previews}\n")
    most = counts[-1]
    network = middle[f"browser {most}"]["network"] / middle[f"python {most}"]["network"]
    ratios = [
        Ratio("times of the browser's network / of Python's", network, at_most=4),
        Ratio(
            "seconds from dropping a photo to its file",
            middle[f"browser {most}"]["all"] / 1000,
            at_most=3,
        ),
        Ratio("seconds of a preview", middle[f"preview {most}"]["drawn"] / 1000, at_most=0.1),
    ]
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
