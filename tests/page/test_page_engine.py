"""The engine in the browser draws what Python draws, and behaves as its contract says."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from page_server import CHROMIUM, ENGINE_PAGE, PATIENCE, Site, visit
from toonbox import load_style
from toonbox.options import StyleOptions


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
def site(serve, built_site, tmp_path_factory):
    return serve(built_site | {"test.html": ENGINE_PAGE})


@pytest.fixture(scope="module")
def page(chromium, site):
    page = chromium.new_page()
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("request", lambda request: asked.append(request.url))
    visit(page, f"{site.url}test.html")
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
    "detail": ((800, 900), "comic", {}),
    "detail at own size": ((620, 640), "painted", {}),
    "detail, enlarged": ((150, 201), "anime", {"strength": 0.8}),
}


@pytest.mark.parametrize("case", CASES)
def test_at_most_two_levels_from_python(page, site, case):
    (height, width), style, options = CASES[case]
    array = photo(height, width)
    if case.startswith("detail"):
        array[::3, ::4] ^= 128
    there = drawn(page, site, array, style=style, **options)
    here = expected(array, style, **options)
    assert furthest(here, there) <= 2
    if case.startswith("detail"):
        assert furthest(expected(array, style, **{"resolution": 512, **options}), there) > 20
    if options.get("strength", 1) > 0 and min(height, width) > 1:
        assert furthest(array, there) > 20  # it is a cartoon


def test_tiles_are_as_one_piece(page, site):
    array = photo(430, 450)
    there = drawn(page, site, array, {"tile": 200}, style="comic-fast", resolution="native")
    assert furthest(expected(array, "comic-fast", resolution="native"), there) <= 2


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
        here = load_style("comic", engine="onnxruntime")(rgba, resolution=resolution)
        assert furthest(here[..., :3], there[..., :3]) <= 2


def test_threads_where_the_page_is_isolated_and_one_elsewhere(page, chromium, built_site):
    threads, cores = page.evaluate(
        "async () => [(await engine()).threads, navigator.hardwareConcurrency]"
    )
    assert threads == min(cores, 8)
    site = Site(built_site | {"test.html": ENGINE_PAGE}, headers={})
    other = chromium.new_page()
    try:
        visit(other, f"{site.url}test.html")
        array = photo(60, 80)
        there = drawn(other, site, array, style="comic")
        assert other.evaluate("async () => (await engine()).threads") == 1
        assert furthest(expected(array, "comic"), there) <= 2
    finally:
        other.close()
        site.close()


def test_every_kind_of_picture_is_taken_and_stays_usable(page, site):
    site.files["photo.png"] = png(photo(96, 128))
    found = page.evaluate(
        """async () => {
          const engine = await window.engine(), bitmap = await read("photo.png");
          const canvas = document.createElement("canvas");
          Object.assign(canvas, { width: 128, height: 96 });
          canvas.getContext("2d").drawImage(bitmap, 0, 0);
          const frame = new VideoFrame(bitmap, { timestamp: 0 });
          const data = canvas.getContext("2d").getImageData(0, 0, 128, 96);
          const sums = [];
          for (const picture of [bitmap, canvas, frame, data, bitmap, canvas, frame, data]) {
            const cartoon = await engine.cartoonize(picture, options({ style: "comic" }));
            sums.push([cartoon.width, cartoon.height, cartoon.data.reduce((a, b) => a + b, 0)]);
          }
          frame.close();
          return sums;
        }"""
    )
    assert len({tuple(each) for each in found}) == 1
    assert found[0][:2] == [128, 96]


def test_a_picture_drawn_again_comes_out_as_the_first_time(page, site):
    """Knobs and strength on one bitmap, of which the worker keeps what it can."""
    array = photo(300, 400)
    site.files["photo.png"] = png(array)
    wanted = [
        {"strength": 1}, {"strength": 0.5}, {"texture": 2}, {"strength": 0.5, "texture": 2},
        {"resolution": 64}, {"resolution": "native"}, {"strength": 0}, {"strength": 1},
    ]  # fmt: skip
    found = page.evaluate(
        """async (wanted) => {
          const engine = await window.engine(), bitmap = await read("photo.png"), results = [];
          for (const each of wanted) {
            const how = options({ style: "comic", resolution: 128, ...each });
            const { data } = await engine.cartoonize(bitmap, how);
            results.push(Array.from(data.subarray(4 * 60000, 4 * 60300)));
          }
          return results;
        }""",
        wanted,
    )
    for options, values in zip(wanted, found, strict=True):
        here = expected(array, "comic", **{"resolution": 128, **options})
        there = np.array(values, np.uint8).reshape(-1, 4)[:, :3]
        assert furthest(here.reshape(-1, 3)[60000:60300], there) <= 2


def test_pictures_that_the_worker_has_forgotten_are_sent_again(page):
    found = page.evaluate(
        """async () => {
          const engine = await window.engine(), bitmaps = [];
          for (let index = 0; index < 4; index++) {
            const canvas = new OffscreenCanvas(3600, 2600), context = canvas.getContext("2d");
            context.fillStyle = `rgb(${50 * index} 90 30)`;
            context.fillRect(0, 0, 3600, 2600);
            bitmaps.push(canvas.transferToImageBitmap());
          }
          const how = options({ style: "comic", resolution: 32 });
          const draw = async (bitmap) => (await engine.cartoonize(bitmap, how)).data[0];
          const first = [], second = [];
          for (const bitmap of bitmaps) first.push(await draw(bitmap));
          for (const bitmap of bitmaps) second.push(await draw(bitmap));
          return [first, second];
        }"""
    )
    assert found[0] == found[1]
    assert len(set(found[0])) == 4


def test_the_newest_of_a_lane_replaces_the_one_that_waits(page, site):
    site.files["photo.png"] = png(photo(200, 300))
    found = page.evaluate(
        """async () => {
          const engine = await window.engine(), bitmap = await read("photo.png");
          const draw = (lane) =>
            engine.cartoonize(bitmap, options({ style: "comic" }), { lane })
              .then(() => "drawn", (error) => error.name);
          return Promise.all(["a", "a", "a", "b", "a", undefined, undefined].map(draw));
        }"""
    )
    assert found == [
        "drawn", "AbortError", "AbortError", "drawn", "drawn", "drawn", "drawn",
    ]  # fmt: skip


def test_cancelling_ends_a_large_one_in_the_middle(page, site):
    site.files["photo.png"] = png(photo(700, 1100))
    found = page.evaluate(
        """async () => {
          const engine = await window.engine({ tile: 64 }), bitmap = await read("photo.png");
          const controller = new AbortController(), shares = [];
          const how = {
            signal: controller.signal,
            onProgress(share) {
              shares.push(share);
              if (share > 0.1) controller.abort();
            },
          };
          const wanted = options({ style: "comic", resolution: "native" });
          const name = await engine.cartoonize(bitmap, wanted, how).catch(({ name }) => name);
          const again = await engine.cartoonize(bitmap, wanted, how).catch(({ name }) => name);
          const waiting = new AbortController();
          const small = options({ style: "comic", resolution: 32 });
          const running = engine.cartoonize(bitmap, small);
          const stopped = engine.cartoonize(bitmap, small, { signal: waiting.signal });
          waiting.abort();
          return [name, again, await stopped.catch(({ name }) => name),
            (await running).width, shares];
        }"""
    )
    assert found[:4] == ["AbortError", "AbortError", "AbortError", 1100]
    shares = found[4]
    assert shares == sorted(shares)
    assert shares[-1] < 0.5


def test_progress_goes_up_to_the_whole_and_the_page_never_waits(page, site):
    site.files["photo.png"] = png(photo(600, 800))
    shares, ticks = page.evaluate(
        """async () => {
          const engine = await window.engine({ tile: 128 }), bitmap = await read("photo.png");
          const shares = [];
          let ticks = 0, done = false;
          const tick = () => { ticks++; if (!done) setTimeout(tick); };
          tick();
          await engine.cartoonize(bitmap, options({ style: "comic-fast", resolution: 304 }),
            { onProgress: (share) => shares.push(share) });
          done = true;
          return [shares, ticks];
        }"""
    )
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] == 1
    assert len(shares) > 10
    assert ticks > 20


def test_what_fails_is_said_and_the_next_is_drawn(page, site):
    site.files["photo.png"] = png(photo(40, 60))
    site.files["models/broken.onnx"] = b"this is no network"
    found = page.evaluate(
        """async () => {
          const engine = await window.engine(), bitmap = await read("photo.png");
          const comic = options({ style: "comic" }), messages = [];
          for (const model of ["models/none.onnx", "models/broken.onnx"]) {
            const style = { ...comic.style, name: "another", model };
            await engine.cartoonize(bitmap, { style }).catch((error) =>
              messages.push(error.message));
          }
          messages.push((await engine.cartoonize(bitmap, comic)).width);
          return messages;
        }"""
    )
    assert found[0] == "another: its model could not be loaded"
    assert "another" in found[1]
    assert found[2] == 60


def test_closing_rejects_what_waits(page, site):
    site.files["photo.png"] = png(photo(40, 60))
    assert (
        page.evaluate(
            """async () => {
          const engine = await Engine.start(), bitmap = await read("photo.png");
          const comic = options({ style: "comic" });
          const results = [1, 2].map(() =>
            engine.cartoonize(bitmap, comic).catch(({ name }) => name));
          engine.close();
          results.push(engine.cartoonize(bitmap, comic).catch(({ name }) => name));
          return Promise.all(results);
        }"""
        )
        == ["AbortError"] * 3
    )


def test_webgpu_that_fails_is_replaced_by_wasm(page, site):
    array = photo(60, 80)
    there = drawn(page, site, array, {"backend": "webgpu"}, style="comic")
    assert furthest(expected(array, "comic"), there) <= 2
    assert page.evaluate("async () => (await engine({ backend: 'webgpu' })).backend") == "wasm"


def test_a_worker_that_is_missing_is_said(chromium, built_site):
    files = {name: each for name, each in built_site.items() if name != "worker.js"}
    site = Site(files | {"test.html": ENGINE_PAGE})
    page = chromium.new_page()
    try:
        visit(page, f"{site.url}test.html")
        message = page.evaluate("() => Engine.start().catch(({ message }) => message)")
        assert message == "the part of the page that draws could not be loaded"
    finally:
        page.close()
        site.close()


@pytest.mark.slow
def test_webgpu_draws_the_same(chromium, site):
    """On a card that Chromium emulates, which nobody would choose: see whether it is left alone."""
    emulated = [
        "--no-sandbox",
        "--js-flags=--liftoff-only",
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
    ]
    browser = chromium.browser_type.launch(
        executable_path=CHROMIUM, timeout=PATIENCE, args=emulated
    )
    try:
        page = browser.new_page()
        visit(page, f"{site.url}test.html")
        if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
            pytest.skip("this Chromium emulates no graphics card")
        assert page.evaluate("async () => (await engine()).backend") == "wasm"
        array = photo(32, 40)
        there = drawn(page, site, array, {"backend": "webgpu"}, style="comic")
        assert page.evaluate("async () => (await engine({ backend: 'webgpu' })).backend") == (
            "webgpu"
        )
        assert furthest(expected(array, "comic"), there) <= 2
    finally:
        browser.close()
