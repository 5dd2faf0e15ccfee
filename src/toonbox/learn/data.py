"""The pictures of a run, and its batches, which depend on the seed and the step only."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from toonbox.atomic import write_file
from toonbox.errors import DataError
from toonbox.learn.config import CropConfig, TrainConfig
from toonbox.learn.inspect import FolderReport, inspect_folder, is_blank, read_picture
from toonbox.learn.layers import prepare_layers
from toonbox.learn.representations.drawing import MARGIN, Layers, Look
from toonbox.learn.workers import QuietContext, quiet_worker
from toonbox.options import RunOptions
from toonbox.pixels import Uint8Array

VALIDATION_PHOTOS = 8
FACES_EVERY = 5
TRIES = 8  # crops drawn before a blank one is accepted
PHOTO, CARTOON, NOISE = 0, 1, 4  # random number streams; 3 is for knobs
SPOT = 4  # pixels of coarse noise, about half a block of a video codec


@dataclass(frozen=True)
class TrainingData:
    """Files by the option that gives them, and validation photos that are never trained on."""

    photos: list[Path]
    cartoons: list[Path]
    face_photos: list[Path] = field(default_factory=list)
    face_cartoons: list[Path] = field(default_factory=list)
    validation: list[Path] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """Write the lists as JSON, with absolute paths; raise OutputError if that fails."""
        paths = {name: [str(f.absolute()) for f in files] for name, files in vars(self).items()}
        write_file(file, json.dumps(paths, indent=1).encode())

    @classmethod
    def load(cls, file: Path) -> "TrainingData":
        """Read the file lists of a run; raise DataError if they cannot be read."""
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return cls(**{name: [Path(f) for f in files] for name, files in values.items()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: is not the list of pictures of a run") from error

    def check_files(self) -> None:
        """Raise DataError if a listed file no longer exists."""
        if gone := [file for files in vars(self).values() for file in files if not file.exists()]:
            raise DataError(f"{gone[0]}: no longer exists, nor do {len(gone) - 1} others")

    def not_of(self, folders: Mapping[str, Sequence[Path]]) -> list[str]:
        """Return the names of the lists whose files are not below the folders given for them."""
        lists = {**vars(self), "photos": [*self.photos, *self.validation]}
        return [name for name, given in folders.items() if given and not _below(given, lists[name])]


def _below(folders: Sequence[Path], files: Sequence[Path]) -> bool:
    """Return whether all files are below these folders, and at least one below each."""
    parents, spellings = {file.parent for file in files}, (Path.absolute, Path.resolve)
    below = [
        [any(path(parent).is_relative_to(path(folder)) for path in spellings) for folder in folders]
        for parent in parents
    ]
    return bool(below) and all(map(any, below)) and all(map(any, zip(*below, strict=True)))


def inspect_training_data(
    folders: Mapping[str, Sequence[Path]], minimum_side: int, before: TrainingData | None = None
) -> tuple[TrainingData, list[FolderReport]]:
    """Inspect every picture; return the usable ones, without grey photos, and a report per folder.

    The folders are by the names of TrainingData, one with photos. No validation photo is among the
    cartoons or the faces, even if their folders are the same. The photos and validation photos of a
    run that goes on, `before`, stay. Raises DataError if a folder has too few usable pictures.
    """
    every = [folder for each in folders.values() for folder in each]
    reports = {folder: inspect_folder(folder, minimum_side=minimum_side) for folder in every}
    (photos,) = folders["photos"]
    coloured = reports[photos].coloured
    if len(coloured) < 2:
        raise DataError(f"{photos}: training needs at least two usable colour photos")
    # Ordered by a hash of the name, so that adding pictures hardly changes the split.
    ordered = sorted(coloured, key=lambda f: hashlib.sha256(f.name.encode()).hexdigest())
    held_out = min(VALIDATION_PHOTOS, len(coloured) // 2)
    validation, learnt = ordered[:held_out], sorted(ordered[held_out:])
    if before is not None:
        validation, learnt = before.validation, before.photos
    kept_out = {file.resolve() for file in validation}

    def usable(name: str) -> list[Path]:
        files = (file for folder in folders[name] for file in reports[folder].usable)
        return [file for file in files if file.resolve() not in kept_out]

    faces = usable("face_photos") or (before.face_photos if before else [])
    drawn = usable("cartoons"), faces, usable("face_cartoons")
    return TrainingData(learnt, *drawn, validation), list(reports.values())


@dataclass(frozen=True)
class Pictures:
    """Source of crops; `sides` is the range of the short side before cropping, in pixels."""

    files: Sequence[Path]
    faces: Sequence[Path]  # if there are any, every fifth batch is made of them
    sides: tuple[int, int]

    def crop(
        self, file: Path, size: int, random: np.random.Generator, step: int
    ) -> list[Uint8Array]:
        """Return a random crop, (size, size, 3); retry blank crops."""
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
        return [crop]


@dataclass(frozen=True)
class Drawings:
    """Source of crops with drawn targets; the files are those of `prepare_layers`."""

    files: Sequence[Path]
    faces: Sequence[Path]
    look: Look
    knobs: Callable[[int], tuple[float, float, float]]  # by step; picklable, for the workers

    def crop(
        self, file: Path, size: int, random: np.random.Generator, step: int
    ) -> list[Uint8Array]:
        """Return a random crop of a picture, (size, size, 3), and the same crop of `Layers.draw`.

        Even areas are those of the crop and its margin; a network does not see much further.
        """
        packed = np.load(file, mmap_mode="r")
        height, width = packed.shape[:2]
        top = int(random.integers(0, max(height - size, 0) + 1))
        left = int(random.integers(0, max(width - size, 0) + 1))
        above, before = min(top, MARGIN), min(left, MARGIN)
        part = packed[top - above : top + size + MARGIN, left - before : left + size + MARGIN]
        layers = Layers(np.ascontiguousarray(part))
        drawing, left_out = layers.draw(self.look, *self.knobs(step))
        all_three = part[..., :3], drawing, left_out[..., None]
        return [each[above : above + size, before : before + size] for each in all_three]


@dataclass(frozen=True)
class CropBatches(Dataset[dict[str, Tensor]]):
    """Batches by step: `photo`, `cartoon`, and `target` and `left_out` for photos with drawings."""

    photos: Pictures | Drawings
    cartoons: Pictures | Drawings | None
    config: CropConfig
    seed: int
    share: tuple[int, int] = (0, 1)  # this process's rank and the number of processes

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step: uint8 (B, 3, size, size) by name, `left_out` (B, 1, ...)."""
        batch = self._crops(self.photos, PHOTO, step)
        if self.cartoons is not None:
            cartoons = self._crops(self.cartoons, CARTOON, step)
            batch["cartoon"] = cartoons.get("target", cartoons["photo"])
        return {
            name: torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
            for name, crops in batch.items()
        }

    def _crops(
        self, source: Pictures | Drawings, kind: int, step: int
    ) -> dict[str, tuple[Uint8Array, ...]]:
        """Cut this process's share of the joint batch; mirror half of the crops."""
        with_faces = source.faces and step % FACES_EVERY == FACES_EVERY - 1
        files = source.faces if with_faces else source.files
        (rank, processes), size = self.share, self.config.batch_size
        crops = []
        for position in range(step * size + rank, (step + 1) * size, processes):
            random = np.random.default_rng((self.seed, kind, 1, position))
            file = pick(files, self.seed, kind, position)
            crop = source.crop(file, self.config.size, random, step)
            crops.append([c[:, ::-1] for c in crop] if random.random() < 0.5 else crop)
        return dict(zip(("photo", "target", "left_out"), zip(*crops, strict=True), strict=False))


def pick(files: Sequence[Path], seed: int, kind: int, position: int) -> Path:
    """Return the file at a position of the endless sequence of shuffled epochs."""
    epoch, place = divmod(position, len(files))
    order = np.random.default_rng((seed, kind, 0, epoch)).permutation(len(files))
    return files[int(order[place])]


def add_noise(
    photo: Tensor, levels: float, seed: int, step: int, share: tuple[int, int] = (0, 1)
) -> Tensor:
    """Add noise to (B, 3, H, W) in [-1, 1]: per pixel and, as from compression, coarser.

    `levels` bounds the standard deviations drawn for each photo, in [0, 255]; `share` as in
    `CropBatches`.
    """
    seeds = np.random.SeedSequence((seed, NOISE, step))
    random = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
    (rank, processes), (batch, _, height, width) = share, photo.shape
    joint = batch * processes
    fine = torch.randn(joint, 3, height, width, generator=random)
    coarse = torch.randn(joint, 3, -(-height // SPOT), -(-width // SPOT), generator=random)
    spots = functional.interpolate(coarse, scale_factor=SPOT, mode="bilinear")
    strength = torch.rand(2, joint, 1, 1, 1, generator=random) * levels / 127.5
    noise = strength[0] * fine + strength[1] * spots[..., :height, :width]
    noise = noise[rank::processes]
    noisy = (photo + noise.to(photo.device)).clamp(-1, 1)
    return noisy.contiguous(memory_format=torch.channels_last)


def prepare_drawings(
    config: TrainConfig, data: TrainingData, options: RunOptions
) -> dict[str, Drawings]:
    """Compute the missing layers of photos and cartoons that the configuration wants drawn."""

    def prepare(
        files: Sequence[Path], faces: Sequence[Path], sides: tuple[int, int], look: Look
    ) -> Drawings:
        low, high = (max(side, config.crops.size) for side in sides)
        pictures, count = [*files, *faces], len(files)
        layers = prepare_layers(pictures, (low, high), options.drawings, options.workers)
        return Drawings(layers[:count], layers[count:], look, config.knobs_at)

    drawn, crops = {}, config.crops
    if config.target == "drawing":
        photos = data.photos, data.face_photos
        drawn["photo"] = prepare(*photos, crops.photo_side, config.pretrain.look)
    if config.discriminated and (look := config.discriminators.look):
        cartoons = data.cartoons, data.face_cartoons
        drawn["cartoon"] = prepare(*cartoons, crops.cartoon_side, look)
    return drawn


def batches(
    config: TrainConfig,
    data: TrainingData,
    options: RunOptions,
    drawn: Mapping[str, Drawings],
    step: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[dict[str, Tensor]]:
    """Yield the batches of `CropBatches`, `drawn` by `prepare_drawings`, from a step to the end."""
    crops, weights = config.crops, config.weights
    photos = Pictures(data.photos, data.face_photos, crops.photo_side)
    cartoons = None
    if config.discriminated:
        cartoons = Pictures(data.cartoons, data.face_cartoons, crops.cartoon_side)
    drawn_photos = drawn.get("photo", photos)
    held = drawn_photos if weights.held else photos
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
                multiprocessing_context=QuietContext() if options.workers else None,
                prefetch_factor=4 if options.workers else None,
                worker_init_fn=quiet_worker,
            )
            step = end
