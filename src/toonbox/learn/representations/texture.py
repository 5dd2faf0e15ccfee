"""The texture representation: one channel that suppresses colour and luminance."""

from typing import Literal

import torch
from torch import Tensor

from toonbox.errors import ShapeError
from toonbox.learn.representations.flow import LUMINANCE

TextureKind = Literal["grayscale", "random_colour_shift", "paper"]

SHIFT = 0.1
PAPER_ALPHA = 0.8


def draw_channel_weights(kind: TextureKind, generator: torch.Generator | None = None) -> Tensor:
    """Draw weights, (3,), that reduce R, G, B to one channel; both domains of a step share them.

    `grayscale` is luminance; `random_colour_shift` changes each of its weights by up to 0.1 and
    normalises; `paper` is (1 - a)(b1 R + b2 G + b3 B) + a Y with a = 0.8 and b ~ U(-1, 1).

    Source: Wang & Yu 2020, eq. 5 (`paper`) and the authors' code (`random_colour_shift`).
    """
    luminance = torch.from_numpy(LUMINANCE.copy())
    if kind == "grayscale":
        return luminance
    uniform = torch.rand(3, generator=generator) * 2 - 1
    if kind == "random_colour_shift":
        weights = luminance + SHIFT * uniform
        return weights / weights.sum()
    return (1 - PAPER_ALPHA) * uniform + PAPER_ALPHA * luminance


def texture(image: Tensor, weights: Tensor) -> Tensor:
    """Return the texture representation, (B, 1, H, W), of (B, 3, H, W) for channel weights (3,)."""
    if image.dim() != 4 or image.shape[1] != 3 or weights.shape != (3,):
        shapes = tuple(image.shape), tuple(weights.shape)
        raise ShapeError(f"expected an image (B, 3, H, W) and weights (3,), got {shapes}")
    weights = weights.to(device=image.device, dtype=image.dtype)
    return (image * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
