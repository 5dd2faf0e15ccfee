"""The generator and its file."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from toonbox.errors import ConfigError, WeightsError
from toonbox.learn.generator import (
    Generator,
    GeneratorConfig,
    clip_through,
    load_generator,
    pad_to_multiple,
    save_generator,
)


def small(**values: object) -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig(**{"base_channels": 4, "residual_blocks": 1, **values}))


def disturbed(generator: Generator) -> Generator:
    """Make a new network do something."""
    torch.nn.init.normal_(generator.head.weight, std=0.05)
    return generator


def test_the_default_is_the_specified_network() -> None:
    config = GeneratorConfig()
    assert (config.base_channels, config.stages, config.residual_blocks) == (32, 3, 4)
    widths = [
        tuple(w.shape) for n, w in Generator(config).named_parameters() if n.endswith("weight")
    ]
    assert widths[0] == (32, 3, 7, 7)
    assert widths[1:7] == [
        (64, 32, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3),
        (128, 128, 3, 3), (256, 128, 3, 3), (256, 256, 3, 3),
    ]  # fmt: skip
    assert widths[7:15] == [(256, 256, 3, 3)] * 8
    assert widths[15:21] == [
        (256, 256, 3, 3), (128, 256, 3, 3), (128, 128, 3, 3),
        (64, 128, 3, 3), (64, 64, 3, 3), (32, 64, 3, 3),
    ]  # fmt: skip
    assert widths[21] == (3, 32, 7, 7)


def test_deep_levels_have_at_most_so_many_channels() -> None:
    network = Generator(GeneratorConfig(8, most_channels=16))
    assert network.config.widths == [8, 16, 16, 16]
    assert max(w.shape[0] for w in network.parameters() if w.dim() == 4) == 16
    with pytest.raises(ConfigError, match="most_channels"):
        GeneratorConfig(8, most_channels=4)


@pytest.mark.parametrize(("base", "expected"), [(32, 207_000), (16, 52_000)])
def test_the_cost_per_pixel_is_the_specified_one(base: int, expected: int) -> None:
    network = Generator(GeneratorConfig(base_channels=base))
    work = 0

    def count(module: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal work
        work += module.weight[0].numel() * output.numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    assert work / 64**2 == pytest.approx(expected, rel=0.05)


def test_new_knobs_change_nothing_and_trained_ones_do() -> None:
    photo = torch.rand(2, 3, 16, 24) * 2 - 1
    network = disturbed(small(knobs=True))
    at_default = network(photo)
    turned = torch.tensor([[0.0, 1.0, 2.0]])
    torch.testing.assert_close(network(photo, turned), at_default)
    torch.nn.init.normal_(network.knobs.embed[-1].weight, std=0.5)
    at_default = network(photo)
    assert (network(photo, turned) - at_default).abs().max() > 0.01
    # None is 1, and each picture can have its own.
    torch.testing.assert_close(network(photo, torch.ones(1, 3)), at_default)
    both = network(photo, torch.cat([turned, torch.ones(1, 3)]))
    torch.testing.assert_close(both[:1], network(photo[:1], turned))
    torch.testing.assert_close(both[1:], at_default[1:])


def test_knobs_for_a_generator_without_are_refused() -> None:
    with pytest.raises(ConfigError, match="no knobs"):
        small()(torch.zeros(1, 3, 8, 8), torch.ones(1, 3))


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (1, 1), (2, 9)])
def test_any_size_comes_back_as_it_is(size: tuple[int, int]) -> None:
    photo = torch.rand(2, 3, *size) * 2 - 1
    # A new residual network gives back the photo.
    torch.testing.assert_close(small()(photo), photo, atol=1e-6, rtol=0)
    assert disturbed(small())(photo).shape == photo.shape


def test_the_output_is_bounded_with_or_without_residual() -> None:
    for residual in (True, False):
        network = small(residual=residual)
        torch.nn.init.normal_(network.head.weight, std=10)
        with torch.no_grad():
            output = network(torch.rand(1, 3, 24, 24) * 2 - 1)
        assert output.abs().max() == 1


def test_every_parameter_learns() -> None:
    network = disturbed(small(stages=2))
    network(torch.rand(1, 3, 16, 16) * 2 - 1).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("sign", "learnt"), [(1, [0, 1, 1, 1, 1]), (-1, [-1, -1, -1, -1, 0])])
def test_clipped_values_learn_but_do_not_run_away(sign: int, learnt: list[int]) -> None:
    x = torch.tensor([-3.0, -1.2, 0.5, 1.2, 2.0], requires_grad=True)
    y = clip_through(x)
    assert y.tolist() == [-1, -1, 0.5, 1, 1]
    (sign * y).sum().backward()  # descent lowers y, or raises it
    assert x.grad.tolist() == learnt


def test_padding_reflects_again_and_again() -> None:
    row = torch.tensor([0.0, 1, 2]).view(1, 1, 1, 3)
    padded = pad_to_multiple(row, 8)
    assert padded.shape == (1, 1, 8, 8)
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert pad_to_multiple(padded, 8) is padded


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        GeneratorConfig(stages=0)


@pytest.mark.parametrize(("stages", "blocks"), [(3, 4), (2, 1), (1, 0), (2, 3)])
def test_reach_is_how_far_gradients_go(stages: int, blocks: int) -> None:
    config = GeneratorConfig(base_channels=2, stages=stages, residual_blocks=blocks)
    network = Generator(config).double()
    for weights in network.parameters():
        torch.nn.init.constant_(weights, 0.01)  # nothing cancels
    side = 2 * (config.reach // config.size_multiple + 3) * config.size_multiple
    photo = torch.zeros(1, 3, side, side, dtype=torch.double, requires_grad=True)
    output, farthest = network.network(photo), 0
    for place in range(side // 2, side // 2 + config.size_multiple):
        (gradient,) = torch.autograd.grad(output[0, 0, place, place], photo, retain_graph=True)
        reached = gradient.abs().sum((0, 1)).nonzero()
        farthest = max(farthest, place - int(reached.min()), int(reached.max()) - place)
    assert farthest == config.reach


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
    with pytest.raises(WeightsError, match="no generator configuration"):
        load_generator(bare)
    for config in ({"base_channels": 4}, {"chanels": 4}, {"base_channels": 0}):
        save_file({"x": torch.zeros(1)}, bare, {"generator": json.dumps(config)})
        with pytest.raises(WeightsError, match=r"bare\.safetensors"):
            load_generator(bare)
