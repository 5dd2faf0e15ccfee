from dataclasses import replace
from pathlib import Path

import pytest

from toonbox.errors import ConfigError
from toonbox.learn.config import TrainConfig, default_config, load_config, save_config
from toonbox.learn.generator import GeneratorConfig
from toonbox.learn.looks import load_look
from toonbox.learn.losses import PRESETS


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('steps = 7\n[generator]\nbase_channels = 8\n[pretrain]\nkind = "identity"\n')
    config = load_config(file, "flat", None)
    assert (config.steps, config.generator.base_channels, config.pretrain.kind) == (
        7,
        8,
        "identity",
    )
    assert config.weights == PRESETS["flat"]
    save_config(config, tmp_path / "resolved.toml")
    again = load_config(tmp_path / "resolved.toml")
    assert again == config
    assert again.sha256() == config.sha256() != TrainConfig().sha256()


def test_steps_on_the_command_line_win() -> None:
    config = load_config(None, None, 12)
    assert config.steps == 12
    assert config.total_steps == 12 + config.pretrain.steps


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stepz = 3", "stepz: Unexpected keyword argument"),
        ("[pretrain]\nlinez = 1", "pretrain.linez"),
        ("[weights]\nsurfase = 1", "weights.surfase"),
        ("[generator]\nbase_chanels = 1", "generator.base_chanels"),
        ("[crops]\nsise = 1", "crops.sise"),
        ('steps = "many"', "steps: Input should be a valid integer"),
        ("steps = -1", "greater than or equal to 0"),
        ('texture = "velvet"', "texture"),
        ("steps = ", "Invalid value"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(file)
    assert "wrong.toml" in str(caught.value)


def test_unknown_presets_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no preset 'wild'; there are balanced"):
        load_config(None, "wild", None)
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml", None, None)


def test_without_a_file_comic_is_drawn_in_fewer_steps() -> None:
    comic = load_config(Path(__file__).parents[2] / "recipes/comic.toml")
    expected = replace(comic, pretrain=replace(comic.pretrain, steps=3000))
    assert default_config() == default_config(look="comic") == expected
    assert default_config(look="ink").pretrain.look == load_look("ink")
    assert default_config(steps=70).pretrain.steps == default_config(steps=70).total_steps == 70


def test_a_drawing_needs_neither_vgg_nor_cartoons() -> None:
    config = default_config(look="ink")
    assert (config.needs_vgg, config.needs_features, config.discriminated) == (False, True, ())
    assert config.target == "drawing"


def test_adversarial_steps_begin_at_once_from_a_start_and_hold_to_it() -> None:
    size = GeneratorConfig(base_channels=4)
    config = default_config(adversarial=True, start=size)
    assert (config.generator, config.pretrain.steps, config.steps) == (size, 0, 3000)
    assert config.target == "teacher"
    assert config.discriminated == ("surface", "texture")
    assert (config.needs_vgg, config.needs_features) == (False, True)
    assert default_config(adversarial=True, start=size, look="ink").target == "drawing"
    assert default_config(start=size).pretrain.steps == 3000


@pytest.mark.parametrize(
    ("values", "vgg", "features", "discriminated", "target"),
    [
        ("steps = 0", False, False, (), "drawing"),
        ("steps = 1", True, False, ("surface", "texture"), "drawing"),
        ("[weights]\nsurface = 0", True, False, ("texture",), "drawing"),
        ("[weights]\nstructure = 0", True, False, ("surface", "texture"), "drawing"),
        ("[weights]\nstructure = 0\ncontent = 0", False, False, ("surface", "texture"), "drawing"),
        ('discriminators.kind = "features"', True, True, ("surface", "texture"), "drawing"),
        ('steps = 0\ndiscriminators.kind = "features"', False, False, (), "drawing"),
        ("pretrain.feature_weight = 1", True, True, ("surface", "texture"), "drawing"),
        ("steps = 0\npretrain.feature_weight = 1\npretrain.steps = 0", False, False, (), None),
        ("pretrain.steps = 0", True, False, ("surface", "texture"), "drawing"),
        (
            "weights.reconstruction = 0\npretrain.steps = 0",
            True,
            False,
            ("surface", "texture"),
            None,
        ),
        ('pretrain.kind = "identity"', True, False, ("surface", "texture"), None),
    ],
)
def test_what_has_no_weight_is_not_needed(
    tmp_path: Path,
    values: str,
    vgg: bool,
    features: bool,
    discriminated: tuple[str, ...],
    target: str | None,
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(values)
    config = load_config(file)
    found = (config.needs_vgg, config.needs_features, config.discriminated, config.target)
    assert found == (vgg, features, discriminated, target)
