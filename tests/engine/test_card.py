from pathlib import Path

import pytest

from toonbox.engine import style
from toonbox.engine.style import find_style, list_styles, read_card, styles_folder, write_card
from toonbox.errors import StyleError


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOONBOX_STYLES", str(tmp_path / "mine"))
    monkeypatch.setattr(style, "SHIPPED", tmp_path / "shipped")


def test_a_card_survives_writing_and_reading(tiny_style) -> None:
    folder = tiny_style(description='quotes " backslash \\ newline \n tag \U000e0001 and 漫画')
    told = read_card(folder)
    assert told.description == 'quotes " backslash \\ newline \n tag \U000e0001 and 漫画'
    write_card(told, folder)
    assert read_card(folder) == told


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no toml at all", "card.toml"),
        ('name = "x"', "version should be a text, found None"),
        ("", "name should be"),
    ],
)
def test_a_damaged_card_is_named(tiny_style, text: str, reason: str) -> None:
    folder = tiny_style()
    (folder / "card.toml").write_text(text)
    with pytest.raises(StyleError, match=reason):
        read_card(folder)


def test_numbers_that_cannot_be_are_refused(tiny_style) -> None:
    with pytest.raises(StyleError, match="do not fit"):
        read_card(tiny_style(size_multiple=0))
    with pytest.raises(StyleError, match="size_multiple should be a number"):
        read_card(tiny_style("text", size_multiple="8"))
    for wrong in (63, 129, -1):
        with pytest.raises(StyleError, match="detail_resolution should be one to two times"):
            read_card(tiny_style(f"detail {wrong}", detail_resolution=wrong))


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(StyleError, match="No such file"):
        read_card(tmp_path)


def test_unknown_entries_are_passed_over(tiny_style) -> None:
    folder = tiny_style()
    with (folder / "card.toml").open("a") as card:
        card.write('colour = "new in version 9"\n')
    assert read_card(folder).name == "tiny"


def test_knobs_survive_writing_and_reading_and_are_written_only_if_there(tiny_style) -> None:
    folder = tiny_style("knobbed", knobs=("surface", "texture"))
    assert read_card(folder).knobs == ("surface", "texture")
    assert 'knobs = "surface texture"\n' in (folder / "card.toml").read_text()
    plain = tiny_style("plain")
    assert read_card(plain).knobs == ()
    assert "knobs" not in (plain / "card.toml").read_text()


@pytest.mark.parametrize("value", ["3", '["surface"]', '"sur-face"', '"a b a"', '"2nd"'])
def test_knobs_that_are_no_names_are_refused(tiny_style, value: str) -> None:
    folder = tiny_style()
    with (folder / "card.toml").open("a") as card:
        card.write(f"knobs = {value}\n")
    with pytest.raises(StyleError, match=r"card\.toml: knobs should be names"):
        read_card(folder)


def test_empty_knobs_are_none(tiny_style) -> None:
    folder = tiny_style()
    with (folder / "card.toml").open("a") as card:
        card.write('knobs = ""\n')
    assert read_card(folder).knobs == ()


def test_a_users_style_hides_a_shipped_one(tiny_style, tmp_path: Path) -> None:
    shipped = tiny_style("a", to=tmp_path / "shipped")
    assert find_style("a") == shipped
    mine = tiny_style("a", to=tmp_path / "mine")
    assert find_style("a") == mine
    other = tiny_style("b", to=tmp_path / "shipped")
    assert [folder for _, folder in list_styles()] == [mine, other]


def test_a_path_is_taken_as_it_is(tiny_style, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_style()
    assert find_style(folder) == folder
    assert find_style(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert find_style("tiny") == Path("tiny")


def test_an_unknown_style_says_what_there_is(tiny_style, tmp_path: Path) -> None:
    tiny_style("hayao", to=tmp_path / "mine")
    with pytest.raises(StyleError, match="no style 'nope'; available: hayao"):
        find_style("nope")


def test_a_folder_that_cannot_be_looked_up_has_no_styles(
    tiny_style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_style("hayao", to=tmp_path / "shipped")
    monkeypatch.setenv("TOONBOX_STYLES", str(tmp_path / ("x" * 300)))
    with pytest.raises(StyleError, match=r"no style 'y+'; available: hayao"):
        find_style("y" * 300)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/d"}, "/d/toonbox/styles"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/toonbox/styles"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/toonbox/styles"),
    ],
)
def test_styles_live_where_the_system_keeps_data(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOONBOX_STYLES")
    monkeypatch.setattr(style.sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert styles_folder() == Path(expected)


def test_cards_from_before_reach_have_that_of_the_usual_network(tiny_style) -> None:
    folder = tiny_style("far", reach=40)
    assert read_card(folder).reach == 40
    card = folder / "card.toml"
    card.write_text("".join(line for line in card.open() if not line.startswith("reach")))
    assert read_card(folder).reach == 126
    with pytest.raises(StyleError, match="reach is less than size_multiple"):
        read_card(tiny_style("near", reach=7))
