"""The cache of layers, computed by worker processes, which need not import torch for this."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np

from toonbox.atomic import make_folder, writing
from toonbox.errors import DataError
from toonbox.learn.inspect import read_scaled
from toonbox.learn.progress import tracked
from toonbox.learn.representations.drawing import CHANNELS, Layers
from toonbox.learn.weights import cache_folder
from toonbox.learn.workers import worker_pool

LAYERS_VERSION = 2  # increase when `Layers` changes


def prepare_layers(
    photos: Sequence[Path], sides: tuple[int, int], folder: Path | None = None, workers: int = 2
) -> list[Path]:
    """Compute the missing layers of photos, 14 bytes per pixel; return the file of each photo.

    `sides` is the range of the working short side, in pixels; half of the photos use the largest.

    Raises:
        PictureError, DataError: a photo cannot be read; names it.
        OutputError: a layer file cannot be written.
        TrainingError: a worker was killed; finished layers are kept.
    """
    folder = folder or cache_folder() / "drawings"
    make_folder(folder)
    placed = [(photo, *_place(photo, sides, folder)) for photo in photos]
    if missing := {file: (photo, side) for photo, side, file in placed if not _is_whole(file)}:
        with worker_pool(workers) as pool:
            jobs = [pool.submit(_write_layers, *job, file) for file, job in missing.items()]
            for job in tracked(as_completed(jobs), "Drawing targets", len(jobs)):
                job.result()
    return [file for _, _, file in placed]


def _place(photo: Path, sides: tuple[int, int], folder: Path) -> tuple[int, Path]:
    """Return the working short side and the layer file, both by a hash of the photo's file."""
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
        return bool(np.load(file, mmap_mode="r").shape[2:] == (CHANNELS,))
    except (OSError, ValueError, EOFError):
        return False


def _write_layers(photo: Path, side: int, file: Path) -> None:
    layers = Layers.of(read_scaled(photo, side))
    with writing(file) as temporary:
        np.save(temporary, layers.packed)
