import builtins
from pathlib import Path

import pytest

from toonbox.cli.main import main


def run(*arguments):
    with pytest.raises(SystemExit) as exit:
        main(["styles", *map(str, arguments)])
    return exit.value.code or 0


@pytest.fixture
def own_styles(style_folder, monkeypatch):
    monkeypatch.setenv("TOONBOX_STYLES", str(style_folder.parent))
    return style_folder


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_every_style_with_its_card(arguments, own_styles, capsys):
    from toonbox.engine.style import read_card

    card = read_card(own_styles)
    assert run(*arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    number = next(i for i, line in enumerate(lines) if line.split()[:1] == [card.name])
    for value in (card.version, card.licence, card.description):
        assert value in lines[number]
    assert lines[number + 1].strip() == str(own_styles)


@pytest.fixture
def no_styles(tmp_path, monkeypatch):
    monkeypatch.setattr("toonbox.engine.style.SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("TOONBOX_STYLES", str(tmp_path / "mine"))
    return tmp_path / "mine"


def test_columns_line_up(tiny_style, no_styles, capsys):
    words = {"description": "Words", "licence": "CC0"}
    a = tiny_style("a", to=no_styles, version="10.0.0", **words)
    longer = tiny_style("longer", to=no_styles, version="1", **words)
    assert run() == 0
    assert capsys.readouterr().out.splitlines() == [
        "a       10.0.0  CC0  Words",
        f"        {a}",
        "longer  1       CC0  Words",
        f"        {longer}",
    ]


def test_knobs_are_listed_as_the_options_they_are(tiny_style, no_styles, capsys):
    folder = tiny_style("a", to=no_styles, knobs=("surface", "texture"))
    plain = tiny_style("b", to=no_styles)
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["   knobs: --surface --texture", f"   {folder}"]
    assert lines[4:] == [f"   {plain}"]


def test_a_damaged_style_is_named_and_the_others_listed(tiny_style, no_styles, capsys):
    tiny_style("good", to=no_styles)
    (tiny_style("bad", to=no_styles) / "card.toml").write_text("nonsense")
    assert run() == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("good")
    assert "bad" in printed.err
    assert "card.toml" in printed.err


def test_none(no_styles, capsys):
    assert run() == 0
    assert capsys.readouterr().err == "toonbox: there are no styles\n"


def test_import_hands_everything_on(monkeypatch, capsys):
    published = pytest.importorskip("toonbox.learn.import_tfjs")
    styles_folder = pytest.importorskip("toonbox.engine.style").styles_folder
    calls = []

    def import_tfjs(*arguments):
        calls.append(arguments)
        return Path("made")

    monkeypatch.setattr(published, "import_tfjs", import_tfjs)
    assert run("import", "model", "--name", "mine") == 0
    assert capsys.readouterr().out == "model -> made\n"
    options = ("--to", "here", "--licence", "CC0", "--force")
    assert run("import", "model", "--name", "mine", *options) == 0
    assert calls == [
        (Path("model"), styles_folder() / "mine", published.LICENCE, False),
        (Path("model"), Path("here/mine"), "CC0", True),
    ]


@pytest.mark.parametrize("name", ["", "..", "a/b", "/a"])
def test_the_name_of_an_import_must_be_a_folders(name, tmp_path, capsys):
    pytest.importorskip("toonbox.learn.import_tfjs")
    for to in ((), ("--to", tmp_path)):
        assert run("import", tmp_path, "--name", name, *to) == 2
        assert "cannot be the name of a folder" in capsys.readouterr().err


def test_import_without_a_model_is_one_line(tmp_path, capsys):
    pytest.importorskip("toonbox.learn.import_tfjs")
    assert run("import", tmp_path / "none", "--name", "mine", "--to", tmp_path / "to") == 1
    errors = capsys.readouterr().err
    assert errors.startswith("toonbox: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "to").exists()


def test_import_needs_the_learning_half(monkeypatch, capsys):
    original = builtins.__import__

    def without(name, *rest):
        if name == "toonbox.learn.import_tfjs":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert run("import", "model", "--name", "mine") == 1
    assert "pip install 'toonbox[train]'" in capsys.readouterr().err
