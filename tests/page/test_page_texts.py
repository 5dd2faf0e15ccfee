"""The texts of the page: both languages say the same, and nothing is said that is not used."""

import json
import re
from html.parser import HTMLParser

import pytest

from toonbox.engine.style import SHIPPED
from toonbox.page import FOLDER

LANGUAGES = ("en", "zh")
SCRIPTS = sorted(file for file in FOLDER.glob("*.js") if file.name != "vendor.js")
HTML = (FOLDER / "index.html").read_text(encoding="utf-8")
LIMIT = 300_000  # bytes


def read(language):
    return json.loads((FOLDER / "i18n" / f"{language}.json").read_text(encoding="utf-8"))


def placeholders(text):
    return sorted(re.findall(r"\{(\w+)\}", text))


class Texts(HTMLParser):
    """Collects the keys that elements name, and what they say until it is replaced."""

    def __init__(self):
        super().__init__()
        self.texts, self.labels, self.styles, self._key = {}, {}, [], None

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self._key = attributes.get("data-i18n")
        if self._key:
            self.texts[self._key] = ""
        if label := attributes.get("data-i18n-label"):
            self.labels[label] = attributes.get("aria-label")
        self.styles += [name for name in attributes if name == "style" or name.startswith("on")]

    def handle_endtag(self, tag):
        self._key = None

    def handle_data(self, data):
        if self._key:
            self.texts[self._key] += data


@pytest.fixture(scope="module")
def html():
    parser = Texts()
    parser.feed(HTML)
    return parser


def test_both_languages_have_the_same_keys_in_the_same_order():
    assert list(read("en")) == list(read("zh"))


@pytest.mark.parametrize("key", read("en"))
def test_both_languages_fill_in_the_same(key):
    english, chinese = (read(language)[key] for language in LANGUAGES)
    assert placeholders(english) == placeholders(chinese)
    assert english.strip()
    assert chinese.strip()


def test_the_html_says_in_english_what_the_file_says(html):
    english = read("en")
    assert {key: " ".join(text.split()) for key, text in html.texts.items()} == {
        key: english[key] for key in html.texts
    }
    assert html.labels == {key: english[key] for key in html.labels}


def test_the_html_has_no_inline_styles_or_handlers(html):
    assert html.styles == []
    assert "<style" not in HTML
    assert not re.search(r"<script(?![^>]*\bsrc=)", HTML)


def test_every_key_that_is_used_exists(html):
    used = {*html.texts, *html.labels}
    for script in SCRIPTS:
        used |= set(re.findall(r"""\bt\(\s*["']([\w.-]+)["']""", script.read_text("utf-8")))
    assert used - set(read("en")) == set()
    assert len(used) > 50


def is_composed(key, source):
    """Tell whether a script puts the key together: `video.error.${code}`, and says "code"."""
    start, _, end = key.rpartition(".")
    return f"`{start}.${{" in source and re.search(rf"""["']{re.escape(end)}["']""", source)


def test_every_key_that_exists_is_used(html):
    source = "".join(script.read_text("utf-8") for script in SCRIPTS)
    used = {*html.texts, *html.labels}
    used |= set(re.findall(r"""["'`]([\w-]+\.[\w.-]+)["'`]""", source))
    for style in SHIPPED.iterdir():
        used |= {f"style.{style.name}", f"style.{style.name}.description"}
    assert {key for key in set(read("en")) - used if not is_composed(key, source)} == set()


def test_every_shipped_style_has_a_name_in_both_languages():
    for language in LANGUAGES:
        texts = read(language)
        for card in SHIPPED.glob("*/card.toml"):
            assert f"style.{card.parent.name}" in texts
            assert f"style.{card.parent.name}.description" in texts


def test_the_page_is_light():
    """Everything but the runtime, the models and their previews, before compression."""
    files = [*SCRIPTS, *FOLDER.glob("*.html"), *FOLDER.glob("*.css"), *FOLDER.glob("*.svg")]
    files += [*FOLDER.glob("i18n/*.json"), FOLDER / "manifest.json"]
    size = sum(file.stat().st_size for file in files)
    assert 50_000 < size < LIMIT
