import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from toonbox.convert.compare import GAP, Comparison, Row, StyleColumn, page, sheet, thumbnail
from toonbox.engine.style import load_style
from toonbox.errors import OutputError, PictureError, StyleError
from toonbox.images.picture import decode
from toonbox.options import StyleOptions


def waves(path, size=(60, 40)):
    """Save smooth colours, which JPEG hardly changes."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    rgb = np.stack([127 + 90 * np.sin(x / 15), 127 + 90 * np.cos(y / 11), 2 * x + y], axis=2)
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def columns(tiny_style):
    style = load_style(tiny_style(seed=1), engine="onnxruntime", threads=1)
    return [
        StyleColumn("whole", style, StyleOptions()),
        StyleColumn("half", style, StyleOptions(strength=0.5)),
    ]


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_row_for_each_photo_a_picture_for_each_column(columns, tmp_path):
    comparison = Comparison(tmp_path / "new" / "out", columns, height=20)
    steps = []
    for source in (waves(tmp_path / "a.png"), waves(tmp_path / "b.png", (30, 50))):
        comparison.add(source, advance=lambda: steps.append(1))
    page_file, sheet_file = comparison.write()
    assert len(steps) == 4
    pictures = [f"pictures/{row}-{name}.jpg" for row in (1, 2)
                for name in ("photo", "style-1", "style-2")]  # fmt: skip
    assert names(comparison.folder) == sorted(
        ["comparison.png", "index.html", "pictures", *pictures]
    )
    for row, name in enumerate(("a.png", "b.png"), 1):
        rgb = decode(tmp_path / name).rgb
        expected = [rgb, columns[0].style(rgb), columns[1].style(rgb, strength=0.5)]
        for file, picture in zip(comparison.rows[row - 1].files, expected, strict=True):
            found = decode(comparison.folder / file)
            assert found.format == "JPEG"
            assert np.abs(found.rgb.astype(int) - picture).mean() < 3
    assert [row.title for row in comparison.rows] == ["a.png, 60 × 40", "b.png, 30 × 50"]
    labels = ["photo", "whole", "half"]
    assert sheet_file.read_bytes() == sheet(labels, [row.cells for row in comparison.rows], 20)
    assert page_file.read_text(encoding="utf-8") == page(labels, comparison.rows)


def test_transparent_photos_get_a_white_ground(columns, tmp_path):
    Image.new("RGBA", (40, 40), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    comparison = Comparison(tmp_path / "out", columns)
    comparison.add(tmp_path / "clear.png")
    for cell in comparison.rows[0].cells:
        assert np.asarray(cell).min() > 250


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("step", ["read", "style", "limit"])
def test_a_photo_that_fails_leaves_nothing(step, columns, tmp_path, monkeypatch):
    source = waves(tmp_path / "a.png")
    max_pixels = 2399 if step == "limit" else 2400
    if step == "read":
        source.write_text("no picture")
    if step == "style":
        monkeypatch.setattr(columns[0].style.session, "run", lambda *_: np.zeros((1, 3, 8, 8)))
    comparison = Comparison(tmp_path / "out", columns)
    with pytest.raises((PictureError, StyleError)):
        comparison.add(source, max_pixels)
    assert comparison.rows == []
    assert not comparison.folder.exists()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_photos_may_be_larger_than_pillow_would_open(columns, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    comparison = Comparison(tmp_path / "out", columns)
    comparison.add(waves(tmp_path / "a.png"), 2400)
    assert [row.title for row in comparison.rows] == ["a.png, 60 × 40"]


def test_a_folder_in_use_is_taken_only_if_told(columns, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    Comparison(folder, columns)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="out is not empty; --force"):
        Comparison(folder, columns)
    Comparison(folder, columns, overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        Comparison(folder / "mine.txt", columns, overwrite=True)


def jpeg(size):
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 400), (100, 100)),
        ((150, 300), (50, 100)),
        ((600, 300), (150, 75)),
        ((30, 20), (30, 20)),
        ((3000, 1), (150, 1)),
    ],
)
def test_a_thumbnail_fits_its_cell_and_is_never_enlarged(size, expected):
    assert thumbnail(jpeg(size), 100).size == expected


def test_the_sheet_has_every_cell_in_its_place_under_its_label():
    red, blue, green, black = (
        Image.new("RGB", size, colour)
        for size, colour in [((90, 60), "red"), ((90, 60), "blue"),
                             ((40, 80), "green"), ((40, 80), "black")]
    )  # fmt: skip
    long = "a label that is far wider than any of the cells below it\nin two lines"
    data = sheet(["photo", long], [[red, blue], [green, black]], 80)
    drawn = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    left = GAP, GAP + 90 + GAP
    top = drawn.shape[0] - 80 - 60 - 2 * GAP, drawn.shape[0] - 80 - GAP
    for cell, y, x in ((red, top[0], left[0]), (blue, top[0], left[1]),
                       (green, top[1], left[0]), (black, top[1], left[1])):  # fmt: skip
        place = np.s_[y : y + cell.height, x : x + cell.width]
        np.testing.assert_array_equal(drawn[place], np.asarray(cell))
        drawn[place] = 255
    ink = (drawn < 128).all(axis=2)
    assert not ink[top[0] :].any()
    assert (drawn[top[0] :] == 255).all()
    assert ink[: top[0], left[0] : left[1] - GAP].any()
    # The second label is drawn whole: ink to near the right end, nothing on the margin.
    assert ink[: top[0], -4 * GAP : -GAP].any()
    assert not ink[:, -GAP:].any()
    assert drawn.shape[1] > left[1] + 200


class Seen(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_shows_and_links_every_file_with_its_names_escaped():
    cells = [Image.new("RGB", (9, 6))] * 2
    rows = [
        Row('<b>"1"</b> & {x}', ["1.jpg", "2.jpg"], cells),
        Row("two", ["3.jpg", "4.jpg"], cells),
    ]
    seen = Seen(page(["photo", "a<i>:x=1"], rows))
    assert [values["href"] for tag, values in seen.tags if tag == "a"] == [
        "1.jpg", "2.jpg", "3.jpg", "4.jpg",
    ]  # fmt: skip
    images = [values for tag, values in seen.tags if tag == "img"]
    assert [image["src"] for image in images] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert {(image["width"], image["height"]) for image in images} == {("9", "6")}
    assert images[1]["alt"] == '<b>"1"</b> & {x}: a<i>:x=1'
    assert {'<b>"1"</b> & {x}', "two", "photo", "a<i>:x=1"} <= set(seen.texts)
    assert not {"b", "i", "script", "link"} & {tag for tag, _ in seen.tags}
    counted = [sum(tag == name for tag, _ in seen.tags) for name in ("tr", "th", "td")]
    assert counted == [3, 2, 4]
