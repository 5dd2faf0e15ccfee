"""The page in a real browser: what people do with photos, by mouse, by keyboard and by ear."""

import io
import os
import re
import shlex
import zipfile
from base64 import b64encode
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media_pages import axe_missing, violations
from page_server import PATIENCE, Site, listening, wait_for
from toonbox import load_style
from toonbox.engine.style import SHIPPED
from toonbox.page import site_files

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
expect = sync_api.expect
SCREENSHOTS = os.environ.get("TOONBOX_SCREENSHOTS")
EXAMPLES = Path(__file__).parents[2] / "examples"
TARGET = 44  # CSS pixels: the smallest side of what a finger has to hit


def photo(width=120, height=96, seed=0):
    """Make a photo with areas, edges and noise, as PNG."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([np.sin(x / (9 + 4 * c)) + np.cos(y / (13 - 3 * c)) for c in range(3)], 2)
    image = image * 50 + 128 + random.normal(0, 5, (height, width, 3))
    image[height // 3 : height // 2, width // 4 : width // 2] = random.integers(0, 256, 3)
    written = io.BytesIO()
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(written, "PNG")
    return written.getvalue()


def file(name, data=None, type="image/png"):
    return {"name": name, "mimeType": type, "buffer": photo() if data is None else data}


@pytest.fixture
def site(small_site_served):
    return small_site_served


@pytest.fixture(scope="module")
def shipped(serve, built_site):
    """Serve the networks of the shipped styles, too."""
    return serve(built_site)


@pytest.fixture
def visit(tabs, site):
    """Open the page; afterwards check that it asked for its own files alone, without errors."""
    asked, errors, said = [], [], []

    with ExitStack() as stack:

        def open_page(site=site, ready=True, init=None, **settings):
            # Without service worker where it is not looked at: it fetches all once more.
            settings = {"locale": "en-GB", "service_workers": "block"} | settings
            page = stack.enter_context(tabs.open(site, init, **settings))
            for emitter, event, listener in (
                (page, "pageerror", errors.append),
                (page, "console", lambda message: said.append(message.text)),
                (page.context, "request", lambda request: asked.append(request.url)),
            ):
                stack.enter_context(listening(emitter, event, listener))
            page.goto(site.url)
            if ready:
                wait_for(page, "html[data-ready]")
            return page

        yield open_page
    assert errors == []
    assert not [text for text in said if "Content Security Policy" in text]
    foreign = [url for url in asked if not url.startswith(("http://127.0.0.1", "blob:", "data:"))]
    assert foreign == []


def choose(page, *files):
    """Choose files and wait until the first of them is drawn."""
    chooser = "#add" if page.locator("#workbench").is_visible() else "#choose"
    page.set_input_files(chooser, list(files))
    expect(page.locator("#workbench")).to_be_visible(timeout=PATIENCE)
    settled(page)


def settled(page):
    """Wait until the full size is drawn with the settings as they are."""
    wait_for(page, "#photos[data-drawn=true]")


def seen(page):
    """Give what the canvas of the cartoon shows, for comparisons."""
    return page.evaluate("document.querySelector('#compare .cartoon').toDataURL()")


def download(page, button="#download", key=None):
    with page.expect_download(timeout=PATIENCE) as download:
        page.locator(button).click() if key is None else page.keyboard.press(key)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def value(page, knob):
    return float(page.locator(f"#{knob}").input_value())


DROP = """([type, files]) => {
  const data = new DataTransfer();
  for (const { name, mime, bytes } of files) {
    const array = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
    data.items.add(new File([array], name, { type: mime }));
  }
  const settings = { bubbles: true, cancelable: true };
  if (type === "paste") {
    document.dispatchEvent(new ClipboardEvent("paste", { ...settings, clipboardData: data }));
  } else {
    for (const each of ["dragenter", "dragover", "drop"]) {
      const event = new DragEvent(each, { ...settings, dataTransfer: data });
      document.querySelector("main").dispatchEvent(event);
      if (each === "dragover" && document.querySelector("#drop").hidden) throw "not shown";
    }
  }
}"""


def drop(page, *files, event="drop"):
    described = [
        {"name": each["name"], "mime": each["mimeType"],
         "bytes": b64encode(each["buffer"]).decode()}
        for each in files
    ]  # fmt: skip
    page.evaluate(DROP, [event, described])


def test_a_dropped_photo_is_downloaded_as_python_draws_it(visit, shipped):
    page = visit(shipped)
    original = photo(208, 152)
    drop(page, file("my photo.png", original))
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.get_by_role("heading", name="my photo.png")).to_be_focused(timeout=PATIENCE)
    settled(page)
    name, data = download(page)
    assert name == "my photo.toon.png"
    expect(page.locator("#live")).to_have_text("Saved as my photo.toon.png.")
    assert Image.open(io.BytesIO(data)).format == "PNG"
    expected = load_style("comic", engine="onnxruntime")(pixels(original).astype(np.uint8)).astype(
        int
    )
    assert abs(pixels(data) - expected).max() <= 2
    assert abs(pixels(data) - pixels(original)).max() > 50


def test_options_are_those_of_python_and_of_the_command_line(visit, small_styles):
    page = visit()
    original = photo(96, 160)
    choose(page, file("it's.png", original))
    page.get_by_role("radio", name="Watercolour").check(force=True)
    for knob, wanted in (("strength", 0.75), ("surface", 0.4), ("texture", 1.7)):
        page.locator(f"#{knob}").fill(str(wanted))
    page.locator("#resolution").fill("128")
    settled(page)
    name, data = download(page)
    assert name == "it's.toon.png"
    options = {"strength": 0.75, "surface": 0.4, "texture": 1.7, "resolution": 128}
    expected = load_style(small_styles["watercolour"], engine="onnxruntime")(
        pixels(original).astype(np.uint8), **options
    )
    assert abs(pixels(data) - expected.astype(int)).max() <= 2

    page.get_by_label("Format").select_option("JPEG")
    page.locator("#quality").fill("40")
    words = shlex.split(page.locator("#command").text_content())
    assert words == [
        "toonbox", "it's.png", "--style", "watercolour", "--strength", "0.75", "--surface", "0.4",
        "--texture", "1.7", "--resolution", "128", "--format", "jpeg", "--quality", "40",
    ]  # fmt: skip
    name, small = download(page)
    assert name == "it's.toon.jpg"
    assert Image.open(io.BytesIO(small)).format == "JPEG"
    page.locator("#quality").fill("95")
    assert len(download(page)[1]) > 1.5 * len(small)
    page.get_by_label("Format").select_option("WebP")
    name, data = download(page)
    assert name == "it's.toon.webp"
    assert Image.open(io.BytesIO(data)).format == "WEBP"


def tab_to(page, selector):
    for _ in range(40):
        if page.locator(selector).evaluate("(element) => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no way to {selector} by keyboard")


def test_everything_works_by_keyboard_alone(visit):
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    tab_to(page, "#example")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="example.jpg")).to_be_focused(timeout=PATIENCE)
    settled(page)
    comic = seen(page)

    tab_to(page, "#compare input")
    page.keyboard.press("ArrowRight")
    slider = page.get_by_role("slider", name="Compare photo and cartoon")
    expect(slider).to_have_attribute("aria-valuetext", "51 % photo on the left")
    tops = "['#compare', '#compare canvas'].map((name) => $(name).getBoundingClientRect().top)"
    compare, canvas = page.evaluate(tops.replace("$", "document.querySelector"))
    assert compare == canvas
    page.keyboard.press("Home")
    split = "document.querySelector('#compare').style.getPropertyValue('--split')"
    assert page.evaluate(split) == "0%"

    tab_to(page, "input[name=style][value=comic]")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Anime", exact=True)).to_be_focused()
    expect(page.get_by_role("radio", name="Anime", exact=True)).to_be_checked()
    settled(page)
    anime = seen(page)
    assert anime != comic
    tab_to(page, "#texture")
    page.keyboard.press("End")
    assert value(page, "texture") == 2
    settled(page)
    assert seen(page) not in (comic, anime)
    page.keyboard.press("Control+z")
    assert value(page, "texture") == 1
    settled(page)
    assert seen(page) == anime
    page.keyboard.press("Control+z")
    expect(page.get_by_role("radio", name="Comic", exact=True)).to_be_checked()
    settled(page)
    assert seen(page) == comic
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+y")
    assert value(page, "texture") == 2
    page.keyboard.press("Control+z")
    expect(page.get_by_role("button", name="Undo")).to_have_attribute("aria-disabled", "false")
    settled(page)
    assert seen(page) == anime


def test_every_style_is_shown_on_each_photo_and_loaded_once(visit, shipped):
    page = visit(shipped)
    shipped.asked.clear()
    count = len(list(SHIPPED.glob("*/card.toml")))
    for name in ("a.png", "b.png"):
        choose(page, file(name, photo(60, 48)))
        expect(page.get_by_role("heading", name=name)).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#styles canvas:not(.waiting)")).to_have_count(count, timeout=PATIENCE)
    assert len([name for name in shipped.asked if name.endswith(".onnx")]) == count
    pictures = page.evaluate(
        "[...document.querySelectorAll('#styles canvas')].map((canvas) => canvas.toDataURL())"
    )
    assert len(set(pictures)) == count


def test_reset_and_the_buttons_of_undo_and_redo(visit):
    page = visit()
    choose(page, file("a.png"))
    undo, redo, reset = (
        page.get_by_role("button", name=name) for name in ("Undo", "Redo", "Reset")
    )
    for button in (undo, redo, reset):
        expect(button).to_have_attribute("aria-disabled", "true")
    before = seen(page)
    page.locator("#surface").fill("2")
    page.locator("#strength").fill("0.3")
    settled(page)
    changed = seen(page)
    assert changed != before
    reset.click()
    assert (value(page, "surface"), value(page, "strength")) == (1, 1)
    settled(page)
    assert seen(page) == before
    expect(reset).to_have_attribute("aria-disabled", "true")
    undo.click()
    assert (value(page, "surface"), value(page, "strength")) == (2, 0.3)
    settled(page)
    assert seen(page) == changed
    undo.click()
    undo.click()
    expect(undo).to_have_attribute("aria-disabled", "true")
    expect(undo).to_be_focused()
    redo.click()
    assert (value(page, "surface"), value(page, "strength")) == (2, 1)


def test_a_moving_slider_draws_a_small_preview_before_the_full_size(visit, small_styles):
    """While it moves, nothing of full size is drawn; on release, the download has the new value."""
    page = visit()
    original = photo(400, 300)
    choose(page, file("a.png", original))
    before = seen(page)
    page.locator("#texture").evaluate(
        "(input) => { input.value = 0; input.dispatchEvent(new Event('input')); }"
    )
    wait_for(page, "#photos[data-drawn=preview]")
    preview = seen(page)
    assert preview != before
    page.locator("#texture").evaluate("(input) => input.dispatchEvent(new Event('change'))")
    settled(page)
    assert seen(page) not in (before, preview)
    expected = load_style(small_styles["comic"], engine="onnxruntime")(
        pixels(original).astype(np.uint8), texture=0
    ).astype(int)
    assert abs(pixels(download(page)[1]) - expected).max() <= 2


def test_the_divider_can_be_dragged(visit):
    page = visit()
    choose(page, file("a.png"))
    box = page.locator("#compare").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, y, steps=3)
    assert page.locator("#compare input").input_value() == "80"
    page.mouse.move(box["x"] + box["width"] * 2, y)
    page.mouse.up()
    assert page.locator("#compare input").input_value() == "100"
    page.mouse.move(box["x"], y)
    assert page.locator("#compare input").input_value() == "100"


def test_a_download_has_the_settings_of_its_click(visit, small_styles):
    page = visit()
    original = photo(700, 500)
    choose(page, file("a.png", original))
    page.locator("#texture").fill("0.5")
    with page.expect_download(timeout=PATIENCE) as downloaded:
        page.evaluate(
            """() => {
              document.querySelector("#download").click();
              const texture = document.querySelector("#texture");
              texture.value = 2;
              for (const type of ["input", "change"]) texture.dispatchEvent(new Event(type));
            }"""
        )
    expected = load_style(small_styles["comic"], engine="onnxruntime")(
        pixels(original).astype(np.uint8), texture=0.5
    ).astype(int)
    assert abs(pixels(Path(downloaded.value.path()).read_bytes()) - expected).max() <= 2


def test_photos_dropped_with_a_video_are_opened_too(visit):
    page = visit()
    drop(page, file("v.mp4", b"video", "video/mp4"), file("a.png"), file("w.mp4", b"", "video/mp4"))
    expect(page.get_by_role("tab", name="Video", selected=True)).to_be_visible()
    expect(page.locator("#notices .notice")).to_contain_text("w.mp4: this is a video")
    page.get_by_role("tab", name="Photos").click()
    expect(page.get_by_role("heading", name="a.png")).to_be_visible(timeout=PATIENCE)
    settled(page)


def test_several_files_become_one_archive_and_one_that_is_broken_is_named(visit, small_styles):
    page = visit()
    files = [
        file("a.png", photo(seed=1)),
        file("broken.jpg", b"not a picture", "image/jpeg"),
        file("海.png", photo(80, 60, seed=2)),
        file("a.png", photo(64, 80, seed=3)),
        file("clip.mp4", b"video", "video/mp4"),
    ]
    choose(page, *files)
    notices = page.locator(".notice")
    expect(notices).to_have_count(2)
    broken = "broken.jpg: this is not a picture that your browser can read."
    expect(notices.nth(0)).to_contain_text(broken)
    expect(notices.nth(1)).to_contain_text("clip.mp4: this is a video; open it in the Video tab.")
    states = page.locator("#list .state")
    expect(states).to_have_text([
        "Drawn", "this is not a picture that your browser can read.", "Ready", "Ready",
        "this is a video; open it in the Video tab.",
    ])  # fmt: skip
    page.locator("#texture").fill("0.5")
    settled(page)
    this_year = datetime.now().year
    name, data = download(page, "#download-all")
    assert name == "cartoons.zip"
    expect(page.locator("#live")).to_have_text("Saved 3 cartoons as cartoons.zip.")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.toon.png", "海.toon.png", "a.toon (2).png"]
        assert {each.date_time[0] for each in archive.infolist()} <= {this_year, this_year + 1}
        style = load_style(small_styles["comic"], engine="onnxruntime")
        for index, entry in zip((0, 2, 3), archive.infolist(), strict=True):
            original = pixels(files[index]["buffer"]).astype(np.uint8)
            expected = style(original, texture=0.5).astype(int)
            assert abs(pixels(archive.read(entry)) - expected).max() <= 2
    expect(states.nth(2)).to_have_text("Drawn")
    page.locator("#texture").fill("0.6")
    expect(states.nth(2)).to_have_text("Ready")

    page.get_by_role("button", name="海.png").first.click()
    expect(page.get_by_role("heading", name="海.png")).to_be_visible(timeout=PATIENCE)
    settled(page)
    page.get_by_role("button", name="Remove 海.png").click()
    expect(page.get_by_role("heading", name="a.png")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#list li")).to_have_count(4)
    notices.nth(0).get_by_role("button", name="Dismiss this message").click()
    expect(notices).to_have_count(1)


def test_a_batch_can_be_cancelled(visit, shipped):
    page = visit(shipped)  # whose networks take a while
    choose(page, *[file(f"{index}.png", photo(300, 300)) for index in range(4)])
    page.locator("#download-all").click()
    cancel = page.get_by_role("button", name="Cancel")
    expect(cancel).to_be_focused()
    cancel.press("Enter")
    expect(page.locator("#download-all")).to_be_focused(timeout=PATIENCE)
    expect(page.locator("#batch")).to_be_hidden()
    expect(page.locator(".notice")).to_have_count(0)
    assert "cartoons.zip" not in page.locator("#live").text_content()


def test_what_is_removed_is_neither_opened_nor_saved(visit):
    page = visit()
    choose(page, *[file(f"{index}.png", photo(seed=index)) for index in range(5)])
    removed = "document.querySelector('#list li:nth-child(%d) .remove').click();"
    page.evaluate(removed % 1 + removed % 1)
    expect(page.get_by_role("heading", name="2.png")).to_be_visible(timeout=PATIENCE)
    settled(page)
    expect(page.locator("#list .pick[aria-current=true]")).to_have_text(re.compile("2.png"))
    with page.expect_download(timeout=PATIENCE) as downloaded:
        page.evaluate("document.querySelector('#download-all').click();" + removed % 2)
    with zipfile.ZipFile(downloaded.value.path()) as archive:
        assert archive.namelist() == ["2.toon.png", "4.toon.png"]


def test_a_cancelled_batch_leaves_the_open_photo_ready(visit):
    page = visit()
    choose(page, file("a.png"), file("b.png"))
    page.evaluate(
        """() => new Promise((resolve) => {
          const texture = document.querySelector("#texture");
          const change = (value, ...types) => {
            texture.value = value;
            for (const type of types) texture.dispatchEvent(new Event(type));
          };
          const observer = new MutationObserver(() => {
            if (!document.querySelector("#list li[data-state=drawing]")) return;
            observer.disconnect();
            document.querySelector("#download-all").click();
            change(0, "input"); // ends the drawing
            document.querySelector("#cancel").click();
            resolve();
          });
          observer.observe(document.querySelector("#list"), { attributes: true, subtree: true });
          change(2, "input", "change");
        })"""
    )
    expect(page.locator("#batch")).to_be_hidden()
    expect(page.locator("#list .state")).to_have_text(["Ready", "Ready"])


def test_nothing_but_broken_files_leaves_the_welcome_with_a_message(visit):
    page = visit()
    page.set_input_files("#choose", [file("notes.png", b"")])
    expect(page.locator(".notice")).to_contain_text("notes.png:", timeout=PATIENCE)
    expect(page.locator("#welcome")).to_be_visible()
    choose(page, file("a.png"))
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator("#files")).to_be_hidden()


def test_paste(visit):
    page = visit()
    drop(page, file("image.png"), event="paste")
    expect(page.get_by_role("heading", name="image.png")).to_be_visible(timeout=PATIENCE)
    settled(page)
    drop(page, file("second.png"), event="paste")
    expect(page.get_by_role("heading", name="second.png")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#list li")).to_have_count(2)


def test_the_language_is_the_readers_and_what_they_choose_is_kept(visit):
    page = visit(locale="zh-CN")
    html = page.locator("html")
    expect(html).to_have_attribute("lang", "zh-Hans")
    expect(page.get_by_role("heading", name="把照片变成漫画")).to_be_visible()
    choose(page, file("a.png"))
    expect(page.get_by_role("radio", name="水彩")).to_be_attached()
    page.get_by_label("语言").select_option("English")
    expect(html).to_have_attribute("lang", "en")
    expect(page.get_by_role("radio", name="Watercolour")).to_be_attached()
    expect(page.locator("#caption")).to_have_text("120 × 96 pixels; downloads as a.toon.png")
    assert not re.search(r"[\u4e00-\u9fff]", page.locator("main").inner_text())
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expect(html).to_have_attribute("lang", "en")


def test_it_works_offline_after_the_first_visit(visit, built_site):
    site = Site(site_files(["comic", "ink"]))
    try:
        page = visit(site, service_workers="allow")
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.evaluate(
            """() => navigator.serviceWorker.controller || new Promise((resolve) =>
            navigator.serviceWorker.addEventListener("controllerchange", resolve))"""
        )
    finally:
        site.close()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    original = photo(seed=7)
    choose(page, file("a.png", original))
    page.get_by_role("radio", name="Ink").check(force=True)
    settled(page)
    expected = load_style("ink", engine="onnxruntime")(pixels(original).astype(np.uint8)).astype(
        int
    )
    assert abs(pixels(download(page)[1]) - expected).max() <= 2
    page.get_by_label("Language").select_option("中文")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")


SEND = """() => new Promise((resolve) => {
  const stopped = new Set();
  const answer = () => resolve([...stopped].sort());
  document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => {
    stopped.add(effectiveDirective);
    if (stopped.size === 3) answer();
  });
  setTimeout(answer, 20_000); // then something was not stopped
  const url = "https://example.invalid/";
  fetch(url, { method: "POST", body: "photo" }).catch(() => {});
  new Image().src = `${url}?photo`;
  const form = Object.assign(document.createElement("form"), { action: url });
  document.body.append(form);
  form.submit();
})"""


def test_the_policy_stops_whatever_would_send_a_photo_away(tabs, site):
    answered = []
    with (
        tabs.open(site, locale="en-GB", service_workers="block") as page,
        listening(page, "requestfinished", lambda request: answered.append(request.url)),
    ):
        page.goto(site.url)
        wait_for(page, "html[data-ready]")
        assert page.evaluate(SEND) == ["connect-src", "form-action", "img-src"]
    assert answered
    assert not [url for url in answered if "example.invalid" in url]


def test_tabs_follow_the_arrow_keys_and_say_what_fails(visit, site):
    with site.without("video.js"):
        page = visit()
        page.get_by_role("tab", name="Photos").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Video")).to_be_focused()
        expect(page.get_by_role("tab", name="Video", selected=True)).to_be_visible()
        panel = page.get_by_role("tabpanel", name="Video")
        expect(panel).to_contain_text("This part of the page cannot be opened", timeout=PATIENCE)
    assert page.url.endswith("#video")
    page.keyboard.press("Home")
    expect(page.get_by_role("tabpanel", name="Photos")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Camera", selected=True)).to_be_focused()
    drop(page, file("a.png"))
    expect(page.get_by_role("tab", name="Photos", selected=True)).to_be_visible()
    settled(page)


def test_settings_changed_on_another_tab_are_drawn_when_the_photos_are_seen_again(visit):
    page = visit()
    choose(page, file("a.png"))
    before = seen(page)
    page.get_by_role("tab", name="Video").click()
    page.evaluate(
        """() => {
          const texture = document.querySelector("#texture");
          texture.value = 0;
          for (const type of ["input", "change"]) texture.dispatchEvent(new Event(type));
        }"""
    )
    assert seen(page) == before
    expect(page.locator("#photos[data-drawn=true]")).to_be_attached()
    page.get_by_role("tab", name="Photos").click()
    settled(page)
    assert seen(page) != before
    assert value(page, "texture") == 0


def test_it_says_when_it_comes_from_the_server(visit, site, monkeypatch):
    monkeypatch.setitem(site.files, "api/styles", b"[]")
    site.asked.clear()
    page = visit()
    expect(page.locator("#served")).to_contain_text("This page comes from toonbox serve.")
    choose(page, file("a.png"))
    download(page)
    asked = [name for name in site.asked if name.startswith("api/")]
    assert asked == ["api/styles"]
    monkeypatch.delitem(site.files, "api/styles")
    page.reload()
    wait_for(page, "html[data-ready]")
    expect(page.locator("#served")).to_be_hidden()


def test_a_page_without_its_models_says_so(visit, site):
    with site.without("models/styles.json"):
        page = visit(ready=False)
        expect(page.locator(".notice")).to_contain_text(
            "The styles could not be loaded", timeout=PATIENCE
        )


def test_a_style_that_cannot_be_loaded_can_be_chosen_again(visit, site):
    with site.without("models/ink.onnx"):
        page = visit()
        choose(page, file("a.png"))
        notices = page.locator(".notice")
        ink = page.locator("#styles").get_by_text("Ink", exact=True)
        ink.click()
        expect(page.locator("#compare")).not_to_have_class(re.compile("drawn"), timeout=PATIENCE)
        expect(notices).to_have_text(re.compile(
            "The style Ink could not be loaded. Check the connection, then choose the style again."
        ), timeout=PATIENCE)  # fmt: skip
    ink.click()
    settled(page)
    expect(notices).to_have_count(1)


def test_files_that_come_before_the_page_is_ready_are_opened(visit):
    slow = """
    const real = fetch;
    const held = new Promise((go) => (window.go = go));
    window.asked = new Promise((asked) => (window.fetch = async (...request) => {
      if (String(request[0]).includes("styles.json")) await (asked(), held);
      return real(...request);
    }));
    """
    page = visit(ready=False, init=slow)
    page.evaluate("asked")
    page.set_input_files("#choose", [file("chosen.png")])
    drop(page, file("dropped.png"))
    page.evaluate("go()")
    expect(page.locator("#list .name")).to_have_text(["chosen.png", "dropped.png"])
    settled(page)


def test_a_language_that_cannot_be_loaded_leaves_english(visit, site):
    with site.without("i18n/zh.json"):
        page = visit(locale="zh-CN")
        html = page.locator("html")
        expect(html).to_have_attribute("lang", "en")
        expect(page.locator(".notice")).to_contain_text("could not be loaded in this language")
        language = page.get_by_label("Language")
        expect(language).to_have_value("en")
    language.select_option("中文")
    expect(html).to_have_attribute("lang", "zh-Hans")


SMALL = """() => {
  const small = [];
  for (const element of document.querySelectorAll("button, select, summary, .button, .style, "
    + ".knob input, a[href]")) {
    if (!element.checkVisibility() || element.matches(".skip")) continue;
    const { width, height } = element.getBoundingClientRect();
    if (width < 44 || height < 44) {
      small.push(`${element.outerHTML.slice(0, 90)} ${width}x${height}`);
    }
  }
  return small;
}"""
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def each_language(page):
    """Speak one language after the other."""
    for code, lang in (("en", "en"), ("zh", "zh-Hans")):
        page.locator("#language").select_option(code)
        expect(page.locator("html")).to_have_attribute("lang", lang)
        yield code


def test_a_phone_needs_no_scrolling_sideways(visit):
    page = visit(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    for language in each_language(page):
        assert page.evaluate(TOO_WIDE) == 0, language
        assert page.evaluate(SMALL) == [], language
    expect(page.locator("#photograph")).to_have_attribute("capture", "environment")
    expect(page.locator("label:has(#photograph)")).to_be_visible()
    choose(page, file("a" * 60 + ".png", photo(300, 200)), file("b.png"), file("c.jpg", b"x"))
    page.locator("summary").click()
    for language in each_language(page):
        assert page.evaluate(TOO_WIDE) == 0, language
        assert page.evaluate(SMALL) == [], language
    for tab in ("video", "camera"):
        page.locator(f"#tab-{tab}").click()
        expect(page.locator(f"#{tab} > *").first).to_be_attached(timeout=PATIENCE)
        for language in each_language(page):
            assert page.evaluate(TOO_WIDE) == 0, (tab, language)


def test_it_can_be_enlarged_to_twice_its_size(visit):
    """At 200 % a window of 1280 by 800 has the room of 640 by 400."""
    page = visit()
    page.set_viewport_size({"width": 640, "height": 400})
    assert page.evaluate(TOO_WIDE) == 0
    choose(page, file("a.png", photo(300, 200)))
    assert page.evaluate(TOO_WIDE) == 0
    page.locator("#texture").scroll_into_view_if_needed()
    expect(page.locator("#texture")).to_be_in_viewport()
    assert page.locator("#texture").evaluate(
        """(input) => {
          const { left, top, width, height } = input.getBoundingClientRect();
          return document.elementFromPoint(left + width / 2, top + height / 2) === input;
        }"""
    )


@pytest.mark.skipif(axe_missing(), reason="needs axe-core: npm ci --prefix src/toonbox/page")
def test_axe_finds_nothing_to_complain_about(visit):
    page = visit()
    page.emulate_media(reduced_motion="reduce")

    def look_at(what):
        for language in each_language(page):
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert violations(page) == [], (what, language, scheme)

    wait_for(page, "#demo.drawn")
    look_at("welcome")
    choose(page, file("a.png"), file("b.png"), file("broken.png", b""))
    page.locator("summary").click()
    page.locator("#texture").fill("2")
    settled(page)
    look_at("with pictures")
    for tab in ("video", "camera"):
        page.locator(f"#tab-{tab}").click()
        expect(page.locator(f"#{tab} > *").first).to_be_attached(timeout=PATIENCE)
        look_at(tab)


@pytest.mark.skipif(not SCREENSHOTS, reason="a folder in TOONBOX_SCREENSHOTS gets screenshots")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_screenshots(visit, shipped, scheme, language, device):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    page = visit(
        shipped.url,
        locale={"en": "en-GB", "zh": "zh-CN"}[language],
        color_scheme=scheme,
        **(phone if device == "phone" else {"viewport": {"width": 1280, "height": 800}}),
    )
    name = f"{device}-{language}-{scheme}"
    wait_for(page, "#demo.drawn")
    expect(page.locator("#demo-styles canvas.drawn")).to_have_count(6, timeout=PATIENCE)
    page.screenshot(path=f"{SCREENSHOTS}/{name}-welcome.png", full_page=device == "phone")
    laptop = file("laptop.jpg", (EXAMPLES / "laptop.jpg").read_bytes(), "image/jpeg")
    choose(page, laptop, file("broken.jpg", b"", "image/jpeg"))
    count = len(list(SHIPPED.glob("*/card.toml")))
    expect(page.locator("#styles canvas:not(.waiting)")).to_have_count(count, timeout=PATIENCE)
    page.screenshot(path=f"{SCREENSHOTS}/{name}-photo.png", full_page=True)
