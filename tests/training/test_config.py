from pathlib import Path

import pytest

from toonbox.errors import ConfigError
from toonbox.losses import PRESETS
from toonbox.training.config import TrainConfig, load_config, save_config


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
    again = load_config(tmp_path / "resolved.toml", None, None)
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
        load_config(file, None, None)
    assert "wrong.toml" in str(caught.value)


def test_unknown_presets_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no preset 'wild'; there are balanced"):
        load_config(None, "wild", None)
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml", None, None)
