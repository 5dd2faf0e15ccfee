"""The pictures of a run, and the batches cut from them: functions of seed and step alone."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from toonbox.atomic import replacing
from toonbox.errors import DataError
from toonbox.learn.config import CropConfig, TrainConfig
from toonbox.learn.inspect import (
    FolderReport,
    inspect_folder,
    is_blank,
    read_picture,
    read_scaled,
)
from toonbox.learn.representations.drawing import CHANNELS, MARGIN, Layers, Look
from toonbox.learn.weights import cache_folder
from toonbox.learn.workers import quiet_worker, worker_pool
from toonbox.options import RunOptions
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
    """Inspect every picture; return those to use, and a report for each folder.

    Photos in black and white, and pictures smaller than `minimum_side` pixels, are left out.

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
class Pictures:
    """Pictures, and the range of their short side before cropping, pixels."""

    files: Domain
    sides: tuple[int, int]

    def crop(
        self, file: Path, size: int, random: np.random.Generator, step: int
    ) -> tuple[Uint8Array, ...]:
        """Cut a random crop, (size, size, 3), half of the time mirrored; blank ones again.

        Raises:
            PictureError: the picture cannot be read.
        """
        image = read_picture(file, self.sides[1])
        short = min(image.size)
        for _ in range(TRIES):
            side = max(size, min(short, int(random.integers(self.sides[0], self.sides[1] + 1))))
            window = size * short / side
            left = random.uniform(0, image.width - window)
            top = random.uniform(0, image.height - window)
            box = (left, top, left + window, top + window)
            crop = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box))
            if not is_blank(crop):
                break
        return (_mirrored(crop, random),)


@dataclass(frozen=True)
class Drawings:
    """The layers of pictures, files of `prepare_layers`, and how they are drawn."""

    files: Domain
    look: Look
    knobs: Callable[[int], tuple[float, float, float]]  # of a step; picklable, for the workers

    def crop(
        self, file: Path, size: int, random: np.random.Generator, step: int
    ) -> tuple[Uint8Array, ...]:
        """Cut a random crop of a picture, and the same of its drawing: (size, size, 3) each."""
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


def _mirrored(crop: Uint8Array, random: np.random.Generator) -> Uint8Array:
    return crop[:, ::-1] if random.random() < 0.5 else crop


class CropBatches(Dataset[dict[str, Tensor]]):
    """Batches by step: `photo`, `cartoon`, and the photos' drawn `target` if there are drawings."""

    def __init__(
        self,
        photos: Pictures | Drawings,
        cartoons: Pictures | Drawings | None,
        config: CropConfig,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Choose what to cut from; of the joint batch this is process `share[0]` of `share[1]`."""
        self.photos, self.cartoons = photos, cartoons
        self.config, self.seed, self.share = config, seed, share

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step: uint8 (B, 3, size, size) by name."""
        batch = dict(zip(("photo", "target"), self._crops(self.photos, PHOTO, step), strict=False))
        if self.cartoons is not None:
            batch["cartoon"] = self._crops(self.cartoons, CARTOON, step)[-1]
        return {
            name: torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
            for name, crops in batch.items()
        }

    def _crops(
        self, source: Pictures | Drawings, kind: int, step: int
    ) -> list[tuple[Uint8Array, ...]]:
        """Cut this process's share of the joint batch."""
        files = source.files.files
        if source.files.faces and step % FACES_EVERY == FACES_EVERY - 1:
            files = source.files.faces
        (rank, processes), size = self.share, self.config.batch_size
        crops = []
        for position in range(step * size + rank, (step + 1) * size, processes):
            random = np.random.default_rng((self.seed, kind, 1, position))
            file = pick(files, self.seed, kind, position)
            crops.append(source.crop(file, self.config.size, random, step))
        return list(zip(*crops, strict=True))


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
    """Compute the layers of the photos that have none yet; return each one's file.

    Args:
        sides: range of the short side to work at, pixels. Half of the photos are worked at the
            largest, each of the others at a size of its own.
        folder: for the layers, 13 bytes a pixel; None for drawings in `cache_folder()`.
    Raises:
        PictureError, DataError: a photo cannot be read; names it.
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
    try:
        shape = np.load(file, mmap_mode="r").shape
    except (OSError, ValueError, EOFError):
        return False
    return len(shape) == 3 and shape[2] == CHANNELS


def _write_layers(photo: Path, side: int, file: Path) -> None:
    layers = Layers.of(read_scaled(photo, side))
    with replacing(file) as temporary:
        np.save(temporary, layers.packed)


def prepare_drawings(
    config: TrainConfig, data: TrainingData, options: RunOptions
) -> dict[str, Drawings]:
    """Compute the layers that are missing: of photos with a drawn target, of drawn cartoons."""
    looks = {}
    if config.target == "drawing":
        looks["photo"] = data.photos, config.crops.photo_side, config.pretrain.look
    if config.discriminated and config.discriminators.look:
        look = config.discriminators.look
        looks["cartoon"] = data.cartoons, config.crops.cartoon_side, look
    drawn = {}
    for name, (domain, sides, look) in looks.items():
        low, high = (max(side, config.crops.size) for side in sides)
        pictures = [*domain.files, *domain.faces]
        layers = prepare_layers(pictures, (low, high), options.drawings, options.workers)
        count = len(domain.files)
        drawn[name] = Drawings(Domain(layers[:count], layers[count:]), look, config.knobs_at)
    return drawn


def batches(
    config: TrainConfig,
    data: TrainingData,
    options: RunOptions,
    drawn: Mapping[str, Drawings] = MappingProxyType({}),
    step: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[dict[str, Tensor]]:
    """Yield the batches from a step to the end of both phases; see `CropBatches`.

    Args:
        drawn: what `prepare_drawings` returned.
    """
    crops, weights = config.crops, config.weights
    photos = Pictures(data.photos, crops.photo_side)
    cartoons = Pictures(data.cartoons, crops.cartoon_side) if config.discriminated else None
    drawn_photos = drawn.get("photo", photos)
    held = drawn_photos if weights.reconstruction or weights.features else photos
    for of_photos, of_cartoons, end in (
        (drawn_photos, None, config.pretrain.steps),
        (held, drawn.get("cartoon", cartoons), config.total_steps),
    ):
        if step < end:
            yield from DataLoader(
                CropBatches(of_photos, of_cartoons, crops, config.seed, share),
                batch_size=None,
                sampler=range(step, end),
                num_workers=options.workers,
                # A fork of a process that has run torch's threads may hang.
                multiprocessing_context="spawn" if options.workers else None,
                prefetch_factor=4 if options.workers else None,
                worker_init_fn=quiet_worker,
            )
            step = end
