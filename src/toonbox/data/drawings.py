"""The drawn targets of a run: layers of each photo, computed once, kept on disk, then cropped."""

import hashlib
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import Progress

from toonbox.files import replacing
from toonbox.pixels import Uint8Array
from toonbox.representations.drawing import MARGIN, Layers, Look

VERSION = 1  # of the layers; raise it when they change


@dataclass(frozen=True)
class Drawings:
    """The layers of photos, in files of a folder that are mapped into memory."""

    files: Sequence[Path]

    @classmethod
    def prepare(
        cls,
        photos: Sequence[Path],
        sides: tuple[int, int],
        folder: Path | None = None,
        workers: int = 2,
    ) -> "Drawings":
        """Compute the layers of the photos that have none yet; a progress bar shows how far it is.

        Args:
            photos: pictures.
            sides: range of the short side to work at, pixels. Half of the photos are worked at the
                largest, each of the others at a size of its own.
            folder: for the layers, 13 bytes a pixel; None for the user's cache.
            workers: processes.
        """
        folder = folder or user_cache_path("toonbox") / "drawings"
        folder.mkdir(parents=True, exist_ok=True)
        named = [(photo, *_placed(photo, sides, folder)) for photo in photos]
        missing = [each for each in named if not each[2].exists()]
        if missing:
            _compute(missing, workers)
        return cls([file for _, _, file in named])

    def crop(
        self,
        index: int,
        size: int,
        random: np.random.Generator,
        look: Look,
        knobs: tuple[float, float, float],
    ) -> tuple[Uint8Array, Uint8Array]:
        """Cut a random crop, mirrored half of the time.

        Args:
            index: of the photo.
            size: of the crop, pixels.
            random: source of the random numbers.
            look, knobs: of the drawing.
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
        drawn = Layers(part).draw(look, *knobs)
        window = slice(above, above + size), slice(before, before + size)
        mirror = slice(None, None, -1 if random.random() < 0.5 else 1)
        return tuple(  # type: ignore[return-value]
            np.ascontiguousarray(image[window][:, mirror]) for image in (part[..., :3], drawn)
        )


def _placed(photo: Path, sides: tuple[int, int], folder: Path) -> tuple[int, Path]:
    """Return the short side to work at and the file for the layers, by the photo's content."""
    digest = hashlib.sha256(photo.read_bytes())
    low, high = sides
    draw = digest.digest()[0]
    side = high if draw >= 128 else low + (high - low) * draw // 128
    return side, folder / f"{digest.hexdigest()[:24]}-{side}-{VERSION}.npy"


def _compute(missing: Sequence[tuple[Path, int, Path]], workers: int) -> None:
    console = Console(stderr=True)
    with (
        Progress(console=console, disable=not console.is_terminal) as bar,
        ProcessPoolExecutor(max(1, workers), multiprocessing.get_context("spawn")) as pool,
    ):
        task = bar.add_task("drawing targets", total=len(missing))
        try:
            for done in as_completed(pool.submit(_layers, *each) for each in missing):
                done.result()
                bar.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _layers(photo: Path, side: int, file: Path) -> None:
    cv2.setNumThreads(1)
    layers = Layers.of(scaled(photo, side))
    with replacing(file) as temporary:
        np.save(temporary, layers.packed)


def scaled(photo: Path, side: int) -> Uint8Array:
    """Read a photo with its short side brought down to `side` pixels: (H, W, 3)."""
    with Image.open(photo) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    scale = side / min(image.size)
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)
