"""Damage real picture files at random, and see that reading and writing them ends well.

Run `python tests/fuzz_decode.py --count 20000 --seed 1`. Each damaged file, which follows from seed
and number alone, is decoded in another process, and written again if it is still a picture. That
has to end in a picture or a ToonboxError, in time, and within the memory that process may have.
Everything else is reported, and kept with --keep DIR: other exceptions, crashes and hangs.
"""

import argparse
import io
import logging
import multiprocessing as mp
import os
import random
import resource
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageDraw

from tiff_files import tiff
from toonbox.errors import ToonboxError
from toonbox.images.encode import encode
from toonbox.images.formats import SUFFIXES
from toonbox.images.picture import decode

EXAMPLES = Path(__file__).parents[1] / "examples"
MAX_PIXELS = 4_000_000
MEMORY = 3 << 30  # address space, of which the libraries alone take a good part
SECONDS = 20  # without a sign of life is a hang; machines are busy at times
NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@cache
def corpus() -> list[bytes]:
    """Make small files of every format and many kinds of pixels from the examples, with metadata.

    They follow from the examples alone, so that every process has the same.
    """
    photos = [Image.open(file).convert("RGB") for file in sorted(EXAMPLES.glob("*.jpg"))]
    small = [photo.resize((96, 64)) for photo in photos]
    photo, other = small[0], small[1]
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x0132] = "Maker", 6, "2026:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x829A] = 0.01
    exif.get_ifd(0x8825)[2] = (52.0, 30.0, 1.5)
    told: dict[str, Any] = {
        "exif": exif,
        "xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>',
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "dpi": (300, 300),
        "comment": b"hello",
    }
    alpha = photo.copy()
    alpha.putalpha(other.convert("L"))
    deep = photo.convert("I").point(lambda v: v * 257).convert("I;16")
    palette, line = photo.quantize(40), photo.convert("1")
    frames: dict[str, Any] = {"save_all": True, "append_images": [other]}
    wanted = [
        (photo, "JPEG", told),
        (photo, "JPEG", {"progressive": True, "quality": 60}),
        (photo.convert("L"), "JPEG", told),
        (photo.convert("CMYK"), "JPEG", {}),
        (photo, "MPO", frames),
        (photo, "PNG", told),
        (alpha, "PNG", {}),
        (deep, "PNG", {}),
        (palette, "PNG", {"transparency": 3}),
        (line, "PNG", {}),
        (photo, "PNG", frames),
        (photo, "WEBP", told),
        (alpha, "WEBP", {"lossless": True}),
        (photo, "WEBP", frames),
        (photo, "AVIF", told),
        (alpha, "AVIF", {}),
        (photo, "TIFF", {**told, "comment": None}),
        (alpha, "TIFF", {"compression": "tiff_lzw"}),
        (photo, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (photo, "TIFF", {"compression": "jpeg"}),
        (line, "TIFF", {"compression": "group4"}),
        (deep, "TIFF", {}),
        (photo.convert("CMYK"), "TIFF", {}),
        (photo, "TIFF", frames),
        (palette, "GIF", {"comment": b"hello"}),
        (palette, "GIF", frames),
        (photo, "BMP", {"dpi": (300, 300)}),
        (palette, "BMP", {}),
        (photo, "PPM", {}),
        (deep, "PPM", {}),
        (line, "PPM", {}),
    ]
    return [_file(*one) for one in wanted] + _tiffs(alpha) + _heic(photo) + [_real(photos[2])]


def _file(image: Image.Image, format: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    # Copies: saving leaves marks on an image that upset the next format.
    if "append_images" in options:
        options = {**options, "append_images": [one.copy() for one in options["append_images"]]}
    image.copy().save(buffer, format, **options)
    return buffer.getvalue()


def _tiffs(image: Image.Image) -> list[bytes]:
    """Give those that Pillow does not read."""
    eight = np.asarray(image)
    deep, floats = eight.astype(np.uint16) * 257, (eight / np.float32(255)).astype(np.float32)
    return [
        tiff(deep, ">", planar=True, tags={338: [1]}),
        tiff(deep[..., :3], predictor=2, deflate=True),
        tiff(floats[..., :3], predictor=3, deflate=True),
        tiff(deep[..., :3], tags={262: [8]}),
    ]


def _heic(image: Image.Image) -> list[bytes]:
    try:
        import pillow_heif
    except ModuleNotFoundError:
        return []
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer)
    return [buffer.getvalue()]


def _real(photo: Image.Image) -> bytes:
    """Give a larger file, of more than one block of everything."""
    image = photo.resize((400, 300))
    ImageDraw.Draw(image).text((10, 10), "toonbox")
    return _file(image, "JPEG", {"restart_marker_rows": 1})


def damaged(seed: int, number: int) -> bytes:
    """Make one damaged picture."""
    return mutated(corpus(), seed, number)


def mutated(files: Sequence[bytes], seed: int, number: int) -> bytes:
    """Damage one of several files."""
    chance = random.Random(f"{seed}/{number}")
    data = bytearray(files[number % len(files)])
    ways: list[Callable[[bytearray, random.Random], None]] = [
        cut, flip, flip, put_number, put_number, put_number, swap, repeat, leave_out,
        partial(splice, files),
    ]  # fmt: skip
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        chance.choice(ways)(data, chance)
    if chance.random() < 0.7:
        mend_checksums(data)
    return bytes(data)


def place(data: bytearray, chance: random.Random) -> int:
    """Choose a place; the first bytes, where headers are, more often than others."""
    end = chance.choice((32, 256, 1024, len(data), len(data)))
    return chance.randrange(max(1, min(end, len(data))))


def cut(data: bytearray, chance: random.Random) -> None:
    del data[place(data, chance) :]


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 4, 30))):
        if data:
            data[place(data, chance)] ^= 1 << chance.randrange(8)


def put_number(data: bytearray, chance: random.Random) -> None:
    """Write a number of the kind that lengths and sizes are."""
    size, start = chance.choice((1, 2, 4)), place(data, chance)
    number = chance.choice((*NUMBERS, len(data), chance.getrandbits(32))) % (1 << 8 * size)
    data[start : start + size] = number.to_bytes(size, chance.choice(("big", "little")))


def block(data: bytearray, chance: random.Random) -> slice:
    start = place(data, chance)
    return slice(start, start + chance.choice((1, 2, 4, 12, 64, 500)))


def swap(data: bytearray, chance: random.Random) -> None:
    one, other = block(data, chance), place(data, chance)
    taken = data[one]
    data[one] = data[other : other + len(taken)]
    data[other : other + len(taken)] = taken


def repeat(data: bytearray, chance: random.Random) -> None:
    taken = data[block(data, chance)]
    start = place(data, chance)
    data[start:start] = taken * chance.choice((1, 1, 2, 50))


def leave_out(data: bytearray, chance: random.Random) -> None:
    del data[block(data, chance)]


def splice(files: Sequence[bytes], data: bytearray, chance: random.Random) -> None:
    """Put a piece of another file in, such as its metadata."""
    other = bytearray(chance.choice(files))
    data[block(data, chance)] = other[block(other, chance)]


def mend_checksums(data: bytearray) -> None:
    """Make the checksums of a PNG right again, or what is damaged is hardly ever looked at."""
    start = 8 if data.startswith(b"\x89PNG\r\n\x1a\n") else len(data)
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4])
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[start + 4 : end]).to_bytes(4)
        start = end + 4


def read_and_write(data: bytes) -> str:
    """Do what is done with every picture but for the network; tell how it ended."""
    try:
        picture = decode(data, max_pixels=MAX_PIXELS)
    except ToonboxError:
        return "refused"
    metadata = picture.metadata.kept("no-gps")
    assert metadata.kept("keep") is metadata
    for format in {picture.format, *list(SUFFIXES.values())[len(data) % 8 :: 8]}:
        try:
            encode(picture, picture.rgb, format)
        except ToonboxError:
            return "not written"
    return "read"


class Kind(NamedTuple):
    """What is damaged: how to make a file from seed and number, how to try it, within what time."""

    damaged: Callable[[int, int], bytes]
    tried: Callable[[bytes], str]
    seconds: int


def pictures() -> Kind:
    """Describe what this script damages."""
    return Kind(damaged, read_and_write, SECONDS)


def work(seed: int, first: int, stop: int, step: int, pipe: Connection, kind: Kind) -> None:
    """Take damaged files one after the other; tell before each, and what became of it."""
    warnings.simplefilter("ignore")
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where libraries written in C complain
    kind.damaged(seed, first)  # it makes what is damaged, for which it may take all memory
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(first, stop, step):
        pipe.send((number, None))
        try:
            ending = kind.tried(kind.damaged(seed, number))
        except Exception:  # noqa: BLE001 (any of them is a finding)
            ending = traceback.format_exc()
        pipe.send((number, ending))
    pipe.send((stop, None))


def watched(
    seed: int, first: int, stop: int, step: int, kind: Kind | None = None
) -> Iterator[tuple[int, str]]:
    """Do the same in another process, and in one more after each that crashes or hangs."""
    kind = kind or pictures()
    while first < stop:
        ours, theirs = mp.Pipe(duplex=False)
        process = mp.Process(target=work, args=(seed, first, stop, step, theirs, kind))
        process.start()
        theirs.close()
        try:
            while ours.poll(kind.seconds):
                first, ending = ours.recv()
                if ending is not None:
                    yield first, ending
                elif first == stop:
                    break
            else:
                yield first, f"hang: nothing for {kind.seconds} s"
                first += step
        except EOFError:
            process.join()
            yield first, f"crash: exit code {process.exitcode}"
            first += step
        finally:
            process.kill()
            process.join()


def main(kind: Kind, description: str, count: int) -> None:
    """Read the command line, try damaged files, and report what ends badly."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for files that end badly")
    options = parser.parse_args()
    mp.set_start_method("spawn")
    endings: Counter[str] = Counter()
    began = time.monotonic()
    for number, ending in watched(options.seed, 0, options.count, 1, kind):
        good = ending in ("read", "refused", "not written")
        endings[ending if good else "BAD"] += 1
        if not good:
            print(f"{options.seed}/{number}: {ending}", flush=True)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                data = kind.damaged(options.seed, number)
                (options.keep / f"{options.seed}-{number}").write_bytes(data)
    told = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
    print(f"{sum(endings.values())} files in {time.monotonic() - began:.0f} s: {told}")
    sys.exit(1 if endings["BAD"] else 0)


if __name__ == "__main__":
    main(pictures(), "Damage pictures at random and read them.", 20_000)
