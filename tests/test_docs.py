"""The pages: generated ones are current, links lead somewhere, nothing is loaded from elsewhere."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.S | re.M)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", without_code(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pictures_and_scripts_are_our_own(page: Path) -> None:
    text = without_code(page.read_text())
    assert not re.findall(r"!\[[^\]]*\]\(https?://|<(?:img|script|link)[^>]*https?://", text)


def test_the_site_takes_no_fonts_from_elsewhere() -> None:
    settings = (ROOT / "mkdocs.yml").read_text()
    assert re.search(r"^  font: false\b", settings, re.M)
    assert "http" not in settings


def test_every_page_is_on_the_site() -> None:
    settings = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r": ([\w./-]+\.md)$", settings, re.M))
    there = {page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")}
    assert listed == there


def test_the_reference_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import generate

    advice = "run: python docs/generate.py"
    assert (generate.REFERENCE / "commands.md").read_text() == generate.commands(), advice
    assert (generate.REFERENCE / "python.md").read_text() == generate.python(), advice
    sys.modules.pop("generate")
