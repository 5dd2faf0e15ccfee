"""The live camera in the page: Chromium's own test picture, and a picture that we know."""

import base64
import io
import re

import av
import numpy as np
import pytest
from PIL import Image

from media_pages import STYLE, axe_missing, choose_style, opened, set_strength, violations
from page_server import PATIENCE
from toonbox import load_style

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
expect = sync_api.expect

# Remembers what was opened; a picture stands still before the camera if there is one.
CAMERA = """
window.opened = [];
const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const stream = await (window.standIn && wanted.video ? window.standIn() : real(wanted));
  window.opened.push(stream);
  return stream;
};
"""
PICTURE = """
window.standIn = async () => {
  const picture = await createImageBitmap(await (await fetch("photo.png")).blob());
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const paint = () => canvas.getContext("2d").drawImage(picture, 0, 0);
  paint();
  setInterval(paint, 50);
  window.turn = () => ([canvas.width, canvas.height] = [canvas.height, canvas.width]);
  return canvas.captureStream();
};
"""
# Waits until a frame is shown; gives it and what the page says of it.
NEXT_FRAME = """() => new Promise((resolve) => {
  const canvas = document.querySelector("#camera canvas"), context = canvas.getContext("2d");
  context.putImageData = (data, ...place) => {
    delete context.putImageData;
    context.putImageData(data, ...place);
    setTimeout(() =>
      resolve([canvas.toDataURL(), document.querySelector("#camera .caption").textContent]));
  };
})"""
ENDED = "opened.every((each) => each.getTracks().every(({ readyState }) => readyState == 'ended'))"
SIZE = (96, 64)


@pytest.fixture
def site(small_site_served, monkeypatch):
    photo = Image.new("RGB", SIZE, (200, 80, 60))
    photo.paste((60, 90, 200), (48, 0, 96, 64))
    photo.paste((240, 230, 120), (8, 8, 30, 40))
    written = io.BytesIO()
    photo.save(written, "PNG")
    monkeypatch.setitem(small_site_served.files, "photo.png", written.getvalue())
    return small_site_served


def watched(tabs, site, script=CAMERA):
    """Open a page that may use the camera."""
    return opened(tabs, site, "camera", script, permissions=["camera", "microphone"])


@pytest.fixture
def camera(tabs, site):
    """Open a page on which Chromium's test picture is drawn."""
    with watched(tabs, site) as page:
        start(page)
        yield page


def start(page):
    page.get_by_role("button", name="Start the camera").click()
    expect(page.locator("#camera .caption")).to_contain_text("frames per second", timeout=PATIENCE)
    choose_style(page)


def shown(page):
    """Give what is on the canvas: (H, W, 3)."""
    url = page.evaluate("document.querySelector('#camera canvas').toDataURL()")
    return read(base64.b64decode(url.split(",")[1]))


def read(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def snapshot(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Take a snapshot").click()
    assert download.value.suggested_filename.endswith(".toon.png")
    return read(download.value.path().read_bytes())


def wait_for_another(page, picture):
    """Wait until the canvas shows something else."""
    for _ in range(PATIENCE // 100):
        if (shown(page) != picture).any():
            return
        page.wait_for_timeout(100)
    raise AssertionError("the camera's picture stands still")


def test_everything_ends_when_it_is_stopped_or_left(camera):
    stop = camera.get_by_role("button", name="Stop", exact=True)
    stop.click()
    begin = camera.get_by_role("button", name="Start the camera")
    expect(begin).to_be_focused()
    assert camera.evaluate(ENDED)

    begin.click()
    expect(stop).to_be_visible()
    camera.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    expect(camera.get_by_role("alert")).to_contain_text("the page was hidden")
    assert camera.evaluate(ENDED)
    camera.evaluate("delete document.hidden")

    begin.click()
    expect(stop).to_be_visible()
    camera.get_by_role("tab", name="Photos").click()
    expect(camera.locator("#camera *")).to_have_count(0)
    assert camera.evaluate("opened.length") == 3
    assert camera.evaluate(ENDED)


def test_it_can_be_left_and_opened_again_while_it_loads(tabs, site):
    with opened(tabs, site, "photos") as page:
        held = []
        page.route("**/camera.js", lambda route: held.append(route))
        with page.expect_request("**/camera.js"):
            page.get_by_role("tab", name="Camera").click()
        page.get_by_role("tab", name="Photos").click()
        page.get_by_role("tab", name="Camera").click()
        held[0].continue_()
        expect(page.get_by_role("button", name="Start the camera")).to_be_visible()
        expect(page.locator("#camera #styles")).to_be_attached()
        page.get_by_role("tab", name="Photos").click()
        expect(page.locator("#camera *")).to_have_count(0)
        expect(page.locator("#photos #styles")).to_be_attached()


def test_a_snapshot_is_the_cartoon_that_python_draws(tabs, site, small_styles):
    with watched(tabs, site, PICTURE + CAMERA) as page:
        start(page)
        set_strength(page, 0)
        mirrored = snapshot(page)
        page.get_by_label("Mirror").uncheck()
        photo = snapshot(page)
        before = shown(page)
        set_strength(page, 1)
        cartoon = snapshot(page)
        wait_for_another(page, before)
        live = shown(page).astype(int)
    assert photo.shape == (SIZE[1], SIZE[0], 3)
    assert photo[20, 20].argmin() == 2  # the yellow patch is on the left
    np.testing.assert_array_equal(mirrored, photo[:, ::-1])
    expected = load_style(small_styles[STYLE], engine="onnxruntime")(photo).astype(int)
    assert np.abs(expected - photo).mean() > 5
    assert np.abs(expected - cartoon).max() <= 2
    # What is shown live has been drawn as well.
    assert np.abs(live - expected).mean() < np.abs(live - photo).mean() / 2


def test_what_is_live_is_what_python_draws_at_the_resolution_that_is_said(
    tabs, site, small_styles, monkeypatch
):
    y, x = np.mgrid[:360, :480]
    waves = [np.sin(x / (17 + 9 * c)) + np.cos(y / (23 - 5 * c)) for c in range(3)]
    photo = (np.stack(waves, axis=2) * 50 + 128).astype(np.uint8)
    photo[100:200, 100:300] = (240, 200, 30)
    written = io.BytesIO()
    Image.fromarray(photo).save(written, "PNG")
    monkeypatch.setitem(site.files, "photo.png", written.getvalue())
    with watched(tabs, site, PICTURE + CAMERA) as page:
        page.get_by_role("button", name="Start the camera").click()
        caption = page.locator("#camera .caption")
        expect(caption).to_contain_text("frames per second", timeout=PATIENCE)
        page.get_by_label("Mirror").uncheck()
        choose_style(page)
        set_strength(page, 0.7)
        for _ in range(4):  # what was begun before has gone by
            page.evaluate(NEXT_FRAME)
        url, said = page.evaluate(NEXT_FRAME)
    live = read(base64.b64decode(url.split(",")[1])).astype(int)
    resolution = int(re.findall(r"\d+", said)[-1])
    expected = load_style(small_styles[STYLE], engine="onnxruntime")(
        photo, resolution=resolution, strength=0.7
    ).astype(int)
    assert np.abs(expected - photo).mean() > 5
    assert np.abs(live - expected).mean() < 2


def test_what_is_drawn_live_is_recorded_with_sound(camera, tmp_path):
    camera.get_by_label("Record sound").check()
    camera.get_by_role("button", name="Record", exact=True).click()
    finish = camera.get_by_role("button", name="Stop recording")
    expect(finish).to_have_attribute("aria-pressed", "true")
    for _ in range(5):
        wait_for_another(camera, shown(camera))
    with camera.expect_download() as download:
        finish.click()
    name = download.value.suggested_filename
    assert name.endswith((".toon.webm", ".toon.mp4"))
    download.value.save_as(tmp_path / name)
    size = shown(camera).shape[1::-1]
    with av.open(str(tmp_path / name)) as container:
        assert len(container.streams.audio) == 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert frames[0].shape[1::-1] == size
    assert len(frames) >= 3
    assert any(np.abs(frame.astype(int) - frames[0]).max() > 30 for frame in frames)
    with av.open(str(tmp_path / name)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 0


def test_turning_the_phone_saves_the_recording(tabs, site, tmp_path):
    with watched(tabs, site, PICTURE + CAMERA) as page:
        start(page)
        page.get_by_role("button", name="Record", exact=True).click()
        expect(page.get_by_role("button", name="Stop recording")).to_be_visible()
        for _ in range(3):
            page.evaluate(NEXT_FRAME)
        with page.expect_download() as download:
            page.evaluate("turn()")
        download.value.save_as(tmp_path / "recording")
        expect(page.get_by_role("alert")).to_contain_text("stopped and saved")
        expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()
        page.evaluate(NEXT_FRAME)
        assert shown(page).shape[:2] == SIZE  # goes on, upright
    with av.open(str(tmp_path / "recording")) as container:
        assert next(container.decode(video=0)).to_ndarray().size > 0


def test_the_focus_stays_on_what_is_busy(tabs, site):
    with watched(tabs, site, PICTURE + CAMERA) as page:
        start(page)
        page.get_by_label("Record sound").check()
        refusal = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error())"
        page.evaluate(f"() => {{ {refusal}; }}")
        record = page.get_by_role("button", name="Record", exact=True)
        snap = page.get_by_role("button", name="Take a snapshot")
        snap.focus()
        with page.expect_download():
            page.keyboard.press("Enter")
        expect(snap).to_have_attribute("aria-disabled", "false")
        expect(snap).to_be_focused()
        record.focus()
        page.keyboard.press("Enter")
        finish = page.get_by_role("button", name="Stop recording")
        expect(finish).to_be_focused()
        with page.expect_download():
            finish.click()


def test_another_camera_can_be_started_after_one_that_fails(tabs, site):
    two = """
    navigator.mediaDevices.enumerateDevices = async () => ["first", "second"].map((deviceId) =>
      ({ deviceId, kind: "videoinput", label: deviceId }));
    const good = navigator.mediaDevices.getUserMedia;
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      if (wanted.video.deviceId) throw new DOMException("", "NotReadableError");
      return good(wanted);
    };
    """
    with watched(tabs, site, PICTURE + CAMERA + two) as page:
        start(page)
        page.locator("#camera select").select_option("second")
        expect(page.get_by_role("alert")).to_contain_text("in use by another program")
        start(page)
        expect(page.get_by_role("alert")).to_be_hidden()


def test_it_says_why_there_is_no_camera(tabs, site):
    refusal = "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(%s); }"
    insecure = "() => Object.defineProperty(navigator, 'mediaDevices', { value: undefined })"
    with opened(tabs, site, "camera") as page:
        for script, said in (
            ("() => {}", "has blocked the camera for this page"),  # it was given no permission
            (refusal % "new DOMException('', 'NotFoundError')", "No camera was found"),
            (refusal % "new DOMException('', 'NotReadableError')", "in use by another program"),
            (insecure, "only on pages from https://"),
        ):
            page.evaluate(script)
            page.get_by_role("button", name="Start the camera").click()
            expect(page.get_by_role("alert")).to_contain_text(said)
            expect(page.get_by_role("button", name="Start the camera")).to_be_enabled()


def test_the_resolution_follows_the_speed(tabs, site):
    with opened(tabs, site, "camera") as page:
        settled = page.evaluate(
            """async () => {
              const { Pace } = await import("./camera.js");
              const settle = (secondsPerPixel) => {
                const pace = new Pace(512);
                const visited = [];
                for (let frame = 0; frame < 200; frame++) {
                  pace.note(secondsPerPixel * pace.resolution ** 2);
                  visited.push(pace.resolution);
                }
                return visited;
              };
              return [1e-7, 1e-6, 4e-6, 1e-3].map(settle);
            }"""
        )
    fast, medium, slow, hopeless = settled
    assert fast[-1] == 512  # never more than the style's own
    for visited, work in ((medium, 1e-6), (slow, 4e-6)):
        assert len(set(visited[-50:])) == 1  # it does not swing
        assert 9 <= 1 / (work * visited[-1] ** 2) <= 13
        assert visited[-1] % 16 == 0
    assert hopeless[-1] == 96


@pytest.mark.skipif(axe_missing(), reason="needs axe-core: npm ci --prefix src/toonbox/page")
def test_axe_finds_nothing(camera):
    for scheme in ("light", "dark"):
        camera.emulate_media(color_scheme=scheme)
        assert violations(camera) == []
