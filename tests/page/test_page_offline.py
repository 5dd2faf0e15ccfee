"""The service worker: everything works offline after one visit, nothing is asked of others."""

import base64
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import toonbox.page
from page_server import ENGINE_PAGE, PATIENCE, visit
from toonbox import load_style
from toonbox.errors import MissingExtraError
from toonbox.options import StyleOptions
from toonbox.page import site_files

RUNTIME = "ort-wasm-simd-threaded.wasm"
REGISTER = """async () => {
  await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  while (!navigator.serviceWorker.controller) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}"""


@pytest.fixture
def folder(built_site, tmp_path, monkeypatch):
    """Make a copy of the page's folder, with a page of the tests in it."""
    folder = tmp_path / "page"
    ignore = shutil.ignore_patterns("node_modules", "__pycache__", "ort-*.wasm", "mediabunny*")
    shutil.copytree(toonbox.page.FOLDER, folder, ignore=ignore)
    (folder / "index.html").write_bytes(ENGINE_PAGE)
    (folder / "vendor" / RUNTIME).write_bytes(b"not needed, since nothing is drawn")
    (folder / "vendor" / "ort-wasm-simd-threaded.jspi.wasm").write_bytes(b"a large runtime")
    Image.new("RGB", (60, 40), "teal").save(folder / "photo.png")
    (folder / "text.txt").write_text("first")
    worker = folder / "sw.js"
    patient = f"const PATIENCE = {PATIENCE};"
    worker.write_text(re.sub(r"const PATIENCE = \w+;", patient, worker.read_text("utf-8")))
    monkeypatch.setattr(toonbox.page, "FOLDER", folder)
    return folder


@pytest.fixture
def able_to_draw(built_site, folder):
    """Put ONNX Runtime into the folder."""
    shutil.copy(built_site[f"vendor/{RUNTIME}"], folder / "vendor")


@pytest.fixture
def site(serve, folder):
    """Serve it as a static host does, without the headers that threads need."""
    return serve(site_files(["comic"]) | {"api/styles": b"[]"}, headers={})


@pytest.fixture
def context(chromium, site):
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE)
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    assert not [url for url in asked if not url.startswith((site.url, "blob:", "data:"))]


@pytest.fixture
def visited(context, site):
    """Visit the page once, until the service worker has all of it."""
    page = context.new_page()
    visit(page, site.url)
    page.evaluate(REGISTER)
    return page


def test_offline_after_one_visit(able_to_draw, visited, site):
    assert visited.evaluate("crossOriginIsolated") is False
    visited.evaluate("async () => (await fetch('api/styles')).text()")
    fetched = list(site.asked)
    site.close()
    visit(visited, site.url)
    assert visited.evaluate("crossOriginIsolated") is True
    threads, cores = visited.evaluate(
        "async () => [(await engine()).threads, navigator.hardwareConcurrency]"
    )
    assert threads == min(cores, 8)
    found = visited.evaluate("() => draw('photo.png', { style: 'comic' })")
    there = np.frombuffer(base64.b64decode(found), np.uint8).reshape(40, 60, 4)[..., :3]
    photo = np.asarray(Image.new("RGB", (60, 40), "teal"))
    here = load_style("comic", engine="onnxruntime").stylize(photo, StyleOptions())
    assert np.abs(here.astype(int) - there).max() <= 2
    # What answers differently each time, and what nobody has asked for, is not kept.
    assert "api/styles" in fetched
    assert visited.evaluate("fetch('api/styles').then(() => 'kept', () => 'gone')") == "gone"
    assert "vendor/ort-wasm-simd-threaded.jspi.wasm" not in fetched
    name = "vendor/ort-wasm-simd-threaded.jspi.wasm"
    assert visited.evaluate("name => fetch(name).then(() => 'kept', () => 'gone')", name) == "gone"


def test_what_is_kept_and_what_reaches_the_host(visited, site):
    site.asked.clear()
    visit(visited, f"{site.url}?token=secret")
    assert "index.html" in site.asked  # which sets its cookie, and does not come from the cache
    # A large file is kept once it is used.
    name = "vendor/ort-wasm-simd-threaded.jspi.wasm"
    fetch = "async (name) => (await fetch(name)).text()"
    assert visited.evaluate(fetch, name) == "a large runtime"
    # A host that fails changes nothing,
    site.missing, site.files = 503, {}
    visit(visited, site.url)
    assert visited.evaluate(fetch, "text.txt") == "first"
    # nor does one that is gone.
    site.close()
    assert visited.evaluate(fetch, name) == "a large runtime"


def test_a_new_version_waits_for_the_old_page_to_close(visited, site, folder, context):
    fetch = "async () => (await fetch('text.txt')).text()"
    (folder / "text.txt").write_text("second")
    site.files = site_files(["comic"])
    site.asked.clear()
    visited.evaluate(
        """async () => {
          const registration = await navigator.serviceWorker.ready;
          await registration.update();
          while (!registration.waiting) await new Promise((resolve) => setTimeout(resolve, 50));
        }"""
    )
    assert visited.evaluate(fetch) == "first"
    assert sorted({*site.asked}) == ["sw.js", "text.txt"]  # what is the same is not fetched again
    visited.close()
    page = context.new_page()
    page.goto(f"{site.url}photo.png")  # something of the site: its old pages are closed
    page.wait_for_function(
        "async () => !(await navigator.serviceWorker.getRegistration())?.waiting"
    )
    visit(page, site.url)
    assert page.evaluate(fetch) == "second"
    kept = page.evaluate(
        """async () => (await (await caches.open("toonbox")).keys()).map(({ url }) => url)"""
    )
    assert len([url for url in kept if "text.txt" in url]) == 1


@pytest.mark.parametrize("worker", [None, b"<title>also answers for sw.js</title>"])
def test_it_makes_way_for_what_comes_after_the_site(visited, site, worker):
    visited.goto(site.url)
    assert visited.evaluate("navigator.serviceWorker.controller !== null")
    site.files = {"index.html": b"<title>another program</title>", "text.txt": b"its own"}
    if worker:
        site.files["sw.js"] = worker
    visited.goto(site.url)
    assert visited.title() == "another program"
    assert visited.evaluate("async () => (await fetch('text.txt')).text()") == "its own"
    assert visited.evaluate("navigator.serviceWorker.getRegistrations()") == []
    assert visited.evaluate("caches.keys()") == []


def test_half_a_new_version_is_not_taken(visited, site, folder):
    """A file that is not what the service worker's list says, as while a host is updated."""
    (folder / "text.txt").write_text("second")
    files = site_files(["comic"])
    site.files = files | {"text.txt": b"third"}
    state = visited.evaluate(
        """async () => {
          const registration = await navigator.serviceWorker.ready;
          const found = new Promise((resolve) => registration.addEventListener("updatefound", () =>
            registration.installing.addEventListener("statechange", ({ target }) =>
              resolve(target.state))));
          await registration.update();
          return found;
        }"""
    )
    assert state == "redundant"
    assert visited.evaluate("async () => (await fetch('text.txt')).text()") == "first"


def test_what_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(toonbox.page, "FOLDER", tmp_path)
    with pytest.raises(MissingExtraError, match=r"toonbox\[serve\]"):
        site_files()
