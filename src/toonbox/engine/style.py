"""Styles: their folders and cards, and how they draw photos of any size."""

import contextlib
import os
import reprlib
import sys
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from PIL import Image

from toonbox.atomic import is_file, read_within, writing
from toonbox.engine.guided import NUMPY, Arithmetic, fastest_arithmetic, upsample
from toonbox.engine.session import Session, open_session
from toonbox.errors import ShapeError, StyleError, UsageError
from toonbox.images.encode import to_image
from toonbox.images.picture import Picture, read_image
from toonbox.options import DEFAULT_STYLE, Precision, Resolution, StyleOptions, split_options
from toonbox.parallel import count_jobs, failing_alone, ordered_parallel_map, shared_map
from toonbox.pixels import (
    STRIP_PIXELS,
    Colours,
    FloatArray,
    GreyColours,
    Levels,
    PhotoArray,
    Rows,
    from_levels,
    from_signed,
    strips_of,
    to_levels,
    to_signed,
)

SHIPPED = Path(__file__).parent.parent / "styles"
MODEL = "style.onnx"
CARD = "card.toml"
MAX_CARD = 8192  # bytes; the time and memory of reading TOML may grow with the square of them
MAX_PADDING = 256  # pixels: of size_multiple and beyond, which can make any photo a large one
GENERATOR = "generator.safetensors"  # to go on training from; often there is none
TILE = 1024  # pixels: with what they overlap by they take about 0.6 GB in the network
MOST_THREADS = 4  # for a picture's arrays; memory would not keep up with more
OPENCV_PIXELS = 3_000_000  # of a picture that is the only one, to be worth importing OpenCV
DETAIL_STEP = 40 * 256  # of brightness, from the left and from above together, in 256ths of a level
_HAMMING, _LANCZOS = Image.Resampling.HAMMING, Image.Resampling.LANCZOS
WORTH_ENLARGING = 1.25  # times; a photo enlarged by less is hardly drawn finer
DEFAULTS = StyleOptions()

InMemory = TypeVar("InMemory", Image.Image, PhotoArray)


@dataclass(frozen=True)
class Card:
    """The description of a style, from its card.toml.

    Attributes:
        name: of the style.
        version: of the style.
        description: a line for people.
        size_multiple: of which the network's input sides must be multiples, pixels.
        working_resolution: short side at which the network works unless told otherwise, pixels.
        detail_resolution: the same for photos full of detail, whose small faces and letters need
            finer strokes, at most twice as much; 0 if they are drawn like all others.
        licence: of the style file.
        data: what it was trained on.
        config_sha256: of the training configuration; empty for imported weights.
        onnx_sha256: of the network's file, checked on loading.
        knobs: names of the numbers that the network takes beside the photo, in its order; 1 is the
            trained default, 0 to 2 the range. Often none.
        recipe: name of the file that the training configuration was read from; empty if there was
            none.
        steps: of the training; 0 for imported weights.
        reach: how far away, in pixels, a pixel of the photo can still change one of the cartoon;
            tiles overlap by it. Cards without it are of networks of the usual size.
        beyond: how many pixels, reflected, the network is shown beyond each edge of a photo; ours
            draw stripes in the outermost ones.
    """

    name: str
    version: str
    description: str
    size_multiple: int
    working_resolution: int
    licence: str
    data: str
    config_sha256: str
    onnx_sha256: str
    knobs: tuple[str, ...] = ()
    detail_resolution: int = 0
    reach: int = 126
    beyond: int = 4
    recipe: str = ""
    steps: int = 0


def read_card(folder: Path) -> Card:
    """Read a style's card; ignore entries that this version does not know.

    Raises:
        StyleError: missing, not TOML, too large, or an entry missing or wrong; names the file.
    """
    file = folder / CARD
    try:
        return _card(tomllib.loads(read_within(file, MAX_CARD).decode()))
    except (OSError, ValueError) as error:
        raise StyleError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    except RecursionError as error:
        raise StyleError(f"{file}: nested too deeply") from error


def _card(values: dict[str, Any]) -> Card:
    """Make a card of the entries of a file; raise ValueError if one is missing or wrong."""
    knobs = values.get("knobs", "")
    names = tuple(knobs.split()) if isinstance(knobs, str) else ("",)
    if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        raise ValueError(f"knobs should be names with spaces between, found {reprlib.repr(knobs)}")
    known: dict[str, Any] = {"knobs": names}
    for field in fields(Card):
        value = values.get(field.name, None if field.default is MISSING else field.default)
        if field.name not in known and type(value) is not field.type:
            wanted = "a number" if field.type is int else "a text"
            raise ValueError(f"{field.name} should be {wanted}, found {reprlib.repr(value)}")
        known.setdefault(field.name, value)
    card = Card(**known)
    check_card(card)
    return card


def check_card(card: Card) -> None:
    """Raise ValueError if the numbers of a card do not fit together."""
    if card.size_multiple < 1 or card.working_resolution < card.size_multiple:
        raise ValueError("size_multiple and working_resolution do not fit together")
    if card.detail_resolution and not 1 <= card.detail_resolution / card.working_resolution <= 2:
        raise ValueError("detail_resolution should be one to two times working_resolution")
    if card.reach < card.size_multiple:
        raise ValueError("reach is less than size_multiple")
    if card.size_multiple > MAX_PADDING or not 0 <= card.beyond <= MAX_PADDING:
        raise ValueError(f"size_multiple and beyond may be {MAX_PADDING} at most, and not negative")


def write_card(card: Card, folder: Path) -> None:
    """Write a style's card, by tomli-w of the extra `train`; raise OutputError if that fails."""
    import tomli_w

    values = asdict(card)
    if knobs := values.pop("knobs"):
        values["knobs"] = " ".join(knobs)
    with writing(folder / CARD) as temporary:
        temporary.write_text(tomli_w.dumps(values), encoding="utf-8")


def styles_folder() -> Path:
    """Return the user's folder of styles: TOONBOX_STYLES, or where this system keeps such data."""
    if told := os.environ.get("TOONBOX_STYLES"):
        return Path(told)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "toonbox" / "styles"


def find_style(name_or_folder: str | Path) -> Path:
    """Find a style's folder: by name, the user's before the shipped ones, or by path.

    Raises:
        StyleError: there is none; says which there are.
    """
    given = Path(name_or_folder)
    candidates = [given]
    if isinstance(name_or_folder, str) and given.name == name_or_folder:
        candidates = [styles_folder() / given, SHIPPED / given, given]
    for folder in candidates:
        if is_file(folder / CARD):
            return folder
    names = ", ".join(style_names()) or "none"
    raise StyleError(f"no style {str(name_or_folder)!r}; available: {names}")


def list_styles() -> list[tuple[Card, Path]]:
    """List all styles with their folders, a user's in place of a shipped one of its name.

    Raises:
        StyleError: one is damaged; names it.
    """
    return [(read_card(folder), folder) for folder in _folders().values()]


def style_names() -> list[str]:
    """List the names of all styles, damaged ones too."""
    return list(_folders())


def _folders() -> dict[str, Path]:
    found = dict[str, Path]()
    for base in (SHIPPED, styles_folder()):
        with contextlib.suppress(OSError):  # missing, or not readable
            found |= {each.name: each for each in base.iterdir() if is_file(each / CARD)}
    return dict(sorted(found.items()))


class Style:
    """A style ready for use; call it with photos. Safe to share between threads."""

    def __init__(
        self, card: Card, session: Session, tile: int = TILE, single: bool = False
    ) -> None:
        """Combine a card and the session of its network.

        Args:
            tile: side, in pixels, of the parts in which the network sees a larger photo; smaller
                ones take less memory and more time.
            single: one picture is all that it will draw.
        """
        self.card, self.session, self.tile, self.single = card, session, tile, single
        # Called before each run of the network, one for each tile; what it raises ends the drawing.
        self.before_run: Callable[[], object] = lambda: None

    def shared(self, runs: int) -> Self:
        """Return the same style for use by `runs` threads at a time: each run is slower."""
        other = copy(self)
        other.session = self.session.shared(runs)
        return other

    def __call__(self, picture: InMemory, **options: Any) -> InMemory:
        """Turn a photo into a cartoon of the same size.

        Args:
            picture: a Pillow image of any mode but I, F and La, or an array of uint8 or uint16 and
                shape (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, in sRGB.
            options: those of `StyleOptions`: strength, resolution, surface, structure, texture.
        Returns:
            For an image, one of mode RGB, L, RGBA or LA, in the colours of the photo, whose `save`
            keeps its profile and metadata. For an array, one of the same shape and type.
        Raises:
            ShapeError: an array of another shape or type.
            PictureError: the image's file is damaged.
            UsageError: an option out of range, or a knob that this style does not have.
        """
        (style_options,) = split_options(options, StyleOptions)
        return self._convert(picture, style_options)

    def map(
        self, pictures: Iterable[InMemory], *, jobs: int | None = None, **options: Any
    ) -> Iterator[InMemory]:
        """Turn many photos into cartoons, several at a time, in order.

        Args:
            pictures: as in `__call__`; a few are taken ahead, so each must be an object of its own
                (`ImageSequence.Iterator` gives one image again and again: copy its frames).
            jobs: pictures at a time; None for one on each core.
            options: as in `__call__`.
        Raises:
            What `__call__` raises, naming the picture by its index, when its turn has come.
        """
        (style_options,) = split_options(options, StyleOptions)
        jobs = count_jobs(pictures, jobs)
        shared = self.shared(jobs)

        def convert(indexed: tuple[int, InMemory]) -> InMemory:
            index, picture = indexed
            return shared._convert(picture, style_options, f" {index}")

        return ordered_parallel_map(enumerate(pictures), convert, jobs)

    def _convert(self, picture: InMemory, options: StyleOptions, index: str = "") -> InMemory:
        if isinstance(picture, np.ndarray):
            with failing_alone(name := f"<array{index}>"):
                photo = _from_array(picture, name)
                return _to_array(photo, self.draw(photo, options))
        if isinstance(picture, Image.Image):
            with failing_alone(name := f"<image{index}>"):
                photo = read_image(picture, name)
                return to_image(photo, self.draw(photo, options))
        raise TypeError(
            f"a picture{index} is a Pillow image or an array, not {type(picture).__name__}; "
            "cartoonize_file and cartoonize_bytes take paths and bytes"
        )

    def draw(
        self, photo: Picture, options: StyleOptions = DEFAULTS, *, in_place: bool = False
    ) -> PhotoArray:
        """Draw a decoded photo: (H, W, 3), in its bits and colours; errors as in `strips`.

        Transparent areas stay. `in_place` overwrites the photo's own values: half the memory.
        """
        strips = self.strips(photo, options)
        cartoon = photo.rgb if in_place else np.empty_like(photo.rgb)
        for rows, values in strips:
            cartoon[rows] = values
        return cartoon

    def stylize(self, photo: PhotoArray, options: StyleOptions = DEFAULTS) -> PhotoArray:
        """Draw an array in sRGB, (H, W, 3) of uint8 or uint16; otherwise as `draw`."""
        return self.draw(Picture("<array>", photo), options)

    def check(self, options: StyleOptions) -> None:
        """Draw a few pixels, so that errors in the options or the network are raised now."""
        self.stylize(np.zeros((8, 8, 3), np.uint8), options)

    def strips(
        self, photo: Picture, options: StyleOptions = DEFAULTS
    ) -> Iterator[tuple[slice, PhotoArray]]:
        """Draw a photo that need not be in memory, from top to bottom.

        Its `rgb` and `alpha` are read once, or twice if the network works at a smaller size; `rgb`
        three times if that is the one for photos full of detail. A strip may be overwritten as soon
        as its cartoon has come. If its colours are not sRGB, only what the network sees and what
        it makes are converted; the photo's detail is carried over in its own colours.

        Returns:
            Rows from top to bottom, and the cartoon there, (rows, W, 3).
        Raises:
            ShapeError: `rgb` is not (H, W, 3) of uint8 or uint16; at once.
            UsageError: a knob that this style does not have; at once.
        """
        rgb: Rows = photo.rgb
        known = rgb.dtype in (np.uint8, np.uint16)
        if len(rgb.shape) != 3 or rgb.shape[2] != 3 or not known or 0 in rgb.shape:
            raise ShapeError(f"expected uint8 (H, W, 3) or uint16, got {rgb.dtype} {rgb.shape}")
        drawn = self._drawn(rgb, options, self._knobs(options), photo.colours)
        return _finished(drawn, options.strength, photo.alpha)

    def sketch(
        self, photo: PhotoArray, options: StyleOptions = DEFAULTS
    ) -> tuple[PhotoArray, PhotoArray]:
        """Do the first half of `stylize`, at the network's resolution, for `finish`.

        Returns:
            The photo at its `working_size`, and its cartoon, both (h, w, 3).
        """
        size = self.working_size(photo.shape, options.resolution)
        if size != photo.shape[:2]:
            photo = from_levels(_resized(photo, size, self._threads), photo.dtype)
        whole = float(options.strength > 0)
        return photo, self.stylize(photo, replace(options, resolution="native", strength=whole))

    def finish(
        self, photo: PhotoArray, small: PhotoArray, cartoon: PhotoArray, strength: float = 1.0
    ) -> PhotoArray:
        """Do the second half, (H, W, 3): bring a sketch to the photo's size, and blend both."""
        parts = iter([(slice(None), photo, cartoon)])
        if small.shape != photo.shape:
            levels = to_levels(small), to_levels(cartoon)
            parts = upsample(photo, *levels, self._threads, self._arithmetic(photo.shape))
        finished = np.empty_like(photo)
        for rows, own, values in parts:
            finished[rows] = blended(own, values, strength)
        return finished

    def _drawn(
        self,
        photo: Rows,
        options: StyleOptions,
        knobs: FloatArray | None,
        colours: Colours | None,
    ) -> Iterator[tuple[slice, PhotoArray, PhotoArray]]:
        """Yield rows, the photo there, and the cartoon there in full strength."""
        if options.strength == 0:
            for rows in strips_of(photo):
                own = photo[rows]
                yield rows, own, own
            return
        # A file is read by one thread, from top to bottom.
        threads = self._threads if isinstance(photo, np.ndarray) else 1
        seen = self.seen(photo, options.resolution, threads)
        run = self._run(seen, knobs, colours)
        if seen.shape == photo.shape or not isinstance(seen, np.ndarray):
            for rows, own, levels in run:
                yield rows, own, from_levels(levels, photo.dtype)
            return
        height, width = photo.shape[:2]
        drawn = np.concatenate([part for _, _, part in run])
        if len(seen) > height:
            drawn = _resized(drawn, (height, width), threads, _LANCZOS)
            yield slice(0, height), photo[:], from_levels(drawn, photo.dtype)
        else:
            yield from upsample(photo, seen, drawn, threads, self._arithmetic(photo.shape))

    def seen(self, photo: Rows, resolution: Resolution = None, threads: int = 1) -> Rows:
        """Return a photo, (H, W, 3), as the network sees it: itself, or resized, in levels."""
        size = self.working_size(photo.shape, resolution)
        largest = self.largest_size(photo.shape, resolution)
        reduced = largest[0] < photo.shape[0]
        if largest == size or not (reduced or isinstance(photo, np.ndarray)):
            return _at(photo, size, threads)
        looked_at = _at(photo, size, threads) if reduced else photo
        if not _is_detailed(looked_at[:]):
            return _at(looked_at, size, threads)
        return _at(photo, largest, threads, _HAMMING if reduced else _LANCZOS)

    def _arithmetic(self, shape: tuple[int, ...]) -> Arithmetic:
        """Return OpenCV's for a photo of this shape where it is installed and worth its import."""
        worth = not self.single or shape[0] * shape[1] >= OPENCV_PIXELS
        return fastest_arithmetic() if worth else NUMPY

    @property
    def _threads(self) -> int:
        """Return how many threads share the work on a picture beside its network."""
        return min(self.session.threads, MOST_THREADS)

    def _knobs(self, options: StyleOptions) -> FloatArray | None:
        """Return the network's second input, (1, K), if it has one."""
        names, values = self.card.knobs, options.knobs
        if unknown := [name for name in values if name not in names]:
            has = ", ".join(names) or "none"
            raise UsageError(f"style {self.card.name} has no knob {unknown[0]}; its knobs: {has}")
        return np.array([[values.get(name, 1) for name in names]], np.float32) if names else None

    def working_size(self, shape: tuple[int, ...], resolution: Resolution) -> tuple[int, int]:
        """Return the height and width at which the network works, for a photo of this shape."""
        height, width = shape[:2]
        wanted = self.card.working_resolution if resolution is None else resolution
        if wanted == "native" or wanted >= min(height, width):
            return height, width
        return _scaled(shape, wanted)

    def largest_size(self, shape: tuple[int, ...], resolution: Resolution) -> tuple[int, int]:
        """Return the `working_size` for a photo that is full of detail; a small one is enlarged."""
        short, detail = min(shape[:2]), self.card.detail_resolution
        if not detail or resolution is not None:
            return self.working_size(shape, resolution)
        wanted = min(detail, short * detail // self.card.working_resolution)
        return _scaled(shape, short if short < wanted < WORTH_ENLARGING * short else wanted)

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
        inside = slice(beyond, beyond + height), slice(beyond, beyond + width)
        cartoon = self._run_network(padded, knobs)[inside]
        cropped = seen[: height // multiple * multiple, : width // multiple * multiple]
        if not beyond and cropped.size and cropped.shape != seen.shape:
            # Imported networks look at nothing beyond: their own pipeline crops to the size rule.
            # What it throws away is taken from the padded photo.
            exact = self._run_network(cropped, knobs)
            cartoon[: len(exact), : exact.shape[1]] = exact
        if seen.dtype == np.uint8:
            drawn: Levels = np.ascontiguousarray(from_signed(cartoon))
        else:
            drawn = np.ascontiguousarray((np.clip(cartoon, -1, 1) + 1) * np.float32(127.5))
        return drawn if colours is None else colours.from_srgb(drawn)

    def _run_network(self, levels: Levels, knobs: FloatArray | None) -> FloatArray:
        """Run the network on (h, w, 3) of a size that it takes: (h, w, 3), about [-1, 1]."""
        self.before_run()
        batch = to_signed(levels[None]).transpose(0, 3, 1, 2)
        cartoon = self.session.run(batch, knobs)
        if cartoon.shape != batch.shape:
            raise StyleError(f"{self.card.name}: made {cartoon.shape} of {batch.shape}")
        if not np.isfinite(cartoon).all():
            raise StyleError(f"{self.card.name}: made values that are not finite numbers")
        pixels: FloatArray = cartoon[0].transpose(1, 2, 0)
        return pixels


def _from_array(array: PhotoArray, name: str) -> Picture:
    right_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype not in (np.uint8, np.uint16) or not right_shape or array.size == 0:
        raise ShapeError(
            f"{name}: expected uint8 or uint16 of shape (H, W), (H, W, 3) or (H, W, 4), "
            f"got {array.dtype} {array.shape}"
        )
    if array.ndim == 2:
        return Picture(name, np.repeat(array[..., None], 3, axis=2), colours=GreyColours())
    alpha = array[..., 3] if array.shape[2] == 4 else None
    return Picture(name, np.ascontiguousarray(array[..., :3]), alpha)


def _to_array(photo: Picture, cartoon: PhotoArray) -> PhotoArray:
    if photo.grey:
        return np.ascontiguousarray(cartoon[..., 0])
    return cartoon if photo.alpha is None else np.dstack([cartoon, photo.alpha])


def _finished(
    drawn: Iterable[tuple[slice, PhotoArray, PhotoArray]], strength: float, alpha: Rows | None
) -> Iterator[tuple[slice, PhotoArray]]:
    """Blend the strips of a photo and its full cartoon; leave what is transparent as it was."""
    for rows, own, cartoon in drawn:
        values = blended(own, cartoon, strength)
        if alpha is not None:
            # Not in place: Pillow's arrays are read-only.
            values = np.where((alpha[rows] == 0)[..., None], own, values)
        yield rows, values


def blended(photo: PhotoArray, cartoon: PhotoArray, strength: float) -> PhotoArray:
    """Blend a part of a photo and its cartoon, alike in shape and type."""
    if strength == 1:
        return cartoon
    values = photo * np.float32(1 - strength) + cartoon * np.float32(strength)
    mixed: PhotoArray = np.rint(values, out=values).astype(photo.dtype)
    return mixed


def _scaled(shape: tuple[int, ...], short: int) -> tuple[int, int]:
    """Return the height and width whose shorter side is `short`, in the proportions of a shape."""
    height, width = (max(1, round(side * short / min(shape[:2]))) for side in shape[:2])
    return height, width


def _is_detailed(photo: PhotoArray | Levels) -> bool:
    """Return whether brightness changes from pixel to pixel in more than a tenth of a photo."""
    # Each fourth pair of rows tells enough; in 256ths, levels are exact.
    above, grey = (
        to_levels(photo[first : len(photo) - 1 + first : 4]) @ np.array([77, 150, 29], np.float32)
        for first in (0, 1)
    )
    steps = np.abs(grey - above)[:, 1:] + np.abs(np.diff(grey, axis=1))
    return bool(10 * np.count_nonzero(steps > DETAIL_STEP) > steps.size)


def _at(
    photo: Rows, size: tuple[int, int], threads: int, resample: Image.Resampling = _HAMMING
) -> Rows:
    return photo if photo.shape[:2] == size else _resized(photo, size, threads, resample)


def _resized(
    photo: Rows, size: tuple[int, int], threads: int = 1, resample: Image.Resampling = _HAMMING
) -> Levels:
    """Bring a photo to `size`, (height, width); one of 16 bits in floats, for smooth levels.

    Reduce first by whole numbers, to not less than one and a half times the size, then go sideways,
    both strip by strip, then downwards: the same as Pillow's resize does with reducing_gap=1.5,
    without a copy of the photo. Hamming's filter is as sharp as the bicubic one when it reduces by
    much, and half the work.
    """
    (height, width), (small_height, small_width) = photo.shape[:2], size
    down, across = (
        max(1, int(large / small / 1.5))
        for large, small in ((height, small_height), (width, small_width))
    )
    step = max(1, 2 * STRIP_PIXELS // width // down) * down
    narrow = np.empty((-(-height // down), small_width, 3), to_levels(photo[:0]).dtype)

    def reduce(strip: tuple[int, PhotoArray]) -> None:
        top, levels = strip[0], to_levels(strip[1])
        first, rows = top // down, -(-len(levels) // down)
        narrow[first : first + rows] = _filtered(
            levels, (small_width, rows), (width / across, rows), resample, (across, down)
        )

    strips = ((top, photo[top : min(top + step, height)]) for top in range(0, height, step))
    deque(shared_map(strips, reduce, threads), maxlen=0)
    small = _filtered(narrow, (small_width, small_height), (small_width, height / down), resample)
    return small if small.dtype == np.uint8 else small.clip(0, 255)


def _filtered(
    levels: Levels,
    size: tuple[int, int],
    kept: tuple[float, float],
    resample: Image.Resampling,
    factors: tuple[int, int] = (1, 1),
) -> Levels:
    """Reduce by whole factors, then bring what is kept, (width, height), to `size`, alike."""
    eight = levels.dtype == np.uint8
    parts = [levels] if eight else [np.ascontiguousarray(levels[..., c]) for c in range(3)]
    images = [Image.fromarray(part) for part in parts]
    if factors != (1, 1):
        images = [image.reduce(factors) for image in images]
    resized = [np.asarray(image.resize(size, resample, box=(0, 0, *kept))) for image in images]
    return resized[0] if eight else np.stack(resized, axis=2)


def load_style(
    name_or_folder: str | Path = DEFAULT_STYLE,
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    single: bool = False,
) -> Style:
    """Load a style, which can be called any number of times.

    Args:
        name_or_folder: name of a style, or its folder.
        engine: as in `open_session`.
        threads: to compute with; None takes all this process may use.
        precision: `auto`, `float32`, `bfloat16` or `int8`, as in `open_session`.
        single: only one picture will be drawn: load nothing that does not pay off for one.
    Raises:
        StyleError: missing or damaged.
        UsageError, MissingExtraError: as in `open_session`.
    """
    folder = find_style(name_or_folder)
    card = read_card(folder)
    model = folder / MODEL
    session = open_session(
        model, engine, threads, card.onnx_sha256, precision=precision, single=single
    )
    if session.takes_knobs != bool(card.knobs):
        has = "takes" if session.takes_knobs else "takes no"
        raise StyleError(f"{model}: {has} knobs, its card names {' '.join(card.knobs) or 'none'}")
    return Style(card, session, single=single)
