import pytest
import torch

from toonbox.learn.losses import LossWeights
from toonbox.learn.train import KnobSettings

KNOBBED = {"base_channels": 4, "knobs": True}


def test_knobs_are_drawn_from_seed_and_step_alone(tiny_config) -> None:
    config = tiny_config(generator=KNOBBED, knobs_at_default=0.0)
    assert KnobSettings.draw(config, 7) == KnobSettings.draw(config, 7)
    assert KnobSettings.draw(config, 7) != KnobSettings.draw(config, 8)
    other = tiny_config(generator=KNOBBED, knobs_at_default=0.0, seed=1)
    assert KnobSettings.draw(config, 7) != KnobSettings.draw(other, 7)


def test_knobs_fill_their_range_and_stand_at_one_as_often_as_told(tiny_config) -> None:
    config = tiny_config(generator=KNOBBED, knobs_at_default=0.25)
    drawn = [KnobSettings.draw(config, step) for step in range(400)]
    default = [knobs for knobs in drawn if knobs == KnobSettings()]
    assert 60 < len(default) < 140
    for name in ("surface", "structure", "texture"):
        values = [getattr(knobs, name) for knobs in drawn if knobs != KnobSettings()]
        assert 0 <= min(values) < 0.1
        assert 1.9 < max(values) <= 2


def test_without_knobs_nothing_is_drawn_and_nothing_told(tiny_config) -> None:
    config = tiny_config(knobs_at_default=0.0)
    assert KnobSettings.draw(config, 7) == KnobSettings()
    assert KnobSettings().tensor(config, torch.zeros(1)) is None


def test_the_tensor_has_the_order_of_the_knobs(tiny_config) -> None:
    config = tiny_config(generator=KNOBBED)
    told = KnobSettings(0.25, 0.5, 2.0).tensor(config, torch.zeros(1))
    assert told.tolist() == [[0.25, 0.5, 2.0]]


def test_the_weights_of_the_same_names_are_turned() -> None:
    before = LossWeights()
    after = KnobSettings(0.5, 2.0, 0.0).weights(before)
    assert after.surface == pytest.approx(before.surface / 2)
    assert after.structure == pytest.approx(before.structure * 2)
    assert after.texture == 0
    assert (after.content, after.tv, after.colour) == (before.content, before.tv, before.colour)
