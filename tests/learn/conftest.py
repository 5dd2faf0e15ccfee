import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from toonbox.learn.config import TrainConfig, parse_config
from workers_here import pool_here

MakeConfig = Callable[..., TrainConfig]


def pictures(folder: Path, count: int, drawn: bool) -> Path:
    """Write small pictures: smooth noise for photos, outlined ellipses for cartoons."""
    folder.mkdir()
    for index in range(count):
        random = np.random.default_rng((index, drawn))
        if drawn:
            image = Image.new("RGB", (72, 64), tuple(random.integers(100, 256, 3).tolist()))
            colour = tuple(random.integers(0, 256, 3).tolist())
            box = (*random.integers(0, 24, 2).tolist(), *random.integers(40, 63, 2).tolist())
            ImageDraw.Draw(image).ellipse(box, colour, (0, 0, 0), 3)
        else:
            noise = random.integers(0, 256, (8, 9, 3), dtype=np.uint8)
            image = Image.fromarray(noise).resize((72, 64), Image.Resampling.BICUBIC)
        image.save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of photos and of cartoons."""
    base = tmp_path_factory.mktemp("data")
    return pictures(base / "photos", 12, False), pictures(base / "cartoons", 6, True)


@pytest.fixture(autouse=True, scope="session")
def unmeasured_export() -> Iterator[None]:
    """Export without coverage, which follows each call of torch's exporter: twice the time."""
    export = torch.onnx.export

    def unmeasured(*args: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return export(*args, **options)
        finally:
            sys.settrace(tracer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", unmeasured)
        yield


@pytest.fixture
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do in this process what is otherwise for workers, which take seconds to start."""
    monkeypatch.setattr("toonbox.learn.train.worker_pool", pool_here)
    monkeypatch.setattr("toonbox.learn.layers.worker_pool", pool_here)


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of seeded random VGG16 weights."""
    torch.manual_seed(0)
    widths = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
    widths += [(256, 512), (512, 512), (512, 512)]
    names = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"]
    tensors = {}
    for name, (inputs, outputs) in zip(names, widths, strict=True):
        weight = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
        tensors[f"conv{name}.weight"] = weight.half()
        tensors[f"conv{name}.bias"] = torch.zeros(outputs).half()
    file = tmp_path_factory.mktemp("weights") / "vgg16.safetensors"
    save_file(tensors, file)
    return file


@pytest.fixture(scope="session")
def tiny_config() -> MakeConfig:
    """Make a configuration of the smallest networks: tiny_config(steps=4, ...)."""

    def make(**values: object) -> TrainConfig:
        tiny: dict[str, object] = {
            "steps": 3,
            "generator": {"base_channels": 4, "stages": 2, "residual_blocks": 1},
            "crops": {"size": 32, "photo_side": [32, 48], "cartoon_side": [32, 48]},
            "pretrain": {"steps": 3},
            "structure": {"segments": 6},
        }
        return parse_config({**tiny, **values}, "test")

    return make
