"""Videos converted in the page: times, sound, pictures, and what happens when they cannot be."""

import base64
import json
import re
from fractions import Fraction

import av
import numpy as np
import pytest

from media_pages import STYLE, axe_missing, choose_style, opened, set_strength, violations
from page_server import PATIENCE
from toonbox import cartoonize_video
from video_files import Clip, motion, packets, pictures, times

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
expect = sync_api.expect

SIZE = (160, 112)
# Uneven steps, in a time base that is no part of a microsecond, from a beginning that is not 0.
UNEVEN = [3003, 6006, 9009, 12500, 12501, 19999, 24024, 27027, 30030, 36036, 39039, 42042]
TIME_BASE = Fraction(1, 90_000)
# A place to save to that needs no dialogue: the page's own files.
PICKER = """
window.showSaveFilePicker = async ({ suggestedName }) =>
  (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true });
"""
SAVED = """async (name) => {
  const folder = await navigator.storage.getDirectory();
  const file = await (await folder.getFileHandle(name)).getFile();
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(file);
  });
}"""
FILES = """async () => {
  const names = [];
  for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name);
  return names;
}"""


@pytest.fixture
def site(small_site_served):
    return small_site_served


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def uneven(folder):
    """Make a clip with uneven times and sound, turned by a quarter."""
    clip = Clip(
        size=SIZE, pts=UNEVEN, last=4004, time_base=TIME_BASE, frames=list(motion(12, SIZE)),
        turned={"degrees": 90}, metadata={"title": "In the harbour"},
    )  # fmt: skip
    return clip.make(folder / "uneven.mp4")


@pytest.fixture
def page(tabs, site):
    with opened(tabs, site, "video", PICKER) as page:
        yield page


def choose(page, path):
    """Open a video and wait for its first frame as a cartoon."""
    page.locator("#video input[type=file]").set_input_files(path)
    expect(page.locator("#video canvas[data-time]")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_label("Frame shown")).to_be_focused()
    choose_style(page)


def convert(page):
    page.get_by_role("button", name="Convert", exact=True).click()


def result(page, target):
    """Download the result."""
    link = page.get_by_role("link", name="Download")
    expect(link).to_be_focused(timeout=PATIENCE)
    with page.expect_download() as download:
        link.click()
    download.value.save_as(target)
    return download.value.suggested_filename


def shown(page):
    return page.evaluate("document.querySelector('#video canvas').toDataURL()")


def test_times_sound_and_pictures_are_those_of_python(page, uneven, folder, small_styles):
    choose(page, uneven)
    convert(page)
    assert result(page, folder / "page.mp4") == "uneven.toon.mp4"
    assert times(folder / "page.mp4") == times(uneven)
    assert packets(folder / "page.mp4", "audio") == packets(uneven, "audio")
    with av.open(str(folder / "page.mp4")) as container:
        assert container.metadata["title"] == "In the harbour"

    style = small_styles[STYLE]
    cartoonize_video(uneven, folder / "python.mp4", style=style, crf=1)
    drawn, expected = pictures(folder / "page.mp4"), pictures(folder / "python.mp4")
    assert drawn.shape == expected.shape == (len(UNEVEN), SIZE[0], SIZE[1], 3)  # upright
    near = np.abs(drawn.astype(int) - expected).mean(axis=(1, 2, 3))
    cartoonize_video(uneven, folder / "photo.mp4", style=style, crf=1, strength=0)
    far = np.abs(expected.astype(int) - pictures(folder / "photo.mp4")).mean(axis=(1, 2, 3))
    assert (near < 4).all(), near
    assert (near < far / 2).all(), (near, far)


def test_a_part_of_a_video_with_odd_sides(page, folder):
    clip = Clip(size=(97, 65), sound="libopus", codec="libvpx-vp9", options={"crf": "10", "b": "0"})
    clip.make(folder / "odd.webm")
    choose(page, folder / "odd.webm")
    page.get_by_label("From (seconds)").fill("0.3")
    page.get_by_label("To (seconds)").fill("0.8")
    convert(page)
    assert result(page, folder / "part.mp4") == "odd.toon.mp4"

    whole = times(folder / "odd.webm")
    wanted = [(time, long) for time, long in whole if Fraction(3, 10) <= time < Fraction(8, 10)]
    first = wanted[0][0]
    got = times(folder / "part.mp4")
    assert [time for time, _ in got] == [time - first for time, _ in wanted]
    assert pictures(folder / "part.mp4").shape[1:3] in ((65, 97), (66, 98))

    # The packets that are heard in it, with the one before. A browser does not take the delay of
    # Opus, less than one packet, off their times, so that the edges may be one packet off.
    source = packets(folder / "odd.webm", "audio")
    copied = [kept for _, _, kept in packets(folder / "part.mp4", "audio")]
    starts = [time for time, _, _ in source]
    heard = max(index for index, start in enumerate(starts) if start <= first)
    end = sum(start < Fraction(8, 10) for start in starts)
    index = [kept for _, _, kept in source].index(copied[0])
    assert index in (heard - 2, heard - 1)
    assert end - 1 <= index + len(copied) <= end
    assert copied == [kept for _, _, kept in source[index : index + len(copied)]]


def test_cancelling_leaves_nothing_and_the_page_usable(page, folder, uneven):
    frames = [*motion(1, SIZE)] * 1200
    Clip(size=SIZE, pts=list(range(1200)), frames=frames, sound=None).make(folder / "long.mp4")
    choose(page, folder / "long.mp4")
    page.get_by_label("Write directly to a file").check()
    convert(page)
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    expect(page.locator("#video-status")).to_contain_text("frames", timeout=PATIENCE)
    cancel.click()
    expect(page.locator("#live")).to_have_text("Cancelled.")
    expect(page.get_by_role("button", name="Convert", exact=True)).to_be_focused()
    expect(cancel).to_be_hidden()
    assert page.evaluate(FILES) == []

    # Straight to a file, and none to download: it is where it should be.
    choose(page, uneven)
    page.get_by_label("Write directly to a file").check()
    convert(page)
    expect(page.locator("#live")).to_contain_text("is saved: 12 frames", timeout=PATIENCE)
    expect(page.get_by_role("link", name="Download")).to_be_hidden()
    (folder / "saved.mp4").write_bytes(base64.b64decode(page.evaluate(SAVED, "uneven.toon.mp4")))
    assert times(folder / "saved.mp4") == times(uneven)


def test_the_frame_shown_follows_the_settings(page, uneven):
    choose(page, uneven)
    slider = page.get_by_label("Frame shown")
    before = shown(page)
    for change in (
        lambda: slider.press("End"),
        lambda: set_strength(page, 0),
        lambda: choose_style(page, "Ink"),
        lambda: set_strength(page, 1),
    ):
        change()
        if change.__code__.co_names[-1:] != ("choose_style",):  # at no strength styles are alike
            for _ in range(PATIENCE // 100):
                if shown(page) != before:
                    break
                page.wait_for_timeout(100)
            assert shown(page) != before
        before = shown(page)

    page.get_by_role("button", name="Start at this frame").click()
    begins = float(page.get_by_label("From (seconds)").input_value())
    last = Fraction(UNEVEN[-1] - UNEVEN[0]) * TIME_BASE
    assert last - Fraction(1, 10**6) <= Fraction(begins) <= last < float(slider.input_value())
    slider.press("Home")
    page.get_by_role("button", name="End at this frame").click()
    assert float(page.get_by_label("To (seconds)").input_value()) == 0
    convert(page)
    expect(page.get_by_role("alert")).to_have_text("The end must be after the start.")


# Counts the decoders that are open at a time.
DECODERS = """
window.decoders = { open: 0, most: 0 };
window.VideoDecoder = class extends VideoDecoder {
  constructor(init) {
    super(init);
    decoders.most = Math.max(decoders.most, ++decoders.open);
  }
  close() {
    if (this.state !== "closed") decoders.open--;
    super.close();
  }
};
"""


def test_one_frame_is_decoded_at_a_time(tabs, site, uneven):
    with opened(tabs, site, "video", DECODERS) as page:
        choose(page, uneven)
        page.evaluate(
            """() => {
              const slider = document.querySelector("#video input[type=range]");
              for (let step = 1; step <= 20; step++) {
                slider.value = 0.02 * step;
                slider.dispatchEvent(new Event("input"));
              }
            }"""
        )
        expect(page.locator("#video canvas[data-time='0.4']")).to_be_visible(timeout=PATIENCE)
        assert page.evaluate("decoders.most") <= 2  # the one before may not be closed yet


def leaves_silently(page):
    """Tell whether the page would close without a question."""
    return page.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))")


def test_a_result_is_not_lost_before_it_is_saved(page, uneven, folder):
    (folder / "notes.mp4").write_text("not a video")
    choose(page, uneven)
    assert leaves_silently(page)
    convert(page)
    link = page.get_by_role("link", name="Download")
    expect(link).to_be_focused(timeout=PATIENCE)
    assert not leaves_silently(page)
    chosen = page.locator("#video input[type=file]")
    chosen.set_input_files(folder / "notes.mp4")
    expect(page.get_by_role("alert")).to_contain_text("is not a video")
    (folder / "another.mp4").write_bytes(uneven.read_bytes())
    page.once("dialog", lambda dialog: dialog.dismiss())
    with page.expect_event("dialog") as asked:
        chosen.set_input_files(folder / "another.mp4")
    assert asked.value.message == (
        "uneven.toon.mp4 has not been downloaded. Discard it and open another.mp4?"
    )
    expect(page.get_by_role("heading", name="uneven.mp4")).to_be_visible()
    link.focus()
    result(page, folder / "unsaved.mp4")
    assert times(folder / "unsaved.mp4") == times(uneven)
    assert leaves_silently(page)
    chosen.set_input_files(folder / "notes.mp4")
    expect(link).to_be_hidden()


def test_it_says_what_it_cannot_convert(page, tabs, site, folder):
    """There is no server here, and none is spoken of."""
    (folder / "notes.mp4").write_text("not a video")
    Clip(codec="mpeg4", sound=None, options={}).make(folder / "old.mp4")
    chosen = page.locator("#video input[type=file]")
    for name, said in (
        ("notes.mp4", "notes.mp4 is not a video that this browser can read."),
        ("old.mp4", "This browser cannot decode"),
    ):
        chosen.set_input_files(folder / name)
        expect(page.get_by_role("alert")).to_contain_text(said)
        expect(page.get_by_role("button", name="Convert", exact=True)).to_be_hidden()
        expect(page.get_by_role("button", name="Send and convert")).to_be_hidden()
    without = "delete window.VideoEncoder"
    with opened(tabs, site, "video", without) as old:
        old.locator("#video input[type=file]").set_input_files(folder / "old.mp4")
        expect(old.get_by_role("alert")).to_contain_text("it lacks WebCodecs")


def test_a_video_dropped_on_the_photos_is_opened(tabs, site, uneven):
    data = base64.b64encode(uneven.read_bytes()).decode()
    with opened(tabs, site, "photos") as page:
        page.evaluate(
            """(data) => {
              const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
              const dataTransfer = new DataTransfer();
              dataTransfer.items.add(new File([bytes], "dropped.mp4", { type: "video/mp4" }));
              const event = { bubbles: true, cancelable: true, dataTransfer };
              document.body.dispatchEvent(new DragEvent("drop", event));
            }""",
            data,
        )
        expect(page.get_by_role("tab", name="Video")).to_have_attribute("aria-selected", "true")
        expect(page.locator("#video canvas[data-time]")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_role("heading", name="dropped.mp4")).to_be_visible()


@pytest.mark.skipif(axe_missing(), reason="needs axe-core: npm ci --prefix src/toonbox/page")
def test_axe_finds_nothing(page, uneven):
    assert violations(page) == []
    choose(page, uneven)
    convert(page)
    expect(page.get_by_role("link", name="Download")).to_be_visible(timeout=PATIENCE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []


def test_each_message_is_in_both_languages_and_used(built_site):
    texts = [
        json.loads(built_site[f"i18n/{name}.json"].read_text("utf-8")) for name in ("en", "zh")
    ]
    views = ("camera", "video", "server")
    source = "".join(built_site[f"{name}.js"].read_text("utf-8") for name in (*views, "convert"))
    ours = [{key for key in text if key.split(".")[0] in views} for text in texts]
    assert ours[0] == ours[1]
    named = set(re.findall(rf"[\"`]((?:{'|'.join(views)})\.[\w.-]+)[\"`]", source))
    assert named - ours[0] == set()
    # Those that are put together, such as video.error.codec, end with a word of the source.
    unused = [key for key in ours[0] - named if f'"{key.split(".")[-1]}"' not in source]
    assert unused == []
