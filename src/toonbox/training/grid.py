"""The sample grid: what the generator makes of the same validation photos, step after step."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from toonbox.files import replacing
from toonbox.pixels import Uint8Array, to_signed, to_uint8
from toonbox.representations.structure import structure
from toonbox.representations.surface import surface
from toonbox.representations.texture import draw_channel_weights, texture

GAP = 4


def load_samples(files: Sequence[Path], side: int) -> Tensor:
    """Read the middle of each picture: (N, 3, side, side) in [-1, 1]."""
    squares = []
    for file in files:
        with Image.open(file) as opened:
            squares.append(np.asarray(ImageOps.fit(opened.convert("RGB"), (side, side))))
    return torch.from_numpy(to_signed(np.stack(squares))).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def sample_grid(generator: nn.Module, photos: Tensor) -> Uint8Array:
    """Draw one row a photo: input, output, and the output's surface, structure and texture.

    Args:
        generator: (1, 3, H, W) to the same.
        photos: (N, 3, H, W) in [-1, 1].
    Returns:
        (N * (H + GAP), 5 * (W + GAP), 3), white between the pictures.
    """
    rows = []
    weights = draw_channel_weights("grayscale")
    for photo in photos:
        output = generator(photo[None]).float().cpu()
        grey = texture(output, weights).expand(-1, 3, -1, -1)
        cells = [_picture(t) for t in (photo[None].cpu(), output, surface(output), grey)]
        cells.insert(3, structure(cells[1]))
        rows.append(np.hstack([_framed(cell) for cell in cells]))
    return np.vstack(rows)


def _picture(image: Tensor) -> Uint8Array:
    return to_uint8(image[0].permute(1, 2, 0).numpy())


def _framed(cell: Uint8Array) -> Uint8Array:
    return np.pad(cell, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def save_grid(grid: Uint8Array, file: Path) -> None:
    """Write a grid as PNG."""
    with replacing(file) as temporary:
        Image.fromarray(grid).save(temporary)
