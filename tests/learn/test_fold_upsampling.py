"""A folded generator draws the same."""

import pytest
import torch

from toonbox.learn.export import fold_upsampling
from toonbox.learn.generator import Generator, GeneratorConfig


def trained(**values: object) -> Generator:
    """Give a network whose every weight does something."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(**{"base_channels": 4, "residual_blocks": 1, **values}))
    for name, parameter in generator.named_parameters():
        if name.endswith("bias") or name.startswith(("head", "knobs")):
            torch.nn.init.normal_(parameter, std=0.1)
    return generator.eval()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"knobs": True},
        {"stages": 1},
        {"stages": 2, "residual": False},
        {"kernel": 5},
        {"kernel": 3, "knobs": True},
        {"knobs": True, "most_channels": 6},
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (8, 8), (61, 35)])
@torch.no_grad()
def test_it_draws_the_same(config: dict[str, object], size: tuple[int, int]) -> None:
    generator = trained(**config)
    before = {name: weight.clone() for name, weight in generator.state_dict().items()}
    photo = torch.rand(2, 3, *size) * 2 - 1
    knobs = torch.tensor([[0.0, 1.5, 2.0]]) if "knobs" in config else None
    expected = generator(photo, knobs)
    assert expected.std() > 0.3
    torch.testing.assert_close(
        fold_upsampling(generator)(photo, knobs), expected, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(dict(generator.state_dict()), before, rtol=0, atol=0)


@torch.no_grad()
def test_nothing_is_left_at_full_size() -> None:
    """But the stem's input and the head's output: there lies the time."""
    sizes = []
    network = fold_upsampling(trained(knobs=True))
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    network(torch.zeros(1, 3, 64, 64))
    assert max(sizes) == 32
