"""Read pictures for training, and find those that are unsuitable."""

import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from toonbox.errors import DataError, PictureError
from toonbox.images import formats
from toonbox.images.picture import load, naming_damage, open_image, open_stream, without_metadata
from toonbox.learn.progress import tracked
from toonbox.options import MAX_PIXELS
from toonbox.pixels import Uint8Array, to_eight_bits

BLANK_SHARE = 0.9  # of a whole picture, above that of crops: parts of a white page may be usable
FLAT_LEVELS = 4  # of 255: largest difference from the median colour that counts as blank
HASH_BITS = 12  # of 64: differing bits up to which thumbnails are compared
COPY_LEVELS = 5.0  # of 255: mean difference of thumbnails up to which pictures are duplicates
GREY = "black-and-white"
TINT_LEVELS = 6.0  # of 255: variation of colour differences below which a picture is a single tint


def read_picture(file: Path, short_side: int | None = None) -> Image.Image:
    """Read a picture upright as RGB, without converting its colour profile.

    Large JPEG files decode faster to a sufficient `short_side`, in pixels. Raises PictureError.
    """
    name = str(file)
    with open_stream(file, name) as stream, naming_damage(name, stream):
        image = open_image(stream, name, MAX_PIXELS)
        if short_side is not None:
            image.draft("RGB", (short_side, short_side))
        load(image, name, MAX_PIXELS)
        return Image.fromarray(to_eight_bits(without_metadata(image, name).rgb))


def read_scaled(photo: Path, side: int) -> Uint8Array:
    """Read a photo, (H, W, 3), and reduce its short side to at most `side` pixels."""
    image = read_picture(photo)
    scale = side / min(image.size)
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)


def find_pictures(folder: Path) -> list[Path]:
    """List the pictures below a folder, sorted, without hidden files and toonbox's outputs.

    Raises DataError if there are none, or a folder cannot be listed.
    """
    found = formats.find_pictures(folder)
    if found.unreadable:
        raise DataError("\n".join(f"{path}: {why}" for path, why in found.unreadable))
    if not found.pictures:
        raise DataError(f"{folder}: no pictures")
    return found.pictures


@dataclass(frozen=True)
class FolderReport:
    """The pictures of a folder and its subfolders, and what is wrong with some of them."""

    folder: Path
    files: list[Path]
    usable: list[Path]  # readable, large enough, not blank and not repeated
    sizes: list[tuple[int, int]]  # width and height of the usable ones, pixels, upright
    problems: dict[str, dict[Path, str]]  # kind, file, remark; GREY ones are usable all the same

    @property
    def coloured(self) -> list[Path]:
        """Return the usable pictures that are not black and white."""
        return [file for file in self.usable if file not in self.problems[GREY]]

    def text(self, limit: int = 10) -> str:
        """Summarise the report, with up to `limit` files per kind of problem."""
        spans = [
            f"{what} {min(side)} to {max(side)}, median {statistics.median_low(side)}"
            for what, side in zip(("width", "height"), zip(*self.sizes, strict=True), strict=False)
        ]
        sizes = f" ({'; '.join(spans)})" if spans else ""
        lines = [f"{self.folder}: {len(self.files)} found, {len(self.usable)} usable{sizes}"]
        for kind, found in self.problems.items():
            names = [
                path.relative_to(self.folder).as_posix() + (f" ({remark})" if remark else "")
                for path, remark in found.items()
            ]
            more = [f"and {len(names) - limit} more"] if len(names) > limit else []
            if names:
                lines.append(f"  {len(names)} {kind}: {', '.join([*names[:limit], *more])}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Picture:
    path: Path
    size: tuple[int, int]
    blank: bool
    gradients: int  # the 64 bits of the difference hash
    thumbnail: Uint8Array  # (32, 32, 3)

    def shows_same(self, other: "_Picture") -> bool:
        """Compare hashes, then thumbnails, as the hash of a flat page is mostly noise."""
        if (self.gradients ^ other.gradients).bit_count() > HASH_BITS:
            return False
        difference = np.abs(self.thumbnail.astype(np.int16) - other.thumbnail)
        return bool(difference.mean() <= COPY_LEVELS)

    def is_black_and_white(self) -> bool:
        """Return whether only lightness varies; a uniform tint counts as black and white."""
        red, green, blue = self.thumbnail.reshape(-1, 3).astype(np.float32).T
        return float(np.std(red - green) + np.std(blue - green)) < TINT_LEVELS


def inspect_folder(folder: Path, *, minimum_side: int) -> FolderReport:
    """Decode every picture below `folder` and report those that are unsuitable for training.

    Raises DataError if none is suitable, and has a short side of `minimum_side` pixels.
    """
    files, usable = find_pictures(folder), list[_Picture]()
    small = f"under {minimum_side} pixels"
    kinds = "unreadable", small, "mostly blank", "near-duplicate", GREY
    problems: dict[str, dict[Path, str]] = {kind: {} for kind in kinds}
    # Threads suffice: decoding and resizing release the interpreter lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        inspected = tracked(pool.map(_inspect, files), "Inspecting", len(files))
        for path, found in zip(files, inspected, strict=True):
            if isinstance(found, str):
                problems["unreadable"][path] = found
            elif min(found.size) < minimum_side:
                problems[small][path] = ""
            elif found.blank:
                problems["mostly blank"][path] = ""
            elif first := next((each for each in usable if each.shows_same(found)), None):
                remark = f"like {first.path.relative_to(folder).as_posix()}"
                problems["near-duplicate"][path] = remark
            else:
                usable.append(found)
                if found.is_black_and_white():
                    problems[GREY][path] = ""
    paths, sizes = [each.path for each in usable], [each.size for each in usable]
    report = FolderReport(folder, files, paths, sizes, problems)
    if not usable:
        raise DataError(f"no usable picture\n{report.text()}")
    return report


def is_blank(rgb: Uint8Array, share: float = 0.85) -> bool:
    """Return whether the median colour covers more than `share`, >= 0.5, of (H, W, 3)."""
    pixels = rgb.shape[0] * rgb.shape[1]
    histograms = (cv2.calcHist([rgb], [channel], None, [256], [0, 256]) for channel in range(3))
    median = [int(np.searchsorted(counts.cumsum(), pixels / 2)) for counts in histograms]
    lowest = tuple(level - FLAT_LEVELS for level in median)
    highest = tuple(level + FLAT_LEVELS for level in median)
    return bool(cv2.countNonZero(cv2.inRange(rgb, lowest, highest)) > share * pixels)


def _inspect(path: Path) -> _Picture | str:
    """Decode one picture completely; return the reason if that fails."""
    try:
        rgb = read_picture(path)
    except PictureError as error:
        return str(error).removeprefix(f"{path}: ")
    grey = np.asarray(rgb.resize((9, 8), Image.Resampling.BILINEAR, reducing_gap=3).convert("L"))
    # Every n-th pixel suffices for a large picture and, unlike averaging, preserves colours.
    step = max(1, min(rgb.size) // 256)
    return _Picture(
        path=path,
        size=rgb.size,
        blank=is_blank(np.ascontiguousarray(np.asarray(rgb)[::step, ::step]), BLANK_SHARE),
        gradients=int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big"),
        thumbnail=np.asarray(rgb.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=3)),
    )
