from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from toonbox.training.config import TrainConfig, parse_config

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


@pytest.fixture(scope="session")
def tiny_config() -> MakeConfig:
    """Make a configuration of the smallest networks: tiny_config(steps=4, ...)."""

    def make(**values: object) -> TrainConfig:
        tiny: dict[str, object] = {
            "steps": 3,
            "generator": {"base_channels": 4, "stages": 2, "residual_blocks": 1},
            "crops": {"size": 32, "photo_side": [32, 48], "cartoon_side": [32, 48]},
            "pretrain": {"steps": 3, "segments": 8},
            "structure": {"window": 16, "segments": 6},
        }
        return parse_config({**tiny, **values}, "test")

    return make
