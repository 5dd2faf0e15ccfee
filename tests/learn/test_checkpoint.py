import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from toonbox.errors import WeightsError
from toonbox.learn.generator import Generator, GeneratorConfig, load_generator, save_generator

SMALL = GeneratorConfig(base_channels=4, stages=2, residual_blocks=1, residual=False)


def test_a_generator_comes_back_with_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "g.safetensors"
    network = Generator(SMALL)
    save_generator(network, file)
    again = load_generator(file)
    assert again.config == SMALL
    assert not again.training
    photo = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(again(photo), network(photo))
    assert [f.name for f in tmp_path.iterdir()] == ["g.safetensors"]


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        load_generator(tmp_path / "none.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("nothing of the kind")
    with pytest.raises(WeightsError, match=r"text\.safetensors"):
        load_generator(text)
    bare = tmp_path / "bare.safetensors"
    save_file({"x": torch.zeros(1)}, bare)
    with pytest.raises(WeightsError, match="no generator's configuration"):
        load_generator(bare)
    for config in ({"base_channels": 4}, {"chanels": 4}, {"base_channels": 0}):
        save_file({"x": torch.zeros(1)}, bare, {"generator": json.dumps(config)})
        with pytest.raises(WeightsError, match=r"bare\.safetensors"):
            load_generator(bare)
