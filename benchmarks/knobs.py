"""Show whether a style's knobs do what they say, photo by photo.

Run `python benchmarks/knobs.py --photos DIR`. Each knob is turned from 0 to 2 with the others at 1.
Printed are the means of the three measures at each setting, and on which share of the photos the
knob's own measure always moved the right way; knobs.svg (a plot), knobs.png (a contact sheet) and
knobs.json are written.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from knobs_plot import Numbers, Panel, plot
from toonbox.atomic import replacing
from toonbox.convert.compare import GAP, sheet
from toonbox.engine.style import Style, load_style
from toonbox.errors import ToonboxError, UsageError
from toonbox.learn.evaluate.evaluate import Reader, read_srgb, shrunk
from toonbox.learn.evaluate.measures import (
    MEASURES,
    colour_segments,
    interior_energy,
    outline_contrast,
)
from toonbox.learn.inspect import find_pictures
from toonbox.options import DEFAULT_STYLE
from toonbox.pixels import Uint8Array

ROOT = Path(__file__).parents[1]
SETTINGS = (0.0, 0.5, 1.0, 1.5, 2.0)
DEFAULT = SETTINGS.index(1.0)
TOLERANCE = 0.02  # of the way between the ends that a single step may go back
WANTED = 0.9  # share of photos on which a knob must do what it says
CELL = 300  # height of a picture in the contact sheet, in pixels


@dataclass(frozen=True)
class Aim:
    """What a knob is for: the measure that it moves, and which way."""

    measure: str
    sign: int  # 1: more of the knob raises it; -1: lowers it


AIMS = {
    "surface": Aim("interior_energy", -1),
    "structure": Aim("colour_segments", -1),
    "texture": Aim("outline_contrast", 1),
}


@dataclass(frozen=True)
class Finding:
    """What turning one knob did.

    Attributes:
        measure: that it is to move.
        sign: which way.
        means: over photos, of each measure at each setting.
        strict: share of photos where the measure moves the right way from 0 to 1 and from 1 to 2.
        steady: share where it does over all settings, see `steady_share`.
        values: of the measure, a row for each photo.
    """

    measure: str
    sign: int
    means: dict[str, list[float]]
    strict: float
    steady: float
    values: list[list[float]]


def strict_share(values: Numbers, sign: int) -> float:
    """Give the share of rows that move the right way at both steps between 0, 1 and 2.

    Args:
        values: (photos, settings).
        sign: 1 if they should rise, -1 if they should fall.
    """
    steps = sign * np.diff(values[:, [0, DEFAULT, -1]], axis=1)
    return float((steps > 0).all(axis=1).mean())


def steady_share(values: Numbers, sign: int) -> float:
    """Give the share of rows that end on the right side and hardly ever turn back.

    No step may go the wrong way by more than TOLERANCE of the way between the ends.

    Args:
        values: (photos, settings).
        sign: 1 if they should rise, -1 if they should fall.
    """
    steps = sign * np.diff(values, axis=1)
    gain = steps.sum(axis=1)
    return float(((gain > 0) & (steps.min(axis=1) >= -TOLERANCE * gain)).mean())


def cartoons(style: Style, photo: Uint8Array) -> Iterator[list[Uint8Array]]:
    """Turn each knob through its settings, the others at 1: a list of cartoons for each knob."""
    usual = style(photo, resolution="native")
    for knob in AIMS:
        yield [
            usual if setting == 1 else style(photo, resolution="native", **{knob: setting})
            for setting in SETTINGS
        ]


def measure(photo: Uint8Array, output: Uint8Array) -> list[float]:
    """Take the measures, in the order of AIMS."""
    return [
        interior_energy(photo, output),
        colour_segments(output),
        outline_contrast(photo, output),
    ]


def turn_all(style: Style, files: Sequence[Path], read: Reader) -> tuple[list[Path], Numbers]:
    """Measure every photo at every setting of every knob.

    Returns:
        The photos that could be read, and (photos, knobs, settings, measures).
    """
    used, values = [], []
    for file, rgb in read(files, 1, "Turning knobs"):
        photo = shrunk(rgb, style.card.working_resolution)
        used.append(file)
        values.append([[measure(photo, c) for c in turned] for turned in cartoons(style, photo)])
    return used, np.array(values)


def findings(values: Numbers) -> dict[str, Finding]:
    """Sum up (photos, knobs, settings, measures), by knob."""
    found = {}
    for place, (knob, aim) in enumerate(AIMS.items()):
        own, averages = values[:, place, :, place], values[:, place].mean(axis=0)
        found[knob] = Finding(
            aim.measure,
            aim.sign,
            {other.measure: averages[:, i].tolist() for i, other in enumerate(AIMS.values())},
            strict_share(own, aim.sign),
            steady_share(own, aim.sign),
            own.tolist(),
        )
    return found


def print_finding(knob: str, finding: Finding) -> None:
    way = "raise" if finding.sign > 0 else "lower"
    print(f"\n{knob}, to {way} {finding.measure}")
    print(f"{'':20}" + "".join(f"{setting:>10g}" for setting in SETTINGS))
    for name, means in finding.means.items():
        print(f"{name:20}" + "".join(f"{MEASURES[name].show(mean):>10}" for mean in means))
    enough = "yes" if finding.strict >= WANTED else "NO"
    print(f"monotone over 0, 1, 2: {finding.strict:.1%} of photos; at least {WANTED:.0%}: {enough}")
    print(f"monotone over all settings, within {TOLERANCE:.0%}: {finding.steady:.1%} of photos")


def contact_sheet(style: Style, photo: Uint8Array) -> bytes:
    """Show one photo's cartoons, a row a knob, a column a setting, in a PNG file."""
    rows = []
    for knob, turned in zip(AIMS, cartoons(style, photo), strict=True):
        cells = [Image.fromarray(cartoon) for cartoon in turned]
        for cell in cells:
            cell.thumbnail((CELL * 3 // 2, CELL), Image.Resampling.LANCZOS)
        rows.append([_name(knob, cells[0].height), *cells])
    return sheet(["", *(f"{setting:g}" for setting in SETTINGS)], rows, CELL)


def _name(knob: str, height: int) -> Image.Image:
    """Write a knob's name in a cell of its own."""
    font = ImageFont.load_default(CELL // 18)
    image = Image.new("RGB", (round(font.getlength(knob)) + GAP, height), "white")
    ImageDraw.Draw(image).text((0, height / 2), knob, "black", font, anchor="lm")
    return image


def write(out: Path, style: Style, photos: list[str], found: dict[str, Finding]) -> None:
    """Write the plot and the figures."""
    panels = [
        Panel(knob, finding.measure.replace("_", " "), np.array(finding.values))
        for knob, finding in found.items()
    ]
    card = style.card
    figures = {
        "style": card.name,
        "version": card.version,
        "onnx_sha256": card.onnx_sha256,
        "resolution": card.working_resolution,
        "settings": SETTINGS,
        "knobs": {knob: asdict(finding) for knob, finding in found.items()},
        "photos": photos,
    }
    written = {
        "knobs.svg": plot(panels, SETTINGS, DEFAULT),
        "knobs.json": json.dumps(figures, indent=1) + "\n",
    }
    for name, text in written.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Show whether a style's knobs do what they say.")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--style", default=DEFAULT_STYLE, metavar="NAME|DIR")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "knobs", metavar="DIR")
    parser.add_argument("--limit", type=int, metavar="N", help="use N photos, evenly spread")
    parser.add_argument("--show", type=Path, default=ROOT / "examples" / "laptop.jpg",
                        metavar="FILE", help="photo of the contact sheet")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < 1:
        parser.error("--limit is at least 1")
    return options


def run(options: argparse.Namespace) -> int:
    """Do it all; give the exit code: 1 if photos could not be read."""
    style = load_style(options.style)
    if missing := [knob for knob in AIMS if knob not in style.card.knobs]:
        raise UsageError(f"style {style.card.name} has no knob {', '.join(missing)}")
    files = find_pictures(options.photos)
    count = min(options.limit or len(files), len(files))
    files = [files[place * len(files) // count] for place in range(count)]
    shown = shrunk(read_srgb(options.show), style.card.working_resolution)
    read = Reader()
    used, values = turn_all(style, files, read)
    found = findings(values)
    print(f"{style.card.name} at {style.card.working_resolution} pixels, {len(used)} photos")
    for knob, finding in found.items():
        print_finding(knob, finding)
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out, style, [str(file.relative_to(options.photos)) for file in used], found)
    with replacing(options.out / "knobs.png") as temporary:
        temporary.write_bytes(contact_sheet(style, shown))
    for message in read.failures.values():
        print(f"knobs.py: {message}", file=sys.stderr)
    return 1 if read.failures else 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        return run(options)
    except ToonboxError as error:
        print(f"knobs.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
