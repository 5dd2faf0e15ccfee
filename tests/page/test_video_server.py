"""Videos that the page gives to the server: what a browser cannot do, and jobs that outlive it."""

import pytest

from media_pages import STYLE, opened
from page_server import PATIENCE
from video_files import Clip, motion, pictures, times

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
serving = pytest.importorskip("serving", reason="needs pip install 'toonbox[serve]'")
expect = sync_api.expect


class Served:
    """What `opened` wants to know of a site."""

    def __init__(self, server):
        self.server, self.url = server, f"http://127.0.0.1:{server.port}/"


@pytest.fixture(scope="module")
def site(small_site):
    server = serving.start(small_site, style=STYLE)
    yield Served(server)
    server.stop()
    assert server.reported == []


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Make a video in a codec that Chromium does not know."""
    clip = Clip(codec="mpeg4", options={"q": "2"})
    return clip.make(tmp_path_factory.mktemp("videos") / "old.mp4")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return Clip().make(tmp_path_factory.mktemp("videos") / "short.mp4")


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Make a video that takes a while: frames that repeat the one before would not be drawn."""
    size = (320, 240)
    clip = Clip(size=size, pts=list(range(2000)), frames=[*motion(2, size)] * 1000, sound=None)
    return clip.make(tmp_path_factory.mktemp("videos") / "long.mp4")


def send(page, path):
    page.locator("#video input[type=file]").set_input_files(path)
    page.get_by_label("Suppress flicker").select_option("off")
    page.get_by_role("button", name="Send and convert").click()


def test_what_the_browser_cannot_decode_is_converted_on_the_server(
    tabs, site, old, short, tmp_path
):
    with opened(tabs, site, "video") as page:
        choose = page.locator("#video input[type=file]")
        choose.set_input_files(short)
        page.get_by_label("From (seconds)").fill("0.2")
        choose.set_input_files(old)
        expect(page.get_by_role("alert")).to_contain_text("This browser cannot decode")
        expect(page.get_by_text("The video is sent to 127.0.0.1")).to_be_visible()
        page.get_by_label("Language").select_option("中文")
        expect(page.get_by_text("视频会发送到 127.0.0.1")).to_be_visible()
        page.get_by_label("语言").select_option("English")
        with page.expect_request(lambda request: request.method == "POST") as asked:
            page.get_by_role("button", name="Send and convert").click()
        assert "start=" not in asked.value.url  # which belonged to the other video
        assert "stabilize=" not in asked.value.url
        link = page.get_by_role("link", name="Download old.toon.mp4")
        expect(link).to_be_visible(timeout=PATIENCE)
        with page.expect_download() as download:
            link.click()
        assert download.value.suggested_filename == "old.toon.mp4"
        download.value.save_as(tmp_path / "cartoon.mp4")
        id = page.evaluate("localStorage.getItem('toonbox.job')")
        assert site.server.get(f"/api/jobs/{id}").status == 200
        delete = page.get_by_role("button", name="Delete from the server")
        page.route("**/api/jobs/*", lambda route: route.abort())
        delete.click()
        alert = page.locator("#video section").get_by_role("alert")
        expect(alert).to_contain_text("The server does not respond.")
        expect(link).to_be_visible()
        assert page.evaluate("localStorage.getItem('toonbox.job')") == id
        page.unroute("**/api/jobs/*")
        delete.click()
        expect(link).to_be_hidden()
        expect(alert).to_be_hidden()
        assert page.evaluate("localStorage.getItem('toonbox.job')") is None
        serving.wait_until(lambda: site.server.get(f"/api/jobs/{id}").status == 404)
    assert times(tmp_path / "cartoon.mp4") == times(old)
    assert (pictures(tmp_path / "cartoon.mp4") != pictures(old)).any()


def test_a_job_outlives_the_tab_and_can_be_cancelled(tabs, site, long):
    with opened(tabs, site, "video") as page:
        send(page, long)
        expect(page.locator("#server-status")).to_contain_text("on the server", timeout=PATIENCE)
        page.goto("about:blank")
        page.goto(f"{site.url}#video")
        expect(page.locator("#server-status")).to_contain_text("on the server", timeout=PATIENCE)
        id = page.evaluate("localStorage.getItem('toonbox.job')")
        assert site.server.get(f"/api/jobs/{id}").json()["state"] == "running"
        page.locator("#video").get_by_role("button", name="Cancel").click()
        expect(page.locator("#live")).to_have_text("Cancelled on the server.", timeout=PATIENCE)
        assert page.evaluate("localStorage.getItem('toonbox.job')") is None
        serving.wait_until(lambda: site.server.get(f"/api/jobs/{id}").status == 404)


def test_a_server_that_does_not_answer_is_given_up(tabs, site):
    with opened(tabs, site, "photos") as page:
        ended = "retry: 10\n\n"  # milliseconds
        page.route(
            "**/events", lambda route: route.fulfill(content_type="text/event-stream", body=ended)
        )
        found = page.evaluate(
            """async () => {
              const { follow } = await import("./server.js");
              return follow("1", () => {}, new AbortController().signal).catch(({ name }) => name);
            }"""
        )
        assert found == "Unreachable"


def test_it_says_why_the_server_could_not(tabs, site, tmp_path):
    (tmp_path / "notes.mp4").write_text("not a video")
    with opened(tabs, site, "video") as page:
        send(page, tmp_path / "notes.mp4")
        alert = page.locator("#video section").get_by_role("alert")
        expect(alert).to_contain_text("The server could not convert the video: ", timeout=PATIENCE)
        expect(alert).to_contain_text("notes.mp4")
        expect(page.get_by_role("button", name="Send and convert")).to_be_visible()
