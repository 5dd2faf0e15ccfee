"""A server for the tests of the page, and the Chromium that opens it."""

import functools
import http.server
import json
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 120_000  # milliseconds, never reached
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}
# Puts what the tests call into the window, and says when it is ready by its title.
ENGINE_PAGE = b"""<!doctype html><meta charset="utf-8"><title>test</title>
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


class Site:
    """Files by URL, served on 127.0.0.1 until it is closed; below `/shop/`, not at the root."""

    def __init__(self, files, headers=ISOLATED):
        self.files, self.headers, self.asked = dict(files), dict(headers), []
        self.missing = 404  # the status of what it does not have
        handler = functools.partial(_Handler, self)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/shop/"

    @contextmanager
    def without(self, *names):
        """Lack files for a while."""
        lacking = {name: self.files.pop(name) for name in names}
        try:
            yield
        finally:
            self.files |= lacking

    def close(self):
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # no connection outlives its answer: a closed site is closed

    def __init__(self, site, *arguments):
        self.site = site
        super().__init__(*arguments)

    def do_GET(self):
        name = self.path.partition("?")[0].removeprefix("/shop/") or "index.html"
        self.site.asked.append(name)
        content = self.site.files.get(name)
        data = content.read_bytes() if isinstance(content, Path) else content or b"not found"
        self.send_response(self.site.missing if content is None else 200)
        self.send_header("Content-Type", TYPES.get(Path(name).suffix, "text/plain"))
        self.send_header("Content-Length", str(len(data)))
        for header, value in self.site.headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def listening(emitter, event, listener):
    """Let a listener hear an event of a page or a context for a while."""

    def hear(what):  # Playwright takes no listeners that are built in
        listener(what)

    emitter.on(event, hear)
    try:
        yield
    finally:
        emitter.remove_listener(event, hear)


class Tabs:
    """Tabs of a browser that tests open one after the other.

    A page in a tab that another has left loads in a fraction of the time of one in a new tab: its
    process is there, and so is ONNX Runtime, compiled. Nothing else is left of the other.
    """

    def __init__(self, browser):
        self._browser, self._left, self._sizes = browser, {}, {}

    @contextmanager
    def open(self, site, script=None, **settings):
        """Open a tab, empty, for a page of a site; one with the same script and settings as before.

        Args:
            script: runs in each page before any of its own.
            settings: of the browser context.
        """
        key = json.dumps([script, settings], sort_keys=True)
        page = self._left.pop(key, None) or self._new(script, settings)
        try:
            yield page
            self._leave(page, site)
        except BaseException:
            page.context.close()
            raise
        self._left[key] = page

    def _new(self, script, settings):
        context = self._browser.new_context(**settings)
        context.set_default_timeout(PATIENCE)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        self._sizes[page] = page.viewport_size
        return page

    def _leave(self, page, site):
        """End the page, and forget what it has stored and what was set for it."""
        page.unroute_all()
        page.context.clear_permissions()
        page.goto(urljoin(site.url, "icon.svg"))  # of the same site: another would end the process
        session = page.context.new_cdp_session(page)
        stored = {"origin": site.url, "storageTypes": "all"}
        session.send("Storage.clearDataForOrigin", stored)
        session.detach()
        page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        if page.viewport_size != self._sizes[page]:
            page.set_viewport_size(self._sizes[page])
        page.mouse.move(0, 0)


# Resolves once a selector finds something.
FOUND = """([selector, patience]) => new Promise((resolve, reject) => {
  const observer = new MutationObserver(() => look());
  const look = () => {
    if (!document.querySelector(selector)) return;
    observer.disconnect();
    resolve();
  };
  observer.observe(document, { attributes: true, childList: true, subtree: true });
  setTimeout(() => reject(new Error(`${selector} has not come`)), patience);
  look();
})"""


def wait_for(page, selector):
    """Wait until an element is there; Playwright itself looks only every half second."""
    page.evaluate(FOUND, [selector, PATIENCE])


def visit(page, url):
    """Open a page, and wait until it says that it is ready; by no code, which its CSP forbids."""
    sync_api = pytest.importorskip("playwright.sync_api")
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    sync_api.expect(page).to_have_title("ready", timeout=PATIENCE)
