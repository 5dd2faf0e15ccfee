"""A smaller generator fitted to a trained one."""

import pytest
import torch

from toonbox.errors import ConfigError
from toonbox.learn.generator import Generator, GeneratorConfig
from toonbox.learn.narrow import narrowed


def trained(**values: object) -> Generator:
    """Return a network whose every weight does something."""
    torch.manual_seed(0)
    sizes = {"base_channels": 4, "stages": 2, "residual_blocks": 2, "knobs": True}
    generator = Generator(GeneratorConfig(**{**sizes, **values}))
    torch.nn.init.normal_(generator.head.weight, std=0.05)
    if generator.config.knobs:
        torch.nn.init.normal_(generator.knobs.embed[-1].weight, std=0.1)
        torch.nn.init.normal_(generator.knobs.embed[-1].bias, std=0.1)
    return generator.eval()


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    coarse = torch.rand(12, 3, 8, 8, generator=random) * 2 - 1
    fine = torch.rand(12, 3, 32, 32, generator=random) - 0.5
    return (torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear") + fine) / 2


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().mean().item()


@torch.no_grad()
@pytest.mark.parametrize("values", [{}, {"knobs": False}])
def test_the_same_size_draws_nearly_the_same(
    photos: torch.Tensor, values: dict[str, object]
) -> None:
    large = trained(**values)
    small = narrowed(large, large.config, photos)
    assert distance(small(photos), large(photos)) < 0.05 * distance(photos, large(photos))
    if large.config.knobs:
        turned = torch.tensor([[0.0, 2.0, 1.5]])
        assert distance(large(photos, turned), large(photos)) > 0.005
        moved = distance(large(photos, turned), large(photos))
        assert distance(small(photos, turned), large(photos, turned)) < 0.2 * moved


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(3, 2, 1, kernel=5, knobs=True),
        GeneratorConfig(4, 2, 2, knobs=True, most_channels=6),
    ],
)
def test_a_smaller_one_comes_near(photos: torch.Tensor, config: GeneratorConfig) -> None:
    large = trained()
    small = narrowed(large, config, photos)
    assert small.config == config
    untrained = distance(photos, large(photos))
    assert distance(small(photos), large(photos)) < 0.8 * untrained


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(5, 2, 2, knobs=True),
        GeneratorConfig(4, 1, 2, knobs=True),
        GeneratorConfig(4, 2, 3, knobs=True),
        GeneratorConfig(4, 2, 2, knobs=False),
    ],
)
def test_sizes_that_do_not_correspond_are_refused(
    photos: torch.Tensor, config: GeneratorConfig
) -> None:
    with pytest.raises(ConfigError, match="cannot fit"):
        narrowed(trained(), config, photos)
