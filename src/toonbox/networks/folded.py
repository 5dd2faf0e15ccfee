"""A generator with its layers at full size folded into ones at half size: the same, sooner."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from toonbox.networks.generator import Generator, Knobs

# A row of a picture enlarged twice, from its pixel -1 to its pixel 2, of the small one's -1 to 1.
_BILINEAR = torch.tensor(
    [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]]
)


@torch.no_grad()
def folded(generator: Generator) -> Generator:
    """Give a generator that draws the same with fewer and wider layers, to be exported.

    At full size a generator has few channels, where processors waste most of their vectors. Folded,
    C channels of a picture are 4 C of one of half the height and width, in the order of
    `torch.pixel_shuffle`, from the stem to the head. What `UpSampling` enlarges and refines is one
    convolution of the small picture.

    Args:
        generator: trained; stays as it is.
    """
    net: Any = deepcopy(generator)
    for index, layer in enumerate(net.up):
        convolution, activation = layer.refine
        refine = nn.ReplicationPad2d(1), _enlarging(convolution), activation, nn.PixelShuffle(2)
        net.up[index] = nn.Sequential(layer.convolve, *refine)
    if net.config.space_to_depth:  # works at half size already
        return net  # type: ignore[no-any-return]
    net.stem[0] = _stem(net.stem[0])
    net.down[0] = nn.Sequential(*_first_down(net.down[0][0]), *net.down[0][1:])
    net.up[-1] = net.up[-1][:-1]  # the head takes it as it is
    net.head = nn.Sequential(_head(net.head), nn.PixelShuffle(2))
    if net.config.knobs:
        _widen(net.knobs)
    folded_generator: Generator = net
    return folded_generator


def _stem(layer: Any) -> nn.Conv2d:
    kernel = layer.kernel_size[0]
    return _convolution(
        _for_four(layer.weight, 0, kernel + 1), _four_times(layer.bias), 2, kernel // 2
    )


def _first_down(layer: Any) -> tuple[nn.Module, ...]:
    """Its windows of three pixels begin with the second of a pair, and end with the next pair."""
    kernel = functional.pixel_unshuffle(functional.pad(layer.weight, (1, 0, 1, 0)), 2)
    return nn.ZeroPad2d((1, 0, 1, 0)), _convolution(kernel, layer.bias)


def _enlarging(layer: Any) -> nn.Conv2d:
    kernel = _for_four(layer.weight, 0, 4)
    kernel = torch.einsum("oihw,hy,wx->oiyx", kernel, _BILINEAR, _BILINEAR)
    return _convolution(kernel, _four_times(layer.bias))


def _head(layer: Any) -> nn.Conv2d:
    # A window of even size that begins with a block of 2 x 2 pixels.
    half = layer.kernel_size[0] // 2
    before = half % 2
    blocks = (half + before) // 2
    kernel = functional.pixel_unshuffle(_for_four(layer.weight, before, 4 * blocks + 2), 2)
    return _convolution(kernel, _four_times(layer.bias), padding=blocks)


def _widen(knobs: Knobs) -> None:
    """Let the last features that knobs scale and shift have four times their channels."""
    *widths, last = knobs.widths
    count = sum(knobs.widths)
    scales = torch.cat([torch.arange(count - last), _four_times(torch.arange(count - last, count))])
    rows = torch.cat([scales, count + scales])
    old: Any = knobs.embed[-1]
    new = nn.Linear(old.in_features, len(rows))
    new.weight.copy_(old.weight[rows])
    new.bias.copy_(old.bias[rows])
    knobs.embed[-1], knobs.widths = new, (*widths, 4 * last)


def _for_four(kernel: Tensor, before: int, size: int) -> Tensor:
    """Put a kernel, (O, I, k, k), into larger windows, one for each of 2 x 2 pixels.

    Args:
        before: rows and columns of zeros before the first pixel's.
        size: of the windows.
    Returns:
        (4 O, I, size, size).
    """
    after = size - kernel.shape[-1] - before
    moved = [
        functional.pad(kernel, (before + x, after - x, before + y, after - y))
        for y in (0, 1)
        for x in (0, 1)
    ]
    return torch.stack(moved, dim=1).flatten(0, 1)


def _four_times(channels: Tensor) -> Tensor:
    return channels.repeat_interleave(4)


def _convolution(kernel: Tensor, bias: Tensor, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    outputs, inputs, size, _ = kernel.shape
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding)
    convolution.weight, convolution.bias = nn.Parameter(kernel), nn.Parameter(bias)
    return convolution
