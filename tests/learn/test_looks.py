from dataclasses import asdict
from pathlib import Path

import pytest
import tomli_w

from toonbox.errors import ConfigError
from toonbox.learn.config import load_config, save_config
from toonbox.learn.looks import load_look, look_file, look_names
from toonbox.learn.representations.drawing import Look


def test_comic_is_the_default() -> None:
    assert load_look("comic") == Look()


@pytest.mark.parametrize("name", look_names())
def test_a_shipped_look_says_all_its_numbers(name: str) -> None:
    text = look_file(name).read_text(encoding="utf-8")
    for number in asdict(Look()):
        assert f"\n{number} = " in text
    assert text.startswith("# ")


def test_the_shipped_looks() -> None:
    assert {"comic", "anime", "ink", "watercolour"} <= set(look_names())


def test_a_file_may_leave_numbers_out(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("tones = 4\nink = [0.5, 0, 1]\n")
    assert load_look(file) == load_look(str(file)) == Look(tones=4, ink=(0.5, 0, 1))
    file.write_text("tones = 4", encoding="utf-8-sig")  # as some editors on Windows
    assert load_look(file) == Look(tones=4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tonez = 3", "tonez: Unexpected keyword argument"),
        ("tones = 1", "tones: Input should be greater than or equal to 2"),
        ('tones = "6"', "tones: Input should be a valid number"),
        ("line = true", "line: Input should be a valid number"),
        ("gamma = nan", "gamma: Input should be a finite number"),
        ("pen = 2.0", "pen: Input should be less than or equal to 1.5"),
        ("ink = [0, 0]", "ink"),
        ("ink = [0, 0, 255]", "ink.2: Input should be less than or equal to 1"),
        ("tones = ", "Invalid value"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_look(file)
    assert "my.toml" in str(caught.value)


def test_unknown_looks_and_missing_files_are_named() -> None:
    with pytest.raises(ConfigError, match="no look 'wild'; available: anime, comic"):
        load_look("wild")
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load_look("none.toml")


def test_a_training_configuration_takes_a_name_or_a_table(tmp_path: Path) -> None:
    file, resolved = tmp_path / "config.toml", tmp_path / "resolved.toml"
    file.write_text('[pretrain]\nlook = "anime"\n')
    config = load_config(file)
    assert config.pretrain.look == load_look("anime")
    save_config(config, resolved)
    assert load_config(resolved) == config
    file.write_text(tomli_w.dumps({"pretrain": {"look": asdict(load_look("anime"))}}))
    assert load_config(file).sha256() == config.sha256()
    file.write_text('[pretrain]\nlook = "wild"\n')
    with pytest.raises(ConfigError, match=r"config\.toml: pretrain\.look: no look 'wild'"):
        load_config(file)
    file.write_text("[pretrain.look]\ntonez = 3\n")
    with pytest.raises(ConfigError, match=r"pretrain\.look\.tonez"):
        load_config(file)
