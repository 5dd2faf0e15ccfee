"""Seeded, augmented crops: every batch is a function of the seed and the step, and of nothing else.

So the order of the data does not depend on the number of workers, and a run that was stopped goes
on with exactly the crops it would have seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from toonbox.data.inspect import is_blank
from toonbox.pixels import Uint8Array

TRIES = 8
FACES_EVERY = 5
PHOTO, CARTOON = 0, 1


@dataclass(frozen=True)
class CropConfig:
    """How crops are taken; lengths in pixels.

    A picture's short side is first brought to a length drawn from `photo_side` or `cartoon_side`
    (never enlarged beyond its own, but at least to `size`); this decides how large strokes are.
    """

    size: int = 192
    batch_size: int = 4
    photo_side: tuple[int, int] = (320, 512)
    cartoon_side: tuple[int, int] = (256, 448)


@dataclass(frozen=True)
class Domain:
    """Files of one kind, faces apart, since every fifth batch is of faces where there are any."""

    files: Sequence[Path]
    faces: Sequence[Path] = ()


class CropBatches(Dataset[dict[str, Tensor]]):
    """Batches by step: `photo`, `cartoon` and, with `target`, what it makes of the photos.

    Args:
        photos: where photos come from.
        cartoons: where cartoons come from; None leaves them out.
        config: sizes; `batch_size` counts the joint batch of all processes.
        seed: of all draws.
        share: (rank, processes): this process gets every `processes`-th crop of the joint batch.
        target: (H, W, 3) uint8 and the step to the same shape, run on each photo crop in the
            loader's worker.
    """

    def __init__(
        self,
        photos: Domain,
        cartoons: Domain | None,
        config: CropConfig,
        seed: int,
        share: tuple[int, int] = (0, 1),
        target: Callable[[Uint8Array, int], Uint8Array] | None = None,
    ) -> None:
        self.photos, self.cartoons = photos, cartoons
        self.config, self.seed, self.share, self.target = config, seed, share, target

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Give the batch of a step: uint8 (B, 3, size, size) by name."""
        photos = self._crops(self.photos, PHOTO, self.config.photo_side, step)
        batch = {"photo": photos}
        if self.cartoons is not None:
            batch["cartoon"] = self._crops(self.cartoons, CARTOON, self.config.cartoon_side, step)
        if self.target is not None:
            batch["target"] = [self.target(photo, step) for photo in photos]
        return {name: _stack(crops) for name, crops in batch.items()}

    def _crops(
        self, domain: Domain, kind: int, sides: tuple[int, int], step: int
    ) -> list[Uint8Array]:
        faces = bool(domain.faces) and step % FACES_EVERY == FACES_EVERY - 1
        files = domain.faces if faces else domain.files
        rank, processes = self.share
        size = self.config.batch_size
        return [
            draw_crop(
                pick(files, self.seed, kind, position),
                self.config.size,
                sides,
                np.random.default_rng((self.seed, kind, 1, position)),
            )
            for position in range(step * size + rank, (step + 1) * size, processes)
        ]


def pick(files: Sequence[Path], seed: int, kind: int, position: int) -> Path:
    """Give the file at a position of an endless sequence that shuffles the files in every epoch."""
    epoch, place = divmod(position, len(files))
    order = np.random.default_rng((seed, kind, 0, epoch)).permutation(len(files))
    return files[int(order[place])]


def draw_crop(
    file: Path, size: int, sides: tuple[int, int], random: np.random.Generator
) -> Uint8Array:
    """Take a random crop, mirrored half of the time; nearly blank ones are drawn again.

    Args:
        file: a picture.
        size: of the crop, pixels.
        sides: range of the picture's short side before cropping, pixels.
        random: source of the random numbers.
    Returns:
        (size, size, 3).
    """
    with Image.open(file) as opened:
        opened.draft("RGB", (sides[1], sides[1]))
        image = ImageOps.exif_transpose(opened).convert("RGB")
    short = min(image.size)
    for _ in range(TRIES):
        side = max(size, min(short, int(random.integers(sides[0], sides[1] + 1))))
        window = size * short / side
        left = random.uniform(0, image.width - window)
        top = random.uniform(0, image.height - window)
        box = (left, top, left + window, top + window)
        crop = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box))
        if not is_blank(crop):
            break
    mirrored = crop[:, ::-1] if random.random() < 0.5 else crop
    return np.ascontiguousarray(mirrored)


def _stack(crops: list[Uint8Array]) -> Tensor:
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
