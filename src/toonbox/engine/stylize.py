"""From a photo of any size to a cartoon of the same size."""

import hashlib
from pathlib import Path
from typing import Literal, Protocol, TypedDict

import numpy as np
from PIL import Image

from toonbox.engine.guided import STRIP_PIXELS, upsample
from toonbox.engine.session import Session, open_session
from toonbox.engine.style import DEFAULT_STYLE, MODEL, Card, find_style, read_card
from toonbox.errors import ShapeError, StyleError, UsageError
from toonbox.pixels import (
    FloatArray,
    Levels,
    PhotoArray,
    from_levels,
    to_levels,
    to_signed,
    to_uint8,
)

Resolution = int | Literal["native"] | None

# Pictures of more than two tiles are worked on in tiles of this side. Through three stages and four
# residual blocks a pixel reaches at most 125 others: with this margin there are no seams.
TILE = 1536
MARGIN = 128


class Colours(Protocol):
    """What the values of a photo mean; levels are (H, W, 3) in [0, 255] and keep their type."""

    def to_srgb(self, levels: Levels) -> Levels:
        """Convert to sRGB, which is what networks know."""

    def from_srgb(self, levels: Levels) -> Levels:
        """Convert back."""


class Look(TypedDict, total=False):
    """What a style can be told beside the photo: the options of `Style.__call__`."""

    strength: float
    resolution: Resolution
    surface: float | None
    structure: float | None
    texture: float | None


class Style:
    """A style ready for use; call it with photos. Safe to share between threads."""

    def __init__(self, card: Card, session: Session) -> None:
        self.card, self.session = card, session

    def __call__(
        self,
        photo: PhotoArray,
        *,
        strength: float = 1.0,
        resolution: Resolution = None,
        surface: float | None = None,
        structure: float | None = None,
        texture: float | None = None,
        colours: Colours | None = None,
    ) -> PhotoArray:
        """Cartoonize a photo.

        Args:
            photo: (H, W, 3) RGB of 8 or 16 bits, any height and width.
            strength: 1 is the cartoon, 0 the photo, between them a blend.
            resolution: short side in pixels at which the network works, never above the photo's;
                `native` is the photo's; None is the style's own. Larger photos come back at full
                size through guided upsampling.
            surface: 0 to 2, for styles with this knob (see `card.knobs`): more of it paints with a
                smoother brush. None is 1, as trained.
            structure: the same; more of it makes flatter and fewer areas of colour.
            texture: the same; more of it draws stronger outlines.
            colours: what the photo's values mean, if not sRGB. Only what the network sees and what
                it makes are converted; the photo's detail is carried over in its own colours.
        Returns:
            (H, W, 3) RGB, with the bits and the colours of the photo.
        Raises:
            ShapeError: not (H, W, 3) of uint8 or uint16.
            UsageError: an option out of range, or a knob this style does not have.
        """
        known = photo.dtype in (np.uint8, np.uint16)
        if photo.ndim != 3 or photo.shape[2] != 3 or not known or not photo.size:
            raise ShapeError(f"expected uint8 (H, W, 3) or uint16, got {photo.dtype} {photo.shape}")
        if not 0 <= strength <= 1:
            raise UsageError(f"strength must be from 0 to 1, got {strength:g}")
        knobs = self._knobs(surface=surface, structure=structure, texture=texture)
        if strength == 0:
            return photo.copy()
        small = self._working_photo(photo, resolution)
        seen = small if colours is None else colours.to_srgb(small)
        drawn = self._run(seen, knobs)
        drawn = drawn if colours is None else colours.from_srgb(drawn)
        if small.shape == photo.shape:
            cartoon = from_levels(drawn, photo.dtype)
        else:
            cartoon = np.empty_like(photo)
            for rows, values in upsample(photo, small, drawn):
                cartoon[rows] = values
        return cartoon if strength == 1 else _blend(photo, cartoon, strength)

    def _knobs(self, **told: float | None) -> FloatArray | None:
        """Give the network's second input, (1, K), if it has one."""
        names = self.card.knobs
        values = {name: value for name, value in told.items() if value is not None}
        for name, value in values.items():
            if name not in names:
                has = ", ".join(names) or "none"
                raise UsageError(f"style {self.card.name} has no knob {name}; its knobs: {has}")
            if not 0 <= value <= 2:
                raise UsageError(f"{name} must be from 0 to 2, got {value:g}")
        if not names:
            return None
        return np.array([[values.get(name, 1) for name in names]], np.float32)

    def _working_photo(self, photo: PhotoArray, resolution: Resolution) -> Levels:
        """Bring the photo to the size at which the network works."""
        short = min(photo.shape[:2])
        if resolution == "native":
            return to_levels(photo)
        wanted = self.card.working_resolution if resolution is None else resolution
        if isinstance(wanted, str) or wanted < 1:
            raise UsageError(f"resolution must be pixels or 'native', got {resolution!r}")
        if wanted >= short:
            return to_levels(photo)
        height, width = (max(1, round(side * wanted / short)) for side in photo.shape[:2])
        return _reduced(photo, (width, height))

    def _run(self, photo: Levels, knobs: FloatArray | None) -> Levels:
        """Run the network, padded by reflection and in tiles if needed: (H, W, 3) -> the same."""
        height, width = photo.shape[:2]
        multiple = self.card.size_multiple
        missing = [(0, -side % multiple) for side in (height, width)]
        padded = np.pad(photo, [*missing, (0, 0)], mode="reflect")
        if padded.shape[0] * padded.shape[1] <= 2 * TILE * TILE:
            return np.ascontiguousarray(self._run_tile(padded, knobs)[:height, :width])
        result = np.empty_like(photo)
        step, margin = (-(-length // multiple) * multiple for length in (TILE, MARGIN))
        for top in range(0, height, step):
            for left in range(0, width, step):
                y, x = max(0, top - margin), max(0, left - margin)
                tile = padded[y : top + step + margin, x : left + step + margin]
                cartoon = self._run_tile(tile, knobs)
                target = result[top : top + step, left : left + step]
                target[:] = cartoon[top - y :, left - x :][: target.shape[0], : target.shape[1]]
        return result

    def _run_tile(self, photo: Levels, knobs: FloatArray | None) -> Levels:
        batch = to_signed(np.ascontiguousarray(photo.transpose(2, 0, 1)[None]))
        cartoon = self.session.run(batch, knobs)
        if cartoon.shape != batch.shape:
            raise StyleError(f"{self.card.name}: made {cartoon.shape} of {batch.shape}")
        if photo.dtype == np.uint8:
            return to_uint8(cartoon[0]).transpose(1, 2, 0)
        levels: FloatArray = (np.clip(cartoon[0], -1, 1) + 1) * np.float32(127.5)
        return levels.transpose(1, 2, 0)


def _reduced(photo: PhotoArray, size: tuple[int, int]) -> Levels:
    """Reduce a photo to `size`, (width, height); one of 16 bits in floats, for smooth levels."""
    if photo.dtype == np.uint8:
        image = Image.fromarray(photo)
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3))
    channels = [Image.fromarray(to_levels(photo[..., channel])) for channel in range(3)]
    reduced = [channel.resize(size, Image.Resampling.BICUBIC) for channel in channels]
    levels: FloatArray = np.stack([np.asarray(channel) for channel in reduced], axis=2)
    return levels.clip(0, 255)


def _blend(photo: PhotoArray, cartoon: PhotoArray, strength: float) -> PhotoArray:
    """Mix a cartoon into its photo, in strips: floats of a whole photo may be too many."""
    mixed = np.empty_like(photo)
    rows = max(1, STRIP_PIXELS // photo.shape[1])
    for top in range(0, photo.shape[0], rows):
        strip = slice(top, top + rows)
        levels = photo[strip] * np.float32(1 - strength) + cartoon[strip] * np.float32(strength)
        mixed[strip] = np.rint(levels, out=levels)
    return mixed


def load_style(
    name_or_folder: str | Path = DEFAULT_STYLE,
    *,
    engine: str = "auto",
    threads: int | None = None,
) -> Style:
    """Load a style, to be used as often as wanted.

    Args:
        name_or_folder: name of a style, or its folder.
        engine: as in `open_session`.
        threads: to compute with; None takes all this process may use.
    Raises:
        StyleError: missing or damaged.
        UsageError, MissingExtraError: as in `open_session`.
    """
    folder = find_style(name_or_folder)
    card = read_card(folder)
    model = folder / MODEL
    try:
        sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError as error:
        raise StyleError(f"{model}: {error.strerror}") from error
    if sha256 != card.onnx_sha256:
        raise StyleError(f"{model}: damaged, its sha256 is not the card's")
    session = open_session(model, engine, threads)
    if session.takes_knobs != bool(card.knobs):
        has = "takes" if session.takes_knobs else "takes no"
        raise StyleError(f"{model}: {has} knobs, its card names {' '.join(card.knobs) or 'none'}")
    return Style(card, session)
