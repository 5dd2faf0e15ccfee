"""What a teacher draws for its student: finer strokes than its own, or where detail is alone."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from toonbox.learn.config import PretrainConfig

EDGE = 3 / 127.5  # gradients of more are edges: 3 of 255 levels per pixel, in [-1, 1]
AROUND = 33  # pixels: side of the square in which edges are counted
SPARSE, DENSE = 0.15, 0.4  # shares of edges: bold strokes up to the first, fine from the second


def taught(photo: Tensor, draw: Callable[[Tensor], Tensor], config: PretrainConfig) -> Tensor:
    """Draw (B, 3, H, W) in [-1, 1] as the student should.

    Args:
        draw: the teacher, for any multiple of (H, W).
        config: its supersampling, and whether that is for dense edges alone.
    """
    fine = supersampled(photo, draw, config.supersampling)
    if not config.bold_where_sparse:
        return fine
    return torch.lerp(draw(photo), fine, detail(photo))


def supersampled(photo: Tensor, draw: Callable[[Tensor], Tensor], factor: int) -> Tensor:
    """Enlarge (B, 3, H, W) by a factor, draw it, and reduce the drawing to (B, 3, H, W)."""
    if factor == 1:
        return draw(photo)
    scaled = partial(functional.interpolate, mode="bicubic", antialias=True)
    large = draw(scaled(photo, scale_factor=factor).clamp(-1, 1))
    return scaled(large, size=photo.shape[2:]).clamp(-1, 1)


def detail(photo: Tensor) -> Tensor:
    """Return how dense edges are around each pixel of (B, 3, H, W): (B, 1, H, W), from 0 to 1."""
    grey = functional.avg_pool2d(photo.mean(1, keepdim=True), 3, 1, 1, count_include_pad=False)
    down, across = torch.gradient(grey, dim=(2, 3))
    edges = (torch.hypot(down, across) > EDGE).to(photo.dtype)
    share = functional.avg_pool2d(edges, AROUND, 1, AROUND // 2, count_include_pad=False)
    dense = ((share - SPARSE) / (DENSE - SPARSE)).clamp(0, 1)
    return dense * dense * (3 - 2 * dense)
