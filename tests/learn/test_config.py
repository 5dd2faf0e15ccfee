from dataclasses import replace
from pathlib import Path

import pytest

from toonbox.errors import ConfigError
from toonbox.learn.config import TrainConfig, default_config, load_config, save_config
from toonbox.learn.generator import GeneratorConfig, KnobSettings
from toonbox.learn.looks import load_look
from toonbox.learn.losses import PRESETS
from toonbox.learn.representations.drawing import Look

KNOBBED = {"base_channels": 4, "knobs": True}


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        'steps = 7\n[generator]\nbase_channels = 8\n[pretrain]\nkind = "identity"\n'
        "[discriminators.look]\ntones = 4.0\n"
    )
    config = load_config(file, "flat")
    assert config.discriminators.look == Look(tones=4.0)
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


def test_steps_on_the_command_line_win(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("steps = 3")
    config = load_config(file, steps=12)
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
        ("crops.size = -1", "crops.size: Input should be greater than 0"),
        ("crops.batch_size = 0", "crops.batch_size: Input should be greater than 0"),
        ("crops.photo_side = [512, 320]", r"crops.photo_side: should go from .* not \[512, 320\]"),
        ("crops.cartoon_side = [0, 320]", r"crops.cartoon_side.0: Input should be greater than 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(file)
    assert "wrong.toml" in str(caught.value)


def test_unknown_presets_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no preset 'wild'; available: balanced"):
        default_config(preset="wild")
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml")


def test_without_a_file_comic_is_drawn_in_fewer_steps() -> None:
    comic = load_config(Path(__file__).parents[2] / "recipes/comic-drawing.toml")
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
        ("weights.features = 1", True, True, ("surface", "texture"), "drawing"),
        (
            "pretrain.steps = 0\nweights = {reconstruction = 0, features = 1}",
            True,
            True,
            ("surface", "texture"),
            "drawing",
        ),
        (
            "pretrain.steps = 0\nweights = {reconstruction = 0, dashes = 1}",
            True,
            False,
            ("surface", "texture"),
            "drawing",
        ),
        (
            'weights.features = 1\npretrain.kind = "identity"',
            True,
            False,
            ("surface", "texture"),
            None,
        ),
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


def test_knobs_are_drawn_from_seed_and_step_alone(tiny_config) -> None:
    config = tiny_config(generator=KNOBBED, knobs_at_default=0.0)
    assert config.knobs_at(7) == config.knobs_at(7)
    assert config.knobs_at(7) != config.knobs_at(8)
    other = tiny_config(generator=KNOBBED, knobs_at_default=0.0, seed=1)
    assert config.knobs_at(7) != other.knobs_at(7)
    assert tiny_config(knobs_at_default=0.0).knobs_at(7) == KnobSettings()


def test_knobs_fill_their_range_and_stand_at_one_as_often_as_configured(tiny_config) -> None:
    config = tiny_config(generator=KNOBBED, knobs_at_default=0.25)
    drawn = [config.knobs_at(step) for step in range(400)]
    default = [knobs for knobs in drawn if knobs == KnobSettings()]
    assert 60 < len(default) < 140
    for values in zip(*(knobs for knobs in drawn if knobs != KnobSettings()), strict=True):
        assert 0 <= min(values) < 0.1
        assert 1.9 < max(values) <= 2
