from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from toonbox.learn.discriminator import Discriminator
from toonbox.learn.evaluate.classifier import (
    Classification,
    ClassifierConfig,
    classify,
    train_classifier,
)
from toonbox.learn.evaluate.feature_networks import CropRule, take_crops
from toonbox.learn.representations.structure import structure
from toonbox.learn.representations.surface import surface
from toonbox.pixels import Uint8Array

RULE = CropRule(short_side=48, size=32, crops=4)
CONFIG = ClassifierConfig(rule=RULE, steps=60, batch_size=16, learning_rate=5e-3, base_channels=8)


def noise(seed: int) -> Uint8Array:
    return np.random.default_rng(seed).integers(0, 256, (48, 60, 3), dtype=np.uint8)


def ellipses(seed: int) -> Uint8Array:
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (60, 48), tuple(random.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for left, top, width, height, *colour in random.integers(0, 256, (8, 7)):
        x, y = left * 50 // 255, top * 40 // 255
        draw.ellipse((x, y, x + 8 + width // 12, y + 8 + height // 12), fill=tuple(colour))
    return np.asarray(image)


def several(draw: Callable[[int], Uint8Array], seed: int = 0, count: int = 6) -> list[Uint8Array]:
    return [draw(seed + index) for index in range(count)]


@pytest.fixture(scope="module")
def trained() -> Discriminator:
    return train_classifier(several(noise, count=40), several(ellipses, count=40), CONFIG)


def test_it_learns_to_tell_flat_ellipses_from_noise(trained: Discriminator) -> None:
    photos, cartoons = several(noise, 100), several(ellipses, 100)
    found = classify(trained, photos, cartoons, {"a": cartoons, "b": photos}, RULE)
    assert found.photos < 0.05
    assert found.representations["original"] > 0.95
    assert found.styles == {"a": found.representations["original"], "b": found.photos}
    assert found.accuracy(found.representations["original"]) > 0.95
    assert found.accuracy(found.styles["b"]) == pytest.approx(0.5)


def test_accuracy_counts_both_kinds_the_same() -> None:
    assert Classification(0.1, {}, {}).accuracy(0.7) == pytest.approx(0.8)


class Recorder(Discriminator):
    """Keeps what it is shown; calls half of each picture's crops cartoon."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.shown.append(image)
        return torch.tensor([[1.0], [-1.0]]).repeat(len(image) // 2, 1)


def test_each_representation_of_a_cartoon_is_shown() -> None:
    network, cartoon = Recorder(), ellipses(3)
    found = classify(network, [noise(0), noise(1)], [cartoon], {}, RULE)
    assert found == Classification(
        0.5, dict.fromkeys(("original", "surface", "structure", "texture"), 0.5), {}
    )
    original, smooth, flat, grey = network.shown[2:]
    crops = take_crops(cartoon, RULE, 0)
    expected = torch.from_numpy(crops.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    torch.testing.assert_close(original, expected)
    torch.testing.assert_close(smooth, surface(expected))
    # 200 segments of a 256 x 256 crop are 3 of a 32 x 32 one
    segments = structure(crops[0], segments=3).astype(np.float32) / 127.5 - 1
    torch.testing.assert_close(flat[0], torch.from_numpy(segments).permute(2, 0, 1))
    luminance = expected[:, 0] * 0.299 + expected[:, 1] * 0.587 + expected[:, 2] * 0.114
    for channel in range(3):
        torch.testing.assert_close(grey[:, channel], luminance)


def test_training_depends_on_its_seed_alone() -> None:
    short = ClassifierConfig(rule=RULE, steps=2, batch_size=4, base_channels=2)
    sets = several(noise), several(ellipses)
    torch.manual_seed(1)
    one = train_classifier(*sets, short).state_dict()
    torch.manual_seed(2)
    again = train_classifier(*sets, short).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    after = torch.rand(1)
    torch.manual_seed(2)
    assert torch.equal(after, torch.rand(1))  # the shared random state is left alone
