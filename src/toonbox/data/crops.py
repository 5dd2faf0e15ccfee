"""Seeded, augmented crops: every batch is a function of the seed and the step, and of nothing else.

So the order of the data does not depend on the number of workers, and a run that was stopped goes
on with exactly the crops it would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from toonbox.data.drawings import Drawings
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
    """Batches by step: `photo`, `cartoon` and, with `drawings`, the photos' drawn `target`.

    Args:
        photos: where photos come from.
        cartoons: where cartoons come from; None leaves them out.
        config: sizes; `batch_size` counts the joint batch of all processes.
        seed: of all draws.
        share: (rank, processes): this process gets every `processes`-th crop of the joint batch.
        drawings: of the photos, where batches hold a `target`; the photos are then cut from these.
    """

    def __init__(
        self,
        photos: Domain,
        cartoons: Domain | None,
        config: CropConfig,
        seed: int,
        share: tuple[int, int] = (0, 1),
        drawings: Drawings | None = None,
    ) -> None:
        self.photos, self.cartoons = photos, cartoons
        self.config, self.seed, self.share, self.drawings = config, seed, share, drawings

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Give the batch of a step: uint8 (B, 3, size, size) by name."""
        batch = {}
        if self.drawings is None:
            batch["photo"] = self._crops(self.photos, PHOTO, self.config.photo_side, step)
        else:
            pairs = [self._drawn(step, position) for position in self._positions(step)]
            batch["photo"], batch["target"] = map(list, zip(*pairs, strict=True))
        if self.cartoons is not None:
            batch["cartoon"] = self._crops(self.cartoons, CARTOON, self.config.cartoon_side, step)
        return {name: _stack(crops) for name, crops in batch.items()}

    def _crops(
        self, domain: Domain, kind: int, sides: tuple[int, int], step: int
    ) -> list[Uint8Array]:
        faces = bool(domain.faces) and step % FACES_EVERY == FACES_EVERY - 1
        files = domain.faces if faces else domain.files
        return [
            draw_crop(
                pick(files, self.seed, kind, position),
                self.config.size,
                sides,
                np.random.default_rng((self.seed, kind, 1, position)),
            )
            for position in self._positions(step)
        ]

    def _drawn(self, step: int, position: int) -> tuple[Uint8Array, Uint8Array]:
        assert self.drawings is not None
        random = np.random.default_rng((self.seed, PHOTO, 1, position))
        index = shuffled(len(self.drawings.files), self.seed, PHOTO, position)
        return self.drawings.crop(index, self.config.size, random, step)

    def _positions(self, step: int) -> range:
        """Return this process's share of the joint batch, as positions in the endless sequence."""
        rank, processes = self.share
        size = self.config.batch_size
        return range(step * size + rank, (step + 1) * size, processes)


def pick(files: Sequence[Path], seed: int, kind: int, position: int) -> Path:
    """Return the file at a position of an endless sequence that shuffles them in every epoch."""
    return files[shuffled(len(files), seed, kind, position)]


def shuffled(count: int, seed: int, kind: int, position: int) -> int:
    """Return the index at a position of an endless sequence of shuffled epochs."""
    epoch, place = divmod(position, count)
    return int(np.random.default_rng((seed, kind, 0, epoch)).permutation(count)[place])


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
