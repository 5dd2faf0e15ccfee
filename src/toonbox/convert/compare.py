"""Photos beside their cartoons, one row a photo and one column a style: a page and a sheet."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from PIL import Image, ImageDraw, ImageFont

from toonbox.atomic import exists, is_dir, write_file
from toonbox.engine.style import Style
from toonbox.errors import OutputError, PictureError, StyleError
from toonbox.images.encode import encode
from toonbox.images.formats import READ_SUFFIXES
from toonbox.images.picture import Picture, decode, open_image
from toonbox.options import MAX_PIXELS, StyleOptions
from toonbox.pixels import to_srgb

PHOTO = "photo"  # label of the first column
GAP = 8  # pixels between the pictures of the sheet
MIN_COLUMN_REM = 12
SHAPE_TOLERANCE = 0.05  # of width over height: networks cut sides to multiples of 8 and more


@dataclass(frozen=True)
class StyleColumn:
    """A style with its settings, and the label of its column."""

    label: str
    style: Style
    options: StyleOptions

    def draw(self, photo: Picture) -> bytes:
        """Cartoonize a photo; return a JPEG file; errors as in `draw_row`."""
        return encode(photo, self.style.draw(photo, self.options), "JPEG")


class FolderColumn:
    """A folder of finished pictures in place of a style."""

    def __init__(self, label: str, folder: Path, max_pixels: int = MAX_PIXELS) -> None:
        """List the pictures directly in a folder; raise StyleError if there are none."""
        self.label, self.folder, self.max_pixels = label, folder, max_pixels
        self.files = sorted(p for p in folder.iterdir() if p.suffix.lower() in READ_SUFFIXES)
        if not self.files:
            raise StyleError(f"{folder} has neither a style nor pictures in it")

    def find(self, photo: Path) -> Path | None:
        """Return the picture of the photo's name, or else of that with `.toon`: a.toon.png."""
        names = photo.stem, photo.name, f"{photo.stem}.toon", f"{photo.name}.toon"
        named = (file for name in names for file in self.files if file.stem == name)
        return next(named, None)

    def draw(self, photo: Picture) -> bytes:
        """Read the picture of a photo, which must have its shape; otherwise as a style's column."""
        file = self.find(Path(photo.name))
        if file is None:
            raise PictureError(f"{photo.name}: {self.folder} has no picture of that name")
        picture = decode(file, max_pixels=self.max_pixels)
        (width, height), (photo_width, photo_height) = picture.size, photo.size
        if abs(math.log(width * photo_height / (height * photo_width))) > SHAPE_TOLERANCE:
            raise PictureError(
                f"{file}: {width} × {height}, not the shape of the photo, "
                f"{photo_width} × {photo_height}"
            )
        return encode(picture, picture.rgb, "JPEG")


Column = StyleColumn | FolderColumn


def draw_row(
    source: Path,
    columns: Sequence[Column],
    max_pixels: int = MAX_PIXELS,
    advance: Callable[[], None] = lambda: None,
) -> list[bytes]:
    """Draw a photo in every column, calling `advance` after each; return JPEGs, the photo's first.

    Raises:
        PictureError, StyleError: the photo or its cartoon cannot be read, or a style fails on it.
        UsageError: a column's settings are invalid.
        OutputError: a picture is too large for JPEG.
    """
    photo = decode(source, max_pixels=max_pixels)
    pictures = [encode(photo, photo.rgb, "JPEG")]
    for column in columns:
        pictures.append(column.draw(photo))
        advance()
    return pictures


@dataclass(frozen=True)
class Row:
    """A photo and its cartoons, by title, files relative to the page, and small pictures."""

    title: str
    files: list[str]
    cells: list[Image.Image]


class Comparison:
    """A folder to which photos are added, and then a page and a sheet that show them all."""

    def __init__(
        self, folder: Path, columns: Sequence[Column], height: int = 360, overwrite: bool = False
    ) -> None:
        """Choose one column or more, and a folder for index.html, comparison.png and pictures/.

        Args:
            height: of a picture in the sheet, at most, in pixels; its width is at most half more.
        Raises:
            OutputError: the folder is a file; or it is not empty, and not to be overwritten.
        """
        refuse_used_folder(folder, overwrite)
        self.folder, self.columns, self.height = folder, columns, height
        self.rows: list[Row] = []

    def add(
        self, source: Path, max_pixels: int = MAX_PIXELS, advance: Callable[[], None] = lambda: None
    ) -> None:
        """Add a row; a photo that fails leaves nothing behind.

        Arguments and errors are those of `draw_row`; OutputError too if it cannot be written.
        """
        pictures = draw_row(source, self.columns, max_pixels, advance)
        number = len(self.rows) + 1
        names = [PHOTO, *(f"style-{place}" for place in range(1, len(pictures)))]
        files = [f"pictures/{number}-{name}.jpg" for name in names]
        cells = [thumbnail(data, self.height, max_pixels) for data in pictures]
        for file, data in zip(files, pictures, strict=True):
            write_file(self.folder / file, data)
        width, height = open_image(io.BytesIO(pictures[0]), source.name, max_pixels).size
        self.rows.append(Row(f"{source.name}, {width} × {height}", files, cells))

    def write(self) -> tuple[Path, Path]:
        """Write the page and the sheet; return their files; raise OutputError if that fails."""
        page_file, sheet_file = self.folder / "index.html", self.folder / "comparison.png"
        labels = [PHOTO, *(column.label for column in self.columns)]
        write_file(sheet_file, sheet(labels, [row.cells for row in self.rows], self.height))
        text = page(labels, self.rows)
        write_file(page_file, text.encode(errors="backslashreplace"))  # names need not be UTF-8
        return page_file, sheet_file


def refuse_used_folder(folder: Path, overwrite: bool) -> None:
    """Raise OutputError if a folder for output is a file, or in use and not to be overwritten."""
    if exists(folder) and not is_dir(folder):
        raise OutputError(f"{folder} is a file, not a folder")
    if exists(folder) and any(folder.iterdir()) and not overwrite:
        raise OutputError(f"{folder} is not empty; --force overwrites what is there")


def thumbnail(data: bytes, height: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reduce a picture file to `height` pixels at most, and half more in width; never enlarge."""
    image = open_image(io.BytesIO(data), "<thumbnail>", max_pixels)
    image.thumbnail((height * 3 // 2, height), Image.Resampling.LANCZOS)
    return to_srgb(image)


def sheet(labels: Sequence[str], rows: Sequence[Sequence[Image.Image]], height: int) -> bytes:
    """Lay all cells, `height` pixels high at most, out in one picture under their labels: PNG."""
    font = ImageFont.load_default(max(12, height // 18))
    lines = [" ".join(label.split()) for label in labels]
    widths = [
        max(math.ceil(font.getlength(line)), *(cell.width for cell in column))
        for line, column in zip(lines, zip(*rows, strict=True), strict=True)
    ]
    heights = [max(cell.height for cell in row) for row in rows]
    top = GAP + math.ceil(font.getbbox("Äg")[3])
    size = (sum(widths) + GAP * (len(widths) + 1), top + sum(heights) + GAP * (len(heights) + 1))
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    x = GAP
    for line, width, column in zip(lines, widths, zip(*rows, strict=True), strict=True):
        draw.text((x, GAP), line, "black", font)
        y = top + GAP
        for cell, row_height in zip(column, heights, strict=True):
            image.paste(cell, (x, y))
            y += row_height + GAP
        x += width + GAP
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


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
    template = resources.files("toonbox.convert").joinpath("compare.html").read_text("utf-8")
    width = MIN_COLUMN_REM * len(labels)
    return Template(template).substitute(labels=heads, rows="\n".join(lines), width=width)
