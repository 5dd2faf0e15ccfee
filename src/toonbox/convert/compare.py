"""Photos beside what styles make of them, one row a photo: as a page and as one picture."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from toonbox.atomic import write_file
from toonbox.engine.style import Style
from toonbox.errors import OutputError, PictureError, StyleError
from toonbox.images.colour import to_srgb
from toonbox.images.encode import encode
from toonbox.images.formats import READ_SUFFIXES
from toonbox.images.picture import Picture, decode
from toonbox.options import MAX_PIXELS, StyleOptions

PHOTO = "photo"  # what the first column is called
GAP = 8  # pixels between the pictures of the sheet
MIN_COLUMN_REM = 12
SHAPE_TOLERANCE = 0.05  # of width over height: networks cut sides to multiples of 8 and more


@dataclass(frozen=True)
class Column:
    """A style, how it draws, and the heading of its pictures."""

    label: str
    style: Style
    options: StyleOptions

    def draw(self, photo: Picture) -> bytes:
        """Cartoonize a photo; return a JPEG file.

        Raises:
            PictureError, StyleError, UsageError, OutputError: as in `Comparison.add`.
        """
        return encode(photo, self.style.draw(photo, self.options), "JPEG")


class Finished:
    """A folder of finished pictures that takes the place of a style."""

    def __init__(self, label: str, folder: Path) -> None:
        """List the pictures directly in a folder.

        Raises:
            StyleError: there are none.
        """
        self.label, self.folder = label, folder
        self.files = sorted(p for p in folder.iterdir() if p.suffix.lower() in READ_SUFFIXES)
        if not self.files:
            raise StyleError(f"{folder} has neither a style nor pictures in it")

    def find(self, photo: Path) -> Path | None:
        """Return the picture of the photo's name, or of that and more after a dot: a.toon.png."""
        same = [file for file in self.files if file.stem == photo.stem]
        longer = [file for file in self.files if file.name.startswith(f"{photo.stem}.")]
        return next(iter(same + longer), None)

    def draw(self, photo: Picture) -> bytes:
        """Read the picture of a photo; return a JPEG file.

        Raises:
            PictureError: there is none, it cannot be read, or its shape is not the photo's.
            OutputError: it is too large for JPEG.
        """
        file = self.find(Path(photo.name))
        if file is None:
            raise PictureError(f"{photo.name}: {self.folder} has no picture of that name")
        picture = decode(file)
        (width, height), (photo_width, photo_height) = picture.size, photo.size
        if abs(math.log(width * photo_height / (height * photo_width))) > SHAPE_TOLERANCE:
            raise PictureError(
                f"{file}: {width} × {height}, not the shape of the photo, "
                f"{photo_width} × {photo_height}"
            )
        return encode(picture, picture.rgb, "JPEG")


@dataclass(frozen=True)
class Row:
    """A photo and its cartoons.

    Attributes:
        title: names the photo.
        files: of the pictures at full size, relative to the page; the photo's first.
        cells: the same pictures, small.
    """

    title: str
    files: list[str]
    cells: list[Image.Image]


class Comparison:
    """A folder in the making: `pictures/` as photos are added, then the page and the sheet."""

    def __init__(
        self,
        folder: Path,
        columns: Sequence[Column | Finished],
        height: int = 360,
        overwrite: bool = False,
    ) -> None:
        """Choose what to compare.

        Args:
            folder: for index.html, comparison.png and pictures/; made if missing.
            columns: at least one.
            height: of a picture in the grid, at most, in pixels; its width is at most half more.
            overwrite: take a folder that is not empty.
        Raises:
            OutputError: the folder is a file, or not empty.
        """
        check_folder(folder, overwrite)
        self.folder, self.columns, self.height = folder, columns, height
        self.page, self.sheet = folder / "index.html", folder / "comparison.png"
        self.rows: list[Row] = []

    def add(
        self,
        source: Path,
        max_pixels: int = MAX_PIXELS,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        """Add a row; a photo that fails leaves nothing behind.

        Args:
            source: the photo.
            max_pixels: the largest width times height that is read.
            advance: called after each cartoon.
        Raises:
            PictureError, StyleError: the photo cannot be read, or a style fails on it.
            UsageError: a column's options cannot be.
            OutputError: a picture is too large for JPEG, or cannot be written.
        """
        photo = decode(source, max_pixels=max_pixels)
        pictures = [encode(photo, photo.rgb, "JPEG")]
        for column in self.columns:
            pictures.append(column.draw(photo))
            advance()
        number = len(self.rows) + 1
        names = [PHOTO, *(f"style-{place}" for place in range(1, len(pictures)))]
        files = [f"pictures/{number}-{name}.jpg" for name in names]
        for file, data in zip(files, pictures, strict=True):
            write_file(self.folder / file, data)
        height, width = photo.rgb.shape[:2]
        title = f"{source.name}, {width} × {height}"
        self.rows.append(Row(title, files, [small(data, self.height) for data in pictures]))

    def write(self) -> tuple[Path, ...]:
        """Write the page and the sheet; return their files.

        Raises:
            OutputError: they cannot be written.
        """
        labels = [PHOTO, *(column.label for column in self.columns)]
        buffer = io.BytesIO()
        sheet(labels, self.rows, self.height).save(buffer, "PNG")
        write_file(self.sheet, buffer.getvalue())
        write_file(self.page, page(labels, self.rows).encode())
        return self.page, self.sheet


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder for output that is in use.

    Raises:
        OutputError: it is a file, or not empty and not to be overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise OutputError(f"{folder} is not empty; --force overwrites what is there")


def small(data: bytes, height: int) -> Image.Image:
    """Reduce a picture file to `height` pixels at most, and half more in width; never enlarge."""
    image = Image.open(io.BytesIO(data))
    image.thumbnail((height * 3 // 2, height), Image.Resampling.LANCZOS)
    return to_srgb(image)


def sheet(labels: Sequence[str], rows: Sequence[Row], height: int) -> Image.Image:
    """Lay all cells out in one picture, labels on top.

    Args:
        labels: one for each column.
        rows: at least one, with as many cells each as there are labels.
        height: of a cell, in pixels; the labels' size follows it.
    """
    font = ImageFont.load_default(max(12, height // 18))
    lines = [" ".join(label.split()) for label in labels]
    widths = [
        max(math.ceil(font.getlength(line)), *(row.cells[place].width for row in rows))
        for place, line in enumerate(lines)
    ]
    heights = [max(cell.height for cell in row.cells) for row in rows]
    top = GAP + math.ceil(font.getbbox("Äg")[3])
    size = (sum(widths) + GAP * (len(widths) + 1), top + sum(heights) + GAP * (len(heights) + 1))
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    x = GAP
    for place, (line, width) in enumerate(zip(lines, widths, strict=True)):
        draw.text((x, GAP), line, "black", font)
        y = top + GAP
        for row, row_height in zip(rows, heights, strict=True):
            image.paste(row.cells[place], (x, y))
            y += row_height + GAP
        x += width + GAP
    return image


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Comparison</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }}
table {{ border-spacing: 8px; table-layout: fixed; width: 100%; min-width: {width}rem; }}
th {{ position: sticky; top: 0; background: Canvas; padding: 8px 0; text-align: left; }}
td {{ vertical-align: top; padding: 0; }}
img {{ display: block; max-width: 100%; height: auto; }}
p {{ margin: 2px 0 12px; opacity: .7; }}
</style>
<table>
<thead><tr>{labels}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</html>
"""


def page(labels: Sequence[str], rows: Sequence[Row]) -> str:
    """Write the page that shows the rows' files; a click opens one at full size."""
    lines = []
    for row in rows:
        cells = [
            f'<td><a href="{file}" target="_blank"><img src="{file}" loading="lazy" '
            f'width="{cell.width}" height="{cell.height}" '
            f'alt="{escape(f"{row.title}: {label}")}"></a>'
            for label, file, cell in zip(labels, row.files, row.cells, strict=True)
        ]
        cells[0] += f"<p>{escape(row.title)}</p>"
        lines.append("<tr>" + "</td>\n".join(cells) + "</td></tr>")
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    width = MIN_COLUMN_REM * len(labels)
    return _PAGE.format(labels=heads, rows="\n".join(lines), width=width)
