"""The page of blind pairs in a real browser."""

import json
import shutil

import pytest
from PIL import Image

from toonbox.convert.compare import FolderColumn
from toonbox.learn.evaluate.blind import Pairs, read_answers, read_key

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 120_000  # milliseconds, never reached

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: apt-get install chromium, or Google Chrome"
)


@pytest.fixture
def key(tmp_path):
    for folder, colour in (("photos", "grey"), ("warm", "red"), ("cold", "blue")):
        (tmp_path / folder).mkdir()
        for name in "abc":
            Image.new("RGB", (96, 64), colour).save(tmp_path / folder / f"{name}.png")
    contenders = [FolderColumn(label, tmp_path / label) for label in ("warm", "cold")]
    pairs = Pairs(tmp_path / "pairs", contenders)
    for name in "abc":
        pairs.add(tmp_path / "photos" / f"{name}.png")
    return read_key(pairs.write()[1])


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, tmp_path, key):
    """Open the page; afterwards check that it asked for its own files alone, without errors."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    own = (tmp_path / "pairs").as_uri() + "/"
    page.goto(own + "index.html")
    yield page
    page.close()
    assert errors == []
    assert f"{own}pictures/01-right.jpg" in asked
    assert not [url for url in asked if not url.startswith((own, "data:", "blob:"))]


def shows(page, text):
    sync_api.expect(page.get_by_role("status")).to_have_text(text, timeout=PATIENCE)


def reload_without_storage(page):
    """Reload as browsers do that store nothing for pages from the disk, or not yet."""
    page.evaluate("localStorage.clear()")
    page.reload()


def test_arrow_keys_answer_and_the_answers_can_be_exported(page, key, tmp_path):
    shows(page, "Pair 1 of 3, 3 to answer.")
    for name in ("Photo", "Left cartoon", "Right cartoon"):
        image = page.get_by_role("img", name=name)
        side = name.split()[0].lower()
        assert image.get_attribute("src") == f"pictures/01-{side}.jpg"
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
    page.keyboard.press("ArrowLeft")
    shows(page, "Left. Pair 2 of 3, 2 to answer.")
    page.keyboard.press("ArrowRight")
    shows(page, "Right. Pair 3 of 3, 1 to answer.")
    assert page.get_by_role("img", name="Left").get_attribute("src") == "pictures/03-left.jpg"
    page.keyboard.press("Backspace")
    shows(page, "Pair 2 of 3, 1 to answer. Your answer was: right.")
    sync_api.expect(page.get_by_role("button", name="Right", pressed=True)).to_be_visible()
    page.keyboard.press("ArrowUp")
    shows(page, "Pair 1 of 3, 1 to answer. Your answer was: left.")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Control+ArrowRight")
    shows(page, "Right. Pair 2 of 3, 1 to answer. Your answer was: right.")

    reload_without_storage(page)
    shows(page, "Pair 3 of 3, 1 to answer.")
    page.get_by_role("button", name="Same").click()
    shows(page, "Same. All 3 pairs are answered; export the answers.")
    page.keyboard.press("ArrowLeft")
    sync_api.expect(page.get_by_role("button", name="Export answers")).to_be_focused()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    download.value.save_as(tmp_path / "answers.json")
    assert read_answers(tmp_path / "answers.json", key) == {
        "01": "right", "02": "right", "03": "same",
    }  # fmt: skip


def test_starting_over_forgets_all_answers(page):
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Start over").click()
    shows(page, "Pair 1 of 3, 3 to answer.")
    reload_without_storage(page)
    shows(page, "Pair 1 of 3, 3 to answer.")
    sync_api.expect(page.get_by_role("button", name="Back")).to_be_disabled()


def test_answers_are_stored_for_when_the_page_is_opened_again(page, key):
    page.keyboard.press("ArrowLeft")
    shows(page, "Left. Pair 2 of 3, 2 to answer.")
    name = f"toonbox-pairs-{key.identity}"
    assert json.loads(page.evaluate("name => localStorage.getItem(name)", name)) == {"01": "left"}
    # Stored by the script, since what one page has stored another need not see at once.
    stored = json.dumps({"01": "left", "02": "right"})
    page.add_init_script(f"localStorage.setItem({name!r}, {stored!r})")
    page.goto(page.url)
    shows(page, "Pair 3 of 3, 1 to answer.")


def test_answers_about_other_pairs_are_left_alone(page):
    page.evaluate("history.replaceState({id: 'other', answers: {'01': 'left'}}, '')")
    reload_without_storage(page)
    shows(page, "Pair 1 of 3, 3 to answer.")
