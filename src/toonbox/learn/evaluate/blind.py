"""Blind pairs: photos with two cartoons in random order, and the count of judges' answers."""

import hashlib
import io
import json
import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import NormalDist
from string import Template

from PIL import Image, ImageOps

from toonbox.atomic import refuse_existing, write_file
from toonbox.convert.compare import (
    Column,
    FolderColumn,
    draw_row,
    refuse_used_folder,
    sheet,
    thumbnail,
)
from toonbox.errors import AnswersError, StyleError, UsageError
from toonbox.images.picture import open_image
from toonbox.options import MAX_PIXELS
from toonbox.pixels import to_srgb

SIDES = ("left", "right")
SAME = "same"

_logger = logging.getLogger(__name__)


def choose_photos(
    photos: Sequence[Path], contenders: Sequence[Column], limit: int | None, seed: int
) -> list[Path]:
    """Draw photos, in an order of the seed only, of which every folder of pictures has a cartoon.

    Raises StyleError if there are none.
    """
    folders = [contender for contender in contenders if isinstance(contender, FolderColumn)]
    shuffled = list(photos)
    random.Random(seed).shuffle(shuffled)  # before those without pictures are taken out
    usable = [photo for photo in shuffled if all(folder.find(photo) for folder in folders)]
    where = " and ".join(str(folder.folder) for folder in folders)
    if not usable:
        raise StyleError(f"{where}: no pictures of these photos")
    if skipped := len(photos) - len(usable):
        _logger.warning("skipped photos without a picture in %s: %d", where, skipped)
    return usable[:limit]


class Pairs:
    """A folder of pairs with a page for judges, and a key, which they do not get, beside it."""

    def __init__(
        self,
        folder: Path,
        contenders: Sequence[Column],
        height: int = 620,
        seed: int = 0,
        overwrite: bool = False,
    ) -> None:
        """Set up two contenders and a folder for index.html, pictures/ and sheets/.

        Sheets are at most `height` pixels high. Raises UsageError if both contenders have the same
        label, OutputError if the folder is a file or, unless `overwrite`, in use.
        """
        self.labels = [contender.label for contender in contenders]
        if len(set(self.labels)) < 2:
            raise UsageError(f"--blind compares two, not {self.labels[0]} with itself")
        self.key = Path(f"{folder.resolve()}.key.json")
        refuse_used_folder(folder, overwrite)
        if not overwrite:
            refuse_existing(self.key)
        self.folder, self.contenders, self.height = folder, contenders, height
        # Sides depend on the contenders, so that one key does not reveal another.
        self.random = random.Random(json.dumps([seed, *self.labels]))
        self.digest = hashlib.sha256()
        self.pairs: dict[str, dict[str, str]] = {}

    def add(
        self, source: Path, max_pixels: int = MAX_PIXELS, advance: Callable[[], None] = lambda: None
    ) -> None:
        """Add a pair; arguments and errors as in `Comparison.add`."""
        photo, *cartoons = draw_row(source, self.contenders, max_pixels, advance)
        order = self.random.sample((0, 1), 2)
        pictures = _alike([photo, *(cartoons[place] for place in order)], max_pixels)
        number = f"{len(self.pairs) + 1:02d}"
        cells = [thumbnail(data, self.height, max_pixels) for data in pictures]
        drawn = sheet([f"Photo {number}", "Left", "Right"], [cells], self.height)
        for name, data in zip(("photo", *SIDES), pictures, strict=True):
            write_file(self.folder / "pictures" / f"{number}-{name}.jpg", data)
            self.digest.update(data)
        write_file(self.folder / "sheets" / f"{number}.png", drawn)
        sides = dict(zip(SIDES, (self.labels[place] for place in order), strict=True))
        self.pairs[number] = {"photo": source.name, **sides}

    def write(self) -> tuple[Path, Path]:
        """Write the page and the key, remove stale sheets, and return both files."""
        for old in (self.folder / "sheets").glob("*.png"):
            if old.stem not in self.pairs:
                old.unlink()
        # A hash of the pictures, to reject answers about other pairs.
        identity = self.digest.hexdigest()[:16]
        key = {"id": identity, "contenders": self.labels, "pairs": self.pairs}
        text = json.dumps(key, indent=1, ensure_ascii=False) + "\n"
        write_file(self.key, text.encode(errors="backslashreplace"))  # names need not be UTF-8
        template = files("toonbox.learn.evaluate").joinpath("blind.html").read_text("utf-8")
        page = Template(template).substitute(id=identity, pairs=json.dumps(list(self.pairs)))
        page_file = self.folder / "index.html"
        write_file(page_file, page.encode())
        return page_file, self.key


def _alike(pictures: list[bytes], max_pixels: int) -> list[bytes]:
    """Convert three JPEG files to the size of the smallest, sRGB and no metadata."""
    opened = (open_image(io.BytesIO(data), "<pair>", max_pixels) for data in pictures)
    images = [*map(to_srgb, opened)]
    height = min(image.height for image in images)
    width = min(round(image.width * height / image.height) for image in images)
    written = [io.BytesIO() for _ in images]
    for image, buffer in zip(images, written, strict=True):
        # Cropped at the right and bottom: at equal scale the pixels do not change.
        cut = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS, centering=(0, 0))
        cut.save(buffer, "JPEG", quality=95, subsampling=0)
    return [buffer.getvalue() for buffer in written]


@dataclass(frozen=True)
class Key:
    """The contender on each side: `pairs` has "photo", "left" and "right" by number."""

    identity: str
    contenders: list[str]
    pairs: dict[str, dict[str, str]]

    def preferred(self, number: str, answer: str) -> str:
        """Return the contender that an answer prefers, or "same"."""
        return self.pairs[number].get(answer, SAME)


def read_key(file: Path) -> Key:
    """Read a key that `Pairs` wrote; raise AnswersError if the file is not one."""
    try:
        values = json.loads(_read(file))
        key = Key(values["id"], [*values["contenders"]], {**values["pairs"]})
        for pair in key.pairs.values():
            if {pair["left"], pair["right"]} != {*key.contenders} or type(pair["photo"]) is not str:
                raise ValueError
    except (ValueError, KeyError, TypeError):
        raise AnswersError(f"{file}: is not a key written by `toonbox compare --blind`") from None
    return key


def read_answers(file: Path, key: Key) -> dict[str, str]:
    """Read a judge's answers: JSON exported by the page, or lines `NN left|right|same`.

    Remarks may follow on a line; empty lines and lines starting with # are skipped. Raises
    AnswersError if the file cannot be read, is about other pairs, or has an invalid answer.
    """
    text = _read(file)
    if text.lstrip().startswith("{"):
        try:
            values = json.loads(text)
            identity, given = values["id"], list(values["answers"].items())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AnswersError(f"{file}: is not an export of the page of pairs") from None
        if identity != key.identity:
            raise AnswersError(f"{file}: is about other pairs ({identity}, not {key.identity})")
    else:
        lines = [[*line.split(), ""] for line in text.splitlines()]
        given = [(line[0], line[1].lower()) for line in lines if line[0] and line[0][0] != "#"]
    answers: dict[str, str] = {}
    for number, answer in given:
        number = number.zfill(2)
        if number not in key.pairs:
            raise AnswersError(f"{file}: no pair {number}; the key has {len(key.pairs)}")
        if answer not in (*SIDES, SAME):
            raise AnswersError(f"{file}: pair {number}: {answer!r} is not left, right or same")
        if number in answers:
            raise AnswersError(f"{file}: pair {number} is answered twice")
        answers[number] = answer
    if not answers:
        raise AnswersError(f"{file}: has no answers")
    return answers


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise AnswersError(f"{file}: {reason}") from error


def tally(key: Key, judges: Sequence[dict[str, str]]) -> str:
    """Format how often each contender was preferred, with 95 % intervals."""
    count = Counter(key.preferred(*answer) for answers in judges for answer in answers.items())
    decided = sum(count[label] for label in key.contenders)
    width = max(map(len, (*key.contenders, SAME)))
    lines = []
    for label in key.contenders:
        lines.append(f"{label:{width}}  {count[label]:3} of {decided}")
        if decided:
            share, low, high = 100 * count[label] / decided, *wilson(count[label], decided)
            lines[-1] += f"  {share:3.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    lines.append(f"{SAME:{width}}  {count[SAME]:3}")
    if missing := len(key.pairs) * len(judges) - sum(count.values()):
        lines.append(f"{missing} not answered")
    return "\n".join(lines)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share, after Wilson 1927, "Probable inference"."""
    z = NormalDist().inv_cdf(0.975)
    share, weight = successes / trials, z * z / trials
    middle = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return (middle - half) / (1 + weight), (middle + half) / (1 + weight)
