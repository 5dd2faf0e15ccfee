"""From a photo of any size to a cartoon of the same size."""

import hashlib
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypedDict, Unpack

import numpy as np
from PIL import Image

from toonbox.engine.guided import upsample
from toonbox.engine.session import Session, network_bytes, open_session
from toonbox.engine.style import DEFAULT_STYLE, MODEL, Card, find_style, read_card
from toonbox.errors import ShapeError, StyleError, UsageError
from toonbox.pixels import (
    STRIP_PIXELS,
    FloatArray,
    Levels,
    PhotoArray,
    Rows,
    from_levels,
    from_signed,
    strips_of,
    to_levels,
    to_signed,
)

Resolution = int | Literal["native"] | None

TILE = 1024  # pixels: with what they overlap by they take about 0.6 GB in the network
KNOBS = ("surface", "structure", "texture")


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

    def __init__(self, card: Card, session: Session, tile: int = TILE) -> None:
        """Put it together.

        Args:
            card: what the style says of itself.
            session: its network.
            tile: side, in pixels, of the parts in which the network sees what is larger than one
                of them with its surroundings; smaller ones take less memory and more time.
        """
        self.card, self.session, self.tile = card, session, tile

    def shared(self, runs: int) -> Self:
        """Give the same style for use by so many threads at a time: more in all, each slower."""
        other = copy(self)
        other.session = self.session.shared(runs)
        return other

    def __call__(
        self,
        photo: PhotoArray,
        *,
        colours: Colours | None = None,
        alpha: PhotoArray | None = None,
        out: PhotoArray | None = None,
        **look: Unpack[Look],
    ) -> PhotoArray:
        """Cartoonize a photo.

        Args:
            photo: (H, W, 3) RGB of 8 or 16 bits, any height and width.
            colours: what the photo's values mean, if not sRGB. Only what the network sees and what
                it makes are converted; the photo's detail is carried over in its own colours.
            alpha: (H, W); where it is 0 the photo stays as it is.
            out: where to write, like `photo`; `photo` itself if it is not needed any more.
            strength: 1 is the cartoon, 0 the photo, between them a blend.
            resolution: short side in pixels at which the network works, never above the photo's;
                `native` is the photo's; None is the style's own. Larger photos come back at full
                size through guided upsampling.
            surface: 0 to 2, for styles with this knob (see `card.knobs`): more of it paints with a
                smoother brush. None is 1, as trained.
            structure: the same; more of it makes flatter and fewer areas of colour.
            texture: the same; more of it draws stronger outlines.
        Returns:
            (H, W, 3) RGB, with the bits and the colours of the photo.
        Raises:
            ShapeError: not (H, W, 3) of uint8 or uint16.
            UsageError: an option out of range, or a knob this style does not have.
        """
        strips = self.strips(photo, colours=colours, alpha=alpha, **look)
        cartoon = np.empty_like(photo) if out is None else out
        for rows, values in strips:
            cartoon[rows] = values
        return cartoon

    def strips(
        self,
        photo: Rows,
        *,
        colours: Colours | None = None,
        alpha: Rows | None = None,
        **look: Unpack[Look],
    ) -> Iterator[tuple[slice, PhotoArray]]:
        """Do the same bit by bit, with a photo that need not be in memory.

        The photo is read from top to bottom: once, or twice if the network works at a smaller size.
        A strip of it may be overwritten as soon as the cartoon's has come.

        Returns:
            Rows from top to bottom, and the cartoon there, (rows, W, 3).
        Raises:
            ShapeError, UsageError: as in `__call__`, at once.
        """
        known = photo.dtype in (np.uint8, np.uint16)
        if len(photo.shape) != 3 or photo.shape[2] != 3 or not known or 0 in photo.shape:
            raise ShapeError(f"expected uint8 (H, W, 3) or uint16, got {photo.dtype} {photo.shape}")
        strength = _checked_strength(look)
        knobs = self._knobs(**{name: look.get(name) for name in KNOBS})
        size = self.working_size(photo.shape, look.get("resolution"))
        return self._strips(photo, size, knobs, strength, colours, alpha)

    def sketch(
        self, photo: PhotoArray, reduced: PhotoArray | None = None, **look: Unpack[Look]
    ) -> tuple[PhotoArray, PhotoArray]:
        """Do the first half of a cartoon: all that happens at the size the network works at.

        Args:
            photo, look: as in `__call__`.
            reduced: the photo at its `working_size`, if at hand: saves time.
        Returns:
            The photo at that size, and its cartoon, both (h, w, 3), for `finish`.
        Raises:
            ShapeError: as `__call__`, or `reduced` has another size.
            UsageError: as `__call__`.
        """
        size = self.working_size(photo.shape, look.get("resolution"))
        if size == photo.shape[:2]:
            reduced = photo
        elif reduced is None:
            reduced = from_levels(_reduced(photo, size), photo.dtype)
        if reduced.shape != (*size, 3):
            raise ShapeError(f"expected reduced to be {(*size, 3)}, got {reduced.shape}")
        whole = float(_checked_strength(look) > 0)
        look |= {"resolution": "native", "strength": whole}
        return reduced, self(reduced, **look)

    def finish(
        self, photo: PhotoArray, small: PhotoArray, cartoon: PhotoArray, **look: Unpack[Look]
    ) -> PhotoArray:
        """Do the second half: bring a sketch to the photo's size, and mix it with the photo.

        Args:
            photo, look: as in `__call__`.
            small, cartoon: what `sketch` gave; the cartoon may have been changed since.
        Returns:
            (H, W, 3), like `photo`.
        Raises:
            UsageError: the strength is out of range.
        """
        strength, parts = _checked_strength(look), iter([(slice(None), cartoon)])
        if small.shape != photo.shape:
            parts = upsample(photo, to_levels(small), to_levels(cartoon))
        finished = np.empty_like(photo)
        for rows, values in parts:
            finished[rows] = _mixed(photo[rows], values, strength)
        return finished

    def _strips(
        self,
        photo: Rows,
        size: tuple[int, int],
        knobs: FloatArray | None,
        strength: float,
        colours: Colours | None,
        alpha: Rows | None,
    ) -> Iterator[tuple[slice, PhotoArray]]:
        for rows, own, drawn in self._drawn(photo, size, knobs, strength, colours):
            values = _mixed(own, drawn, strength)
            if alpha is not None:
                np.copyto(values, own, where=(alpha[rows] == 0)[..., None])
            yield rows, values

    def _drawn(
        self,
        photo: Rows,
        size: tuple[int, int],
        knobs: FloatArray | None,
        strength: float,
        colours: Colours | None,
    ) -> Iterator[tuple[slice, PhotoArray, PhotoArray]]:
        """Give rows, the photo there, and the full cartoon there, which may be changed."""
        if strength == 0:
            for rows in strips_of(photo):
                yield rows, photo[rows], photo[rows].copy()
        elif size == photo.shape[:2]:
            for rows, own, levels in self._run(photo, knobs, colours):
                yield rows, own, from_levels(levels, photo.dtype)
        else:
            small = _reduced(photo, size)
            drawn = np.concatenate([part for _, _, part in self._run(small, knobs, colours)])
            for rows, values in upsample(photo, small, drawn):
                yield rows, photo[rows], values

    def _knobs(self, **told: Any) -> FloatArray | None:
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

    def working_size(self, shape: tuple[int, ...], resolution: Resolution) -> tuple[int, int]:
        """Give the height and width at which the network works, for a photo of this shape.

        Raises:
            UsageError: no such resolution.
        """
        height, width = shape[:2]
        wanted = self.card.working_resolution if resolution is None else resolution
        if wanted == "native":
            return height, width
        if isinstance(wanted, str) or wanted < 1:
            raise UsageError(f"resolution must be pixels or 'native', got {resolution!r}")
        short = min(height, width)
        if wanted >= short:
            return height, width
        return max(1, round(height * wanted / short)), max(1, round(width * wanted / short))

    def _run(
        self, photo: Rows, knobs: FloatArray | None, colours: Colours | None
    ) -> Iterator[tuple[slice, PhotoArray, Levels]]:
        """Run the network, in tiles if needed: rows, the photo there, and its cartoon in levels.

        Tiles begin at multiples of the size rule and overlap by the network's reach, so that each
        pixel is computed from the same values as in one piece.
        """
        height, width = photo.shape[:2]
        multiple = self.card.size_multiple
        tall, wide = (-(-side // multiple) * multiple for side in (height, width))
        step, margin = (-(-side // multiple) * multiple for side in (self.tile, self.card.reach))
        if tall * wide <= (step + 2 * margin) ** 2:
            step = max(tall, wide)
        band, start = photo[:0], 0
        for top in range(0, height, step):
            bottom, above = min(top + step, height), max(0, top - margin)
            more = photo[start + len(band) : min(bottom + margin, height)]
            # A copy, because the photo may be overwritten from here on.
            band, start = np.concatenate([band[above - start :], more]), above
            kept = slice(top - start, bottom - start)
            levels = np.empty((bottom - top, width, 3), to_levels(band[:0]).dtype)
            for left in range(0, width, step):
                x = max(0, left - margin)
                cartoon = self._run_tile(band[:, x : left + step + margin], knobs, colours)
                right = min(left + step, width)
                levels[:, left:right] = cartoon[kept, left - x : right - x]
            yield slice(top, bottom), band[kept], levels

    def _run_tile(
        self, tile: PhotoArray, knobs: FloatArray | None, colours: Colours | None
    ) -> Levels:
        """Run the network on (h, w, 3), padded by reflection, also to its size rule: levels."""
        seen = to_levels(tile)
        seen = seen if colours is None else colours.to_srgb(np.ascontiguousarray(seen))
        height, width = seen.shape[:2]
        beyond, multiple = self.card.beyond, self.card.size_multiple
        edges = [(beyond, beyond + -(side + 2 * beyond) % multiple) for side in (height, width)]
        padded = np.pad(seen, [*edges, (0, 0)], mode="reflect")
        batch = to_signed(np.ascontiguousarray(padded.transpose(2, 0, 1)[None]))
        cartoon = self.session.run(batch, knobs)
        if cartoon.shape != batch.shape:
            raise StyleError(f"{self.card.name}: made {cartoon.shape} of {batch.shape}")
        if not np.isfinite(cartoon).all():
            raise StyleError(f"{self.card.name}: made values that are not finite numbers")
        inner = slice(beyond, beyond + height), slice(beyond, beyond + width)
        cartoon = cartoon[0, :, *inner].transpose(1, 2, 0)
        if seen.dtype == np.uint8:
            drawn: Levels = np.ascontiguousarray(from_signed(cartoon))
        else:
            drawn = np.ascontiguousarray((np.clip(cartoon, -1, 1) + 1) * np.float32(127.5))
        return drawn if colours is None else colours.from_srgb(drawn)


def _checked_strength(look: Look) -> float:
    if not 0 <= (strength := look.get("strength", 1.0)) <= 1:
        raise UsageError(f"strength must be from 0 to 1, got {strength:g}")
    return strength


def _mixed(photo: PhotoArray, cartoon: PhotoArray, strength: float) -> PhotoArray:
    """Mix a part of a photo and its cartoon, alike in shape and type."""
    if strength == 1:
        return cartoon
    values = photo * np.float32(1 - strength) + cartoon * np.float32(strength)
    mixed: PhotoArray = np.rint(values, out=values).astype(photo.dtype)
    return mixed


def _reduced(photo: Rows, size: tuple[int, int]) -> Levels:
    """Reduce a photo to `size`, (height, width); one of 16 bits in floats, for smooth levels.

    First by whole numbers, to not less than one and a half times the size, then sideways, both
    strip by strip, then downwards: the same as Pillow's resize does with reducing_gap=1.5, without
    a copy of the photo.
    """
    (height, width), (small_height, small_width) = photo.shape[:2], size
    down, across = (
        max(1, int(large / small / 1.5))
        for large, small in ((height, small_height), (width, small_width))
    )
    step = max(1, STRIP_PIXELS // width // down) * down
    narrow = np.empty((-(-height // down), small_width, 3), to_levels(photo[:0]).dtype)
    for top in range(0, height, step):
        levels = to_levels(photo[top : min(top + step, height)])
        first, rows = top // down, -(-len(levels) // down)
        narrow[first : first + rows] = _resized(
            levels, (small_width, rows), (width / across, rows), (across, down)
        )
    small = _resized(narrow, (small_width, small_height), (small_width, height / down))
    return small if small.dtype == np.uint8 else small.clip(0, 255)


def _resized(
    levels: Levels,
    size: tuple[int, int],
    kept: tuple[float, float],
    factors: tuple[int, int] = (1, 1),
) -> Levels:
    """Reduce by whole factors, then bring what is kept, (width, height), to `size`, alike."""
    eight = levels.dtype == np.uint8
    parts = [levels] if eight else [np.ascontiguousarray(levels[..., c]) for c in range(3)]
    images = [Image.fromarray(part).reduce(factors) for part in parts]
    resized = [
        np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=(0, 0, *kept)))
        for image in images
    ]
    return resized[0] if eight else np.stack(resized, axis=2)


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
    sha256 = hashlib.sha256(network_bytes(model)).hexdigest()
    if sha256 != card.onnx_sha256:
        raise StyleError(f"{model}: damaged, its sha256 is not the card's")
    session = open_session(model, engine, threads)
    if session.takes_knobs != bool(card.knobs):
        has = "takes" if session.takes_knobs else "takes no"
        raise StyleError(f"{model}: {has} knobs, its card names {' '.join(card.knobs) or 'none'}")
    return Style(card, session)
