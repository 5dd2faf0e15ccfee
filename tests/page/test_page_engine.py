"""The engine in the browser draws what Python draws, and behaves as its contract says."""

import base64
import io

import numpy as np
import pytest
from page_server import PATIENCE, Site
from PIL import Image

from toonbox import load_style
from toonbox.options import StyleOptions

HARNESS = b"""<!doctype html><meta charset="utf-8"><title>test</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; connect-src 'self';
 script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; worker-src 'self' blob:">
<script type="module">
import { Engine, listStyles } from "./engine.js";
const styles = await listStyles();
const options = ({ style, ...rest }) =>
  ({ style: styles.find(({ name }) => name === style), ...rest });
const read = async (name) => createImageBitmap(await (await fetch(name)).blob());
const base64 = (data) => new Promise((resolve) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.split(",")[1]);
  reader.readAsDataURL(new Blob([data]));
});
const engines = {};
Object.assign(window, {
  Engine, styles, options, read,
  engine: (forced = {}) => engines[JSON.stringify(forced)] ??= Engine.start(forced),
  async draw(photo, wanted, forced) {
    const engine = await window.engine(forced);
    const cartoon = await engine.cartoonize(await read(photo), options(wanted));
    return base64(cartoon.data);
  },
  async drawRaw(width, height, photo, wanted) {
    const data = Uint8ClampedArray.from(atob(photo), (c) => c.charCodeAt(0));
    const picture = new ImageData(data, width, height);
    const engine = await window.engine();
    const cartoon = await engine.cartoonize(picture, options(wanted));
    return [await base64(cartoon.data), await base64(picture.data)];
  },
});
document.title = "ready";
</script>"""


def photo(height, width, seed=0):
    """Make something with smooth areas, edges and noise: (H, W, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (17 + 9 * c)) + np.cos(y / (23 - 5 * c)) for c in range(3)]
    image = np.stack(waves, axis=2) * 50 + 128 + random.normal(0, 6, (height, width, 3))
    image[height // 3 : height // 2, width // 4 : width // 2] = random.integers(0, 256, 3)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def png(array):
    written = io.BytesIO()
    Image.fromarray(array).save(written, "PNG", compress_level=1)
    return written.getvalue()


@pytest.fixture(scope="module")
def site(built_site, tmp_path_factory):
    site = Site(built_site | {"test.html": HARNESS})
    yield site
    site.close()


@pytest.fixture(scope="module")
def page(chromium, site):
    page = chromium.new_page()
    page.set_default_timeout(PATIENCE)
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.url}test.html")
    page.wait_for_function("document.title === 'ready'")
    yield page
    page.close()
    assert errors == []
    assert not [url for url in asked if not url.startswith((site.url, "blob:", "data:"))]


def drawn(page, site, array, forced=None, **options):
    site.files["photo.png"] = png(array)
    found = page.evaluate(
        "([options, forced]) => draw('photo.png', options, forced ?? undefined)",
        [options, forced],
    )
    rgba = np.frombuffer(base64.b64decode(found), np.uint8).reshape(*array.shape[:2], 4)
    assert (rgba[..., 3] == 255).all()
    return rgba[..., :3]


def expected(array, style, **options):
    return load_style(style, engine="onnxruntime").stylize(array, StyleOptions(**options))


def furthest(one, other):
    return int(np.abs(one.astype(int) - other).max())


CASES = {
    "own size": ((192, 256), "comic", {"resolution": "native"}),
    "odd own size": ((97, 131), "comic", {}),
    "reduced": ((900, 1210), "comic-fast", {"resolution": 192}),
    "reduced by less than half": ((301, 407), "comic", {"resolution": 250}),
    "thin": ((1, 70), "comic", {}),
    "thin and reduced": ((300, 1), "comic", {"resolution": 1}),
    "one pixel": ((1, 1), "comic", {}),
    "very wide": ((40, 900), "watercolour", {"resolution": 24}),
    "knobs": ((200, 150), "anime", {"surface": 2, "structure": 0.5, "texture": 0}),
    "strength": ((400, 300), "comic", {"resolution": 128, "strength": 0.37}),
    "strength at own size": ((96, 96), "comic", {"strength": 0.63}),
    "no strength": ((64, 96), "comic", {"strength": 0}),
    "ink": ((500, 411), "ink", {"resolution": 160}),
    "ink with strength": ((300, 411), "ink", {"resolution": 100, "strength": 0.5}),
}


@pytest.mark.parametrize("case", CASES)
def test_at_most_two_levels_from_python(page, site, case):
    (height, width), style, options = CASES[case]
    array = photo(height, width)
    there = drawn(page, site, array, style=style, **options)
    here = expected(array, style, **options)
    assert furthest(here, there) <= 2
    if options.get("strength", 1) > 0 and min(height, width) > 1:
        assert furthest(array, there) > 20  # it is a cartoon


def test_tiles_are_as_one_piece(page, site):
    array = photo(430, 700)
    there = drawn(page, site, array, {"tile": 128}, style="comic", resolution="native")
    assert furthest(expected(array, "comic", resolution="native"), there) <= 2


def test_transparent_pixels_stay(page):
    rgba = np.dstack([photo(80, 120), np.full((80, 120), 255, np.uint8)])
    rgba[:40, :60, 3], rgba[40:, 60:, 3] = 0, 100
    for resolution in (40, "native"):
        found, given = page.evaluate(
            "([photo, options]) => drawRaw(120, 80, photo, options)",
            [
                base64.b64encode(rgba.tobytes()).decode(),
                {"style": "comic", "resolution": resolution},
            ],
        )
        there = np.frombuffer(base64.b64decode(found), np.uint8).reshape(rgba.shape)
        assert base64.b64decode(given) == rgba.tobytes()  # the caller's picture is left alone
        assert (there[..., 3] == rgba[..., 3]).all()
        assert (there[:40, :60] == rgba[:40, :60]).all()
        rgb = np.ascontiguousarray(rgba[..., :3])
        here = load_style("comic", engine="onnxruntime").stylize(
            rgb, StyleOptions(resolution=resolution), alpha=rgba[..., 3]
        )
        assert furthest(here, there[..., :3]) <= 2
