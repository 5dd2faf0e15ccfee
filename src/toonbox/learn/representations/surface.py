"""The surface representation: smooth colour with edges and without texture."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from toonbox.errors import ShapeError

GAIN = LIFT = 0.25


def _box_sum(image: Tensor, radius: int, dim: int) -> Tensor:
    """Sum over windows of 2 * radius + 1 along one dimension; the cost is independent of radius."""
    size = image.shape[dim]
    padding = (radius + 1, radius) if dim == -1 else (0, 0, radius + 1, radius)
    running = functional.pad(image, padding).cumsum(dim)
    return running.narrow(dim, 2 * radius + 1, size) - running.narrow(dim, 0, size)


def box_mean(image: Tensor, radius: int) -> Tensor:
    """Return the mean of (B, C, H, W) over windows of side 2 * radius + 1, cut at the borders."""
    count = _box_sum(_box_sum(torch.ones_like(image[:1, :1]), radius, -1), radius, -2)
    return _box_sum(_box_sum(image, radius, -1), radius, -2) / count


def guided_filter(guide: Tensor, image: Tensor, radius: int, eps: float) -> Tensor:
    """Smooth `image` but preserve the edges of `guide`, channel by channel; both (B, C, H, W).

    The window's side is 2 * radius + 1 pixels; `eps`, in squared image units, smooths. The output
    is not clamped, and at least float32, also under autocast. Raises ShapeError if shapes differ.

    Source: He et al. 2013, eq. 5-8; one guide channel per image channel as in Wang & Yu's code.
    """
    if guide.shape != image.shape or guide.dim() != 4:
        shapes = tuple(guide.shape), tuple(image.shape)
        raise ShapeError(f"guide and image must be (B, C, H, W) of one shape, got {shapes}")
    # Variances are differences of similar numbers, which are noise in half precision.
    precise = torch.promote_types(torch.float32, guide.dtype)
    itself = guide is image
    guide = guide.to(precise).contiguous()
    image = guide if itself else image.to(precise).contiguous()
    mean_guide = box_mean(guide, radius)
    mean_image = mean_guide if itself else box_mean(image, radius)
    variance = box_mean(guide * guide, radius) - mean_guide * mean_guide
    shared = variance if itself else box_mean(guide * image, radius) - mean_guide * mean_image
    slope = shared / (variance + eps)
    offset = mean_image - slope * mean_guide
    return box_mean(slope, radius) * guide + box_mean(offset, radius)


def surface(image: Tensor) -> Tensor:
    """Return (B, C, H, W) filtered by itself, not clamped, as in Wang & Yu's training code."""
    return guided_filter(image, image, radius=5, eps=0.2)


def random_palette(
    count: int, random: torch.Generator, share: tuple[int, int] = (0, 1)
) -> Callable[[Tensor], Tensor]:
    """Draw a channel permutation, a gain and a lift for each of `count` pictures of a process.

    `share` is the rank of this process and the number of processes, which draw jointly. Return a
    function that recolours (B, 3, H, W) without clipping.
    """
    rank, processes = share
    joint, mine = count * processes, slice(rank, None, processes)
    order = torch.stack([torch.randperm(3, generator=random) for _ in range(joint)])[mine]
    gain, lift = (2 * torch.rand(joint, 1, 1, 1, generator=random)[mine] - 1 for _ in range(2))

    def recolour(image: Tensor) -> Tensor:
        index = order.to(image.device)[:, :, None, None].expand_as(image)
        return image.gather(1, index) * (1 + GAIN * gain.to(image)) + LIFT * lift.to(image)

    return recolour
