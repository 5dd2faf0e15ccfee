"""What the tests of the page share: a browser, and the site."""

import shutil
from contextlib import ExitStack, closing

import pytest

from page_server import CHROMIUM, PATIENCE, Site, Tabs
from toonbox.engine.style import SHIPPED, read_card
from toonbox.errors import MissingExtraError
from toonbox.page import site_files

SOME = ("comic", "anime", "comic-fast", "ink", "watercolour")  # each is drawn on every photo


@pytest.fixture(scope="package")  # while it is open, nothing else can run an asyncio loop
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or Google Chrome")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            timeout=PATIENCE,
            args=[
                *("--no-sandbox", "--use-fake-device-for-media-stream=fps=10"),
                # Each page compiles ONNX Runtime anew: so quickly, not for speed afterwards.
                "--js-flags=--liftoff-only",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def tabs(chromium):
    return Tabs(chromium)


@pytest.fixture(scope="session")
def built_site():
    try:
        return site_files()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def small_site_served(small_site):
    """Serve the small site for all files: the browser compiles ONNX Runtime anew for another."""
    with closing(Site(small_site)) as site:
        yield site


@pytest.fixture(scope="module")
def serve():
    """Serve sites until the file's tests are done: serve(files, **settings of Site)."""
    with ExitStack() as stack:
        yield lambda files, **settings: stack.enter_context(closing(Site(files, **settings)))


@pytest.fixture(scope="session")
def small_styles(tmp_path_factory, write_tiny_style):
    """Give folders by name: of some shipped styles, with small networks in place of theirs."""
    base = tmp_path_factory.mktemp("styles")
    folders = {}
    for seed, name in enumerate(SOME):
        card = read_card(SHIPPED / name)
        folders[card.name] = write_tiny_style(
            card.name, seed, base, card.knobs, working_resolution=card.working_resolution
        )
        shutil.copy(SHIPPED / name / "preview.png", folders[card.name])
    return folders


@pytest.fixture(scope="session")
def small_site(built_site, small_styles):
    """Give a site that is drawn in a fraction of the time, for what the page does around it."""
    return site_files([*small_styles.values()])
