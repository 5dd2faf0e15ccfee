"""The pictures of a run, and the batches cut from them: functions of seed and step alone."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from toonbox.atomic import replacing
from toonbox.errors import DataError
from toonbox.learn.inspect import (
    FolderReport,
    inspect_folder,
    is_blank,
    read_picture,
    read_scaled,
)
from toonbox.learn.representations.drawing import CHANNELS, MARGIN, Layers, Look
from toonbox.learn.weights import cache_folder
from toonbox.learn.workers import worker_pool
from toonbox.pixels import Uint8Array

VALIDATION_PHOTOS = 8
FACES_EVERY = 5
LAYERS_VERSION = 1  # raise it when `Layers` change
TRIES = 8  # to draw a crop that is not blank
PHOTO, CARTOON, NOISE = 0, 1, 4  # streams of random numbers; 3 draws the knobs
SPOT = 4  # pixels of noise: about half a block of what videos are compressed with


@dataclass(frozen=True)
class Domain:
    """Files of one kind, faces apart, since every fifth batch is of faces where there are any."""

    files: Sequence[Path]
    faces: Sequence[Path] = ()


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
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(lists, indent=1, default=str), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "TrainingData":
        """Read the lists of a run that resumes, so that it sees the same pictures in one order.

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
    photos: Path,
    cartoons: Sequence[Path],
    minimum_side: int,
    face_photos: Path | None = None,
    face_cartoons: Path | None = None,
) -> tuple[TrainingData, list[FolderReport]]:
    """Inspect every picture and choose.

    Args:
        photos: folder of photos; those in black and white are left out.
        cartoons: folders of cartoons.
        minimum_side: pixels; smaller pictures are left out.
        face_photos, face_cartoons: folders of faces, or None.
    Returns:
        The pictures to use, and a report for each folder.
    Raises:
        DataError: a folder is missing or holds too little.
    """
    reports = {
        folder: inspect_folder(folder, minimum_side=minimum_side)
        for folder in (photos, *cartoons, face_photos, face_cartoons)
        if folder is not None
    }
    grey = set(reports[photos].black_and_white)
    coloured = [file for file in reports[photos].usable if file not in grey]
    if len(coloured) < 2:
        raise DataError(f"{photos}: training needs at least two usable colour photos")
    # A fixed share by name: adding pictures later does not shuffle the split.
    ordered = sorted(coloured, key=lambda f: hashlib.sha256(f.name.encode()).hexdigest())
    held_out = min(VALIDATION_PHOTOS, len(coloured) // 2)

    def faces(folder: Path | None) -> list[Path]:
        return [] if folder is None else reports[folder].usable

    data = TrainingData(
        Domain(sorted(ordered[held_out:]), faces(face_photos)),
        Domain([file for f in cartoons for file in reports[f].usable], faces(face_cartoons)),
        ordered[:held_out],
    )
    return data, list(reports.values())


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
class Drawings:
    """The layers of photos, memory-mapped files, and how they are drawn.

    Attributes:
        layers: files of `prepare_layers`.
        look: of the drawing.
        knobs: surface, structure and texture by step; picklable, for the workers.
    """

    layers: Domain
    look: Look
    knobs: Callable[[int], tuple[float, float, float]]

    def crop(
        self, file: Path, size: int, random: np.random.Generator, step: int
    ) -> tuple[Uint8Array, Uint8Array]:
        """Cut a random crop from layers, drawn with the step's knobs, half of the time mirrored.

        Returns:
            Photo and drawing, (size, size, 3) each.
        """
        packed = np.load(file, mmap_mode="r")
        height, width = packed.shape[:2]
        top = int(random.integers(0, max(height - size, 0) + 1))
        left = int(random.integers(0, max(width - size, 0) + 1))
        above, before = min(top, MARGIN), min(left, MARGIN)
        part = packed[top - above : top + size + MARGIN, left - before : left + size + MARGIN]
        part = np.ascontiguousarray(part)
        both = np.dstack([part[..., :3], Layers(part).draw(self.look, *self.knobs(step))])
        crop = _mirrored(both[above : above + size, before : before + size], random)
        return crop[..., :3], crop[..., 3:]


def draw_crop(
    file: Path, size: int, sides: tuple[int, int], random: np.random.Generator
) -> Uint8Array:
    """Cut a random crop, (size, size, 3), half of the time mirrored; blank ones are drawn again.

    Args:
        file: a picture.
        size: of the crop, pixels.
        sides: range of the picture's short side before cropping, pixels.
        random: source of the random numbers.
    Raises:
        DataError: the picture cannot be read.
    """
    image = read_picture(file, sides[1])
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
    return _mirrored(crop, random)


def _mirrored(crop: Uint8Array, random: np.random.Generator) -> Uint8Array:
    return crop[:, ::-1] if random.random() < 0.5 else crop


class CropBatches(Dataset[dict[str, Tensor]]):
    """Batches by step: `photo`, `cartoon` and, with `drawings`, the photos' drawn `target`.

    Args:
        photos: where photos come from.
        cartoons: where cartoons come from; None leaves them out.
        config: sizes; `batch_size` counts the joint batch of all processes.
        seed: of all draws.
        share: (rank, processes): this process gets every `processes`-th crop of the joint batch.
        drawings: of the photos, where batches hold a `target`; the photos are then cut from these.
        drawn_cartoons: of the cartoons, where these are shown as drawings.
    """

    def __init__(
        self,
        photos: Domain,
        cartoons: Domain | None,
        config: CropConfig,
        seed: int,
        share: tuple[int, int] = (0, 1),
        drawings: Drawings | None = None,
        drawn_cartoons: Drawings | None = None,
    ) -> None:
        self.photos, self.cartoons = photos, cartoons
        self.config, self.seed, self.share = config, seed, share
        self.drawings, self.drawn_cartoons = drawings, drawn_cartoons

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step: uint8 (B, 3, size, size) by name."""
        batch: dict[str, Sequence[Uint8Array]] = {}
        if self.drawings is None:
            batch["photo"] = self._crops(self.photos, PHOTO, self.config.photo_side, step)
        else:
            batch["photo"], batch["target"] = self._drawn_crops(self.drawings, PHOTO, step)
        if self.cartoons is not None and self.drawn_cartoons is not None:
            _, batch["cartoon"] = self._drawn_crops(self.drawn_cartoons, CARTOON, step)
        elif self.cartoons is not None:
            batch["cartoon"] = self._crops(self.cartoons, CARTOON, self.config.cartoon_side, step)
        return {
            name: torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
            for name, crops in batch.items()
        }

    def _drawn_crops(self, drawings: Drawings, kind: int, step: int) -> list[tuple[Any, ...]]:
        """Cut crops of pictures, and of their drawings."""
        drawn = self._draw(drawings.layers, kind, step)
        crops = (drawings.crop(file, self.config.size, random, step) for file, random in drawn)
        return list(zip(*crops, strict=True))

    def _crops(
        self, domain: Domain, kind: int, sides: tuple[int, int], step: int
    ) -> tuple[Uint8Array, ...]:
        drawn = self._draw(domain, kind, step)
        return tuple(draw_crop(file, self.config.size, sides, random) for file, random in drawn)

    def _draw(
        self, domain: Domain, kind: int, step: int
    ) -> Iterator[tuple[Path, np.random.Generator]]:
        """Draw this process's share of the joint batch: files, each with random numbers."""
        faces = bool(domain.faces) and step % FACES_EVERY == FACES_EVERY - 1
        (rank, processes), size = self.share, self.config.batch_size
        for position in range(step * size + rank, (step + 1) * size, processes):
            file = pick(domain.faces if faces else domain.files, self.seed, kind, position)
            yield file, np.random.default_rng((self.seed, kind, 1, position))


def pick(files: Sequence[Path], seed: int, kind: int, position: int) -> Path:
    """Return the file at a position of an endless sequence that shuffles them in every epoch."""
    epoch, place = divmod(position, len(files))
    order = np.random.default_rng((seed, kind, 0, epoch)).permutation(len(files))
    return files[int(order[place])]


def add_noise(photo: Tensor, levels: float, seed: int, step: int) -> Tensor:
    """Add noise as videos have it: of the sensor in each pixel, and of compression in spots.

    Args:
        photo: (B, 3, H, W) in [-1, 1].
        levels: largest standard deviation, in [0, 255]; each photo's is drawn below it.
        seed, step: on which alone the draws depend.
    Returns:
        The same shape and range.
    """
    seeds = np.random.SeedSequence((seed, NOISE, step))
    random = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
    batch, _, height, width = photo.shape
    fine = torch.randn(photo.shape, generator=random)
    coarse = torch.randn(batch, 3, -(-height // SPOT), -(-width // SPOT), generator=random)
    spots = functional.interpolate(coarse, scale_factor=SPOT, mode="bilinear")
    share = torch.rand(2, batch, 1, 1, 1, generator=random) * levels / 127.5
    noise = share[0] * fine + share[1] * spots[..., :height, :width]
    noisy = (photo + noise.to(photo.device)).clamp(-1, 1)
    return noisy.contiguous(memory_format=torch.channels_last)


def prepare_layers(
    photos: Sequence[Path], sides: tuple[int, int], folder: Path | None = None, workers: int = 2
) -> list[Path]:
    """Compute the layers of the photos that have none yet, with a progress bar.

    Args:
        photos: pictures.
        sides: range of the short side to work at, pixels. Half of the photos are worked at the
            largest, each of the others at a size of its own.
        folder: for the layers, 13 bytes a pixel; None for drawings in `cache_folder()`.
        workers: processes.
    Returns:
        The file of each photo's layers.
    Raises:
        DataError: a photo cannot be read; names it.
        TrainingError: a worker was killed; what is done is kept.
    """
    folder = folder or cache_folder() / "drawings"
    folder.mkdir(parents=True, exist_ok=True)
    placed = [(photo, *_place(photo, sides, folder)) for photo in photos]
    missing = {file: (photo, side) for photo, side, file in placed if not _is_whole(file)}
    if missing:
        console = Console(stderr=True)
        with (
            Progress(console=console, disable=not console.is_terminal) as bar,
            worker_pool(workers) as pool,
        ):
            jobs = [pool.submit(_write_layers, *job, file) for file, job in missing.items()]
            for job in bar.track(as_completed(jobs), len(jobs), description="Drawing targets"):
                job.result()
    return [file for _, _, file in placed]


def _place(photo: Path, sides: tuple[int, int], folder: Path) -> tuple[int, Path]:
    """Return the short side to work at and the file for the layers, by the photo's content."""
    try:
        digest = hashlib.sha256(photo.read_bytes())
    except OSError as error:
        raise DataError(f"{photo}: {error.strerror}") from error
    low, high = sides
    draw = digest.digest()[0]
    side = high if draw >= 128 else low + (high - low) * draw // 128
    return side, folder / f"{digest.hexdigest()[:24]}-{side}-{LAYERS_VERSION}.npy"


def _is_whole(file: Path) -> bool:
    """Return whether a file holds layers to its end, without reading them."""
    try:
        shape = np.load(file, mmap_mode="r").shape
    except (OSError, ValueError, EOFError):
        return False
    return len(shape) == 3 and shape[2] == CHANNELS


def _write_layers(photo: Path, side: int, file: Path) -> None:
    layers = Layers.of(read_scaled(photo, side))
    with replacing(file) as temporary:
        np.save(temporary, layers.packed)
