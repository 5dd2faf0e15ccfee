"""The drawn targets of a run: layers of each photo, computed once, kept on disk, then cropped."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import Progress

from toonbox.atomic import replacing
from toonbox.errors import DataError
from toonbox.learn.inspect import UNREADABLE
from toonbox.learn.representations.drawing import CHANNELS, MARGIN, Layers, Look
from toonbox.learn.workers import worker_pool
from toonbox.pixels import Uint8Array

VERSION = 1  # of the layers; raise it when they change

Knobs = Callable[[int], tuple[float, float, float]]


@dataclass(frozen=True)
class Drawings:
    """The layers of photos, mapped from files into memory, and how they are drawn.

    Attributes:
        files: layers of each photo.
        look: of the drawing.
        knobs: the settings of surface, structure and texture by step; picklable, for the workers.
    """

    files: Sequence[Path]
    look: Look
    knobs: Knobs

    def crop(
        self, index: int, size: int, random: np.random.Generator, step: int
    ) -> tuple[Uint8Array, Uint8Array]:
        """Cut a random crop, mirrored half of the time.

        Args:
            index: of the photo.
            size: of the crop, pixels.
            random: source of the random numbers.
            step: whose knobs are used.
        Returns:
            Photo and drawing, (size, size, 3) each.
        """
        packed = np.load(self.files[index], mmap_mode="r")
        height, width = packed.shape[:2]
        top = int(random.integers(0, max(height - size, 0) + 1))
        left = int(random.integers(0, max(width - size, 0) + 1))
        above, before = min(top, MARGIN), min(left, MARGIN)
        part = packed[top - above : top + size + MARGIN, left - before : left + size + MARGIN]
        part = np.ascontiguousarray(part)
        drawn = Layers(part).draw(self.look, *self.knobs(step))
        window = slice(above, above + size), slice(before, before + size)
        mirror = slice(None, None, -1 if random.random() < 0.5 else 1)
        photo, target = (
            np.ascontiguousarray(image[window][:, mirror]) for image in (part[..., :3], drawn)
        )
        return photo, target


def prepare_layers(
    photos: Sequence[Path],
    sides: tuple[int, int],
    folder: Path | None = None,
    workers: int = 2,
) -> list[Path]:
    """Compute the layers of the photos that have none yet, with a progress bar.

    Args:
        photos: pictures.
        sides: range of the short side to work at, pixels. Half of the photos are worked at the
            largest, each of the others at a size of its own.
        folder: for the layers, 13 bytes a pixel; None for the user's cache.
        workers: processes.
    Returns:
        The file of each photo's layers.
    Raises:
        DataError: a photo cannot be read; names it.
        TrainingError: a worker was killed; what is done is kept.
    """
    folder = folder or user_cache_path("toonbox") / "drawings"
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
            for job in bar.track(as_completed(jobs), len(jobs), description="drawing targets"):
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
    return side, folder / f"{digest.hexdigest()[:24]}-{side}-{VERSION}.npy"


def _is_whole(file: Path) -> bool:
    """Tell whether a file holds layers to its end, without reading them."""
    try:
        shape = np.load(file, mmap_mode="r").shape
    except (OSError, ValueError, EOFError):
        return False
    return len(shape) == 3 and shape[2] == CHANNELS


def _write_layers(photo: Path, side: int, file: Path) -> None:
    layers = Layers.of(read_scaled(photo, side))
    with replacing(file) as temporary:
        np.save(temporary, layers.packed)


def read_scaled(photo: Path, side: int) -> Uint8Array:
    """Read a photo, its short side reduced to `side` pixels if it is longer: (H, W, 3).

    Raises:
        DataError: it cannot be read; names it and the reason.
    """
    try:
        with Image.open(photo) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{photo}: cannot be read: {reason}") from error
    scale = side / min(image.size)
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)
