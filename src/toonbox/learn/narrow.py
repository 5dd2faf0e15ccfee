"""Initialise a smaller generator from a larger, trained one, layer by layer.

An untrained network learns lines slowly; a fitted one draws them from the start, a little softer.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from toonbox.errors import ConfigError
from toonbox.learn.generator import SLOPE, Generator, GeneratorConfig, ResidualBlock, modulate

RIDGE = 1e-3  # of the mean square of a layer's inputs
PIXELS = 2400  # of each photo used to fit a layer, at most


@torch.no_grad()
def narrowed(large: Generator, config: GeneratorConfig, photos: Tensor) -> Generator:
    """Fit a smaller generator to a trained one, layer by layer, by least squares.

    Each layer is fitted to the large network's pre-activations, reduced to the channels that vary
    most, given the new network's own earlier layers. Each residual block also compensates for the
    omitted ones before it. Photos are (N, 3, H, W) in [-1, 1], H and W multiples of both
    `size_multiple`s. Raises ConfigError if the new network is wider, deeper or of another kind.

    Source: He et al. 2017 (channel pruning; its reconstruction step).
    """
    net: Any = large
    old = large.config
    if (
        (old.stages, old.residual, old.knobs) != (config.stages, config.residual, config.knobs)
        or any(new > width for new, width in zip(config.widths, old.widths, strict=True))
        or not 0 < config.residual_blocks <= old.residual_blocks
    ):
        raise ConfigError(f"cannot fit {config} to {old}")
    small: Any = Generator(config).eval()
    wanted = _outputs(large, photos)
    levels = [wanted[net.stem[0]], *(wanted[layer[2]] for layer in net.down)]
    widths = config.widths
    streams = [_most_varied(*each) for each in zip(levels, widths, strict=True)]
    share = old.residual_blocks / config.residual_blocks
    kept = [round((i + 1) * share) - 1 for i in range(config.residual_blocks)]
    if config.knobs:
        _copy_knobs(large, small, kept, streams)
    films = iter(small.films(photos))

    x = _fitted(small.stem[0], photos, levels[0][:, streams[0]])
    skips = []
    for level, layer in enumerate(small.down):
        skips.append(x)
        inner = wanted[net.down[level][0]]
        x = _fitted(layer[0], x, inner[:, _most_varied(inner, widths[level + 1])])
        x = _fitted(layer[2], x, levels[level + 1][:, streams[level + 1]])
    for block, index in zip(small.blocks, kept, strict=True):
        inner = wanted[net.blocks[index].body[0]]
        y = _fitted(block.body[0], x, inner[:, _most_varied(inner, widths[-1])])
        film = next(films)
        missing = wanted[net.blocks[index]][:, streams[-1]] - x
        _fit(block.body[2], y, missing if film is None else (missing - film[1]) / film[0])
        x = x + modulate(block.body[2](y), film)
    for step, (layer, skip) in enumerate(zip(small.up, reversed(skips), strict=True)):
        level = config.stages - step
        inner, refined = wanted[net.up[step].convolve[0]], wanted[net.up[step].refine[0]]
        x = _fitted(layer.convolve[0], x, inner[:, _most_varied(inner, widths[level])])
        x = functional.interpolate(x, scale_factor=2, mode="bilinear")
        x = _fitted(layer.refine[0], x, refined[:, streams[level - 1]])
        x = x + modulate(skip, next(films))
    _fit(small.head, x, wanted[net.head])
    result: Generator = small
    return result


def _outputs(net: Generator, photos: Tensor) -> dict[nn.Module, Tensor]:
    """Run a generator at knobs of 1; return the output of each convolution and residual block."""
    outputs: dict[nn.Module, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda module, _, output: outputs.update({module: output}))
        for module in net.modules()
        if isinstance(module, nn.Conv2d | ResidualBlock)
    ]
    net.network(photos)
    for hook in hooks:
        hook.remove()
    return outputs


def _most_varied(features: Tensor, count: int) -> Tensor:
    """Return the sorted indices of the `count` channels of (B, C, H, W) that vary most."""
    spread = functional.leaky_relu(features, SLOPE).transpose(0, 1).flatten(1).std(dim=1)
    return spread.topk(min(count, len(spread))).indices.sort().values


def _fitted(layer: nn.Conv2d, inputs: Tensor, wanted: Tensor) -> Tensor:
    """Fit a convolution and return its activated output."""
    _fit(layer, inputs, wanted)
    return functional.leaky_relu(layer(inputs), SLOPE)


def _fit(layer: nn.Conv2d, inputs: Tensor, wanted: Tensor) -> None:
    """Fit weight and bias to outputs `wanted`, (B, C, H, W), by ridge regression."""
    size, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    mode = "replicate" if layer.padding_mode == "replicate" else "constant"
    random = torch.Generator().manual_seed(0)
    gram = products = torch.zeros(())
    for one, target in zip(functional.pad(inputs, (padding,) * 4, mode), wanted, strict=True):
        windows = functional.unfold(one[None], size, stride=stride)[0].T
        chosen = torch.randperm(len(windows), generator=random)[:PIXELS]
        rows = functional.pad(windows[chosen], (0, 1), value=1.0).double()
        gram = gram + rows.T @ rows
        products = products + rows.T @ target.flatten(1).T[chosen].double()
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    solution = torch.linalg.solve(gram + ridge, products).float()
    layer.weight.copy_(solution[:-1].T.reshape(layer.weight.shape))
    assert layer.bias is not None
    layer.bias.copy_(solution[-1])


def _copy_knobs(large: Any, small: Any, kept: Sequence[int], streams: Sequence[Tensor]) -> None:
    """Copy the knobs' layers, restricted to the channels that are kept."""
    old, new = large.knobs, small.knobs
    starts = torch.tensor([0, *old.widths]).cumsum(0).tolist()
    blocks = [starts[index] + streams[-1] for index in kept]
    skips_from = starts[len(large.blocks) :]
    skips = [a + b for a, b in zip(skips_from, reversed(streams[:-1]), strict=False)]
    rows = torch.cat([*blocks, *skips])
    rows = torch.cat([rows, sum(old.widths) + rows])
    for mine, theirs in zip(new.embed[:-1], old.embed[:-1], strict=True):
        mine.load_state_dict(theirs.state_dict())
    new.embed[-1].weight.copy_(old.embed[-1].weight[rows])
    new.embed[-1].bias.copy_(old.embed[-1].bias[rows])
