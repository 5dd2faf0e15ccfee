"""The pictures of a run: what the folders hold, what of it is used, what is kept for validation."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from toonbox.atomic import replacing
from toonbox.errors import DataError
from toonbox.learn.drawings import Drawings
from toonbox.learn.inspect import FolderReport, inspect_folder, is_blank
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


VALIDATION_PHOTOS = 8


@dataclass(frozen=True)
class TrainingData:
    """Files of both domains, and the photos that no step sees."""

    photos: Domain
    cartoons: Domain
    validation: list[Path]

    def save(self, file: Path) -> None:
        """Write the lists as JSON."""
        lists = {
            "photos": self.photos.files,
            "cartoons": self.cartoons.files,
            "face_photos": self.photos.faces,
            "face_cartoons": self.cartoons.faces,
            "validation": self.validation,
        }
        names = {name: [str(f) for f in files] for name, files in lists.items()}
        text = json.dumps(names, indent=1)
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "TrainingData":
        """Read the lists of a run that goes on, so that it sees the same pictures in one order.

        Raises:
            DataError: a file of the lists is gone.
        """
        lists = {
            name: [Path(f) for f in files]
            for name, files in json.loads(file.read_text(encoding="utf-8")).items()
        }
        gone = [path for files in lists.values() for path in files if not path.exists()]
        if gone:
            raise DataError(f"{gone[0]}: gone since the run began, with {len(gone) - 1} others")
        return cls(
            Domain(lists["photos"], lists["face_photos"]),
            Domain(lists["cartoons"], lists["face_cartoons"]),
            lists["validation"],
        )


def inspect_training_data(
    photos: Path, cartoons: list[Path], faces: tuple[Path, Path] | None, minimum_side: int
) -> tuple[TrainingData, list[FolderReport]]:
    """Look at every picture and choose.

    Args:
        photos: folder of photos; those in black and white are left out.
        cartoons: folders of cartoons.
        faces: folders of face photos and face cartoons, or None.
        minimum_side: pixels; smaller pictures are left out.
    Returns:
        The pictures to use, and a report for each folder.
    Raises:
        DataError: a folder is missing or holds too little.
    """
    reports = [
        inspect_folder(folder, minimum_side=minimum_side)
        for folder in (photos, *cartoons, *(faces or ()))
    ]
    coloured = [f for f in reports[0].usable if f not in set(reports[0].black_and_white)]
    if len(coloured) < 2:
        raise DataError(f"{photos}: training needs at least two usable colour photos")
    # A fixed share by name: adding pictures later does not shuffle the split.
    ordered = sorted(coloured, key=lambda f: hashlib.sha256(f.name.encode()).hexdigest())
    held_out = min(VALIDATION_PHOTOS, len(coloured) // 2)
    validation = ordered[:held_out]
    drawn = [file for report in reports[1 : 1 + len(cartoons)] for file in report.usable]
    face_lists = [report.usable for report in reports[1 + len(cartoons) :]] or [[], []]
    data = TrainingData(
        Domain(sorted(ordered[held_out:]), face_lists[0]),
        Domain(drawn, face_lists[1]),
        validation,
    )
    return data, reports
