"""What the tests of the page share: a browser for each file, and the site."""

import pytest

from page_server import CHROMIUM, PATIENCE
from toonbox.errors import MissingExtraError
from toonbox.page import site_files


@pytest.fixture(scope="module")  # while it is open, nothing else can run an asyncio loop
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or Google Chrome")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            timeout=PATIENCE,
            args=[
                *("--no-sandbox", "--use-fake-device-for-media-stream"),
                # Each page compiles ONNX Runtime anew: so quickly, not for speed afterwards.
                "--js-flags=--liftoff-only",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def built_site():
    try:
        return site_files()
    except MissingExtraError as error:
        pytest.skip(str(error))
