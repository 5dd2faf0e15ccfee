import io
import os

import numpy as np
import pytest
from PIL import Image

from toonbox import picture as module
from toonbox.engine.stylize import load_style
from toonbox.errors import OutputError, PictureError, ShapeError, StyleError, UsageError
from toonbox.media.images import decode
from toonbox.picture import cartoonize, cartoonize_file

RGB = np.random.default_rng(5).integers(0, 256, (20, 26, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(6).integers(0, 256, (20, 26), dtype=np.uint8)


@pytest.fixture
def folder(tiny_style, tmp_path_factory):
    return tiny_style(to=tmp_path_factory.mktemp("styles"))


@pytest.fixture
def style(folder):
    return load_style(folder)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(RGB).save(path)
    return path


def test_every_kind_of_picture_gives_the_same_cartoon(style, photo):
    expected = style(RGB)
    assert np.abs(expected.astype(int) - RGB).max() > 0
    from_path = cartoonize(photo, style=style)
    from_name = cartoonize(str(photo), style=style)
    from_bytes = cartoonize(photo.read_bytes(), style=style)
    from_image = cartoonize(Image.fromarray(RGB), style=style)
    from_array = cartoonize(RGB, style=style)
    for image in (from_path, from_name, from_image):
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.array(image), expected)
    assert isinstance(from_bytes, bytes)
    np.testing.assert_array_equal(decode(from_bytes).rgb, expected)
    assert from_array.dtype == np.uint8
    np.testing.assert_array_equal(from_array, expected)


def test_style_by_folder_is_loaded_once(folder, style, monkeypatch):
    module._loaded.cache_clear()
    loads = []
    monkeypatch.setattr(module, "load_style", lambda folder: loads.append(folder) or style)
    for named in (folder, str(folder), folder):
        np.testing.assert_array_equal(cartoonize(RGB, style=named), style(RGB))
    assert loads == [folder.resolve()]
    module._loaded.cache_clear()


def test_unknown_style():
    with pytest.raises(StyleError, match="no-such-style"):
        cartoonize(RGB, style="no-such-style")


def test_strength_and_resolution_reach_the_style(style):
    np.testing.assert_array_equal(cartoonize(RGB, style=style, strength=0.0), RGB)
    native = cartoonize(RGB, style=style, resolution="native")
    np.testing.assert_array_equal(native, style(RGB, resolution="native"))


def test_knobs_reach_the_style(tiny_style, photo, tmp_path, style):
    knobbed = load_style(tiny_style("knobbed", knobs=("surface", "structure", "texture")))
    knobs = {"surface": 0.0, "structure": 2.0, "texture": 0.5}
    expected = knobbed(RGB, **knobs)
    assert np.abs(expected.astype(int) - knobbed(RGB)).max() > 0
    np.testing.assert_array_equal(cartoonize(RGB, style=knobbed, **knobs), expected)
    cartoonize_file(photo, tmp_path / "out.png", knobbed, **knobs)
    np.testing.assert_array_equal(decode(tmp_path / "out.png").rgb, expected)
    with pytest.raises(UsageError, match="tiny has no knob surface"):
        cartoonize(RGB, style=style, surface=1)


def test_alpha_comes_back(style):
    rgba = np.dstack([RGB, ALPHA])
    array = cartoonize(rgba, style=style)
    shown = ALPHA > 0
    assert not shown.all()
    np.testing.assert_array_equal(array[..., :3][shown], style(RGB)[shown])
    np.testing.assert_array_equal(array[..., :3][~shown], RGB[~shown])
    np.testing.assert_array_equal(array[..., 3], ALPHA)
    image = cartoonize(Image.fromarray(rgba), style=style)
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(np.array(image), array)


def test_grey_array_stays_grey(style):
    grey = RGB[..., 0]
    expected = Image.fromarray(style(np.stack([grey] * 3, axis=-1))).convert("L")
    np.testing.assert_array_equal(cartoonize(grey, style=style), np.array(expected))


def test_views_that_are_not_contiguous(style):
    np.testing.assert_array_equal(
        cartoonize(RGB[::2, ::-1], style=style), style(np.ascontiguousarray(RGB[::2, ::-1]))
    )


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_arrays_of_other_shapes_and_types(array, style):
    with pytest.raises(ShapeError, match="expected a uint8 array of shape"):
        cartoonize(array, style=style)


def test_other_things_are_no_pictures(style):
    with pytest.raises(TypeError, match="not <class 'int'>"):
        cartoonize(3, style=style)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_bytes_keep_their_format(format, style):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format)
    assert decode(cartoonize(buffer.getvalue(), style=style)).format == format


def test_bytes_of_a_format_that_is_not_written_become_png(style):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PCX")
    assert decode(cartoonize(buffer.getvalue(), style=style)).format == "PNG"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_limit(photo, style):
    with pytest.raises(PictureError, match="limit of 519 pixels"):
        cartoonize(photo, style=style, max_pixels=519)
    assert cartoonize(photo, style=style, max_pixels=520).size == (26, 20)


def test_from_disk_to_disk(photo, tmp_path, style):
    target = tmp_path / "new" / "folder" / "cartoon.png"
    cartoonize_file(photo, target, style)
    np.testing.assert_array_equal(decode(target).rgb, style(RGB))
    assert [path.name for path in target.parent.iterdir()] == ["cartoon.png"]


@pytest.mark.parametrize(
    ("name", "format"), [("a.jpg", "JPEG"), ("a.WEBP", "WEBP"), ("a", "PNG"), ("a.tif", "TIFF")]
)
def test_target_names_the_format(name, format, photo, tmp_path, style):
    cartoonize_file(photo, tmp_path / name, style)
    assert decode(tmp_path / name).format == format


@pytest.mark.parametrize("size", [(1, 1), (3, 5000)])
def test_odd_sizes(size, tmp_path, style):
    photo = tmp_path / "odd.png"
    Image.new("RGB", size, (90, 120, 30)).save(photo)
    cartoonize_file(photo, tmp_path / "out.png", style)
    assert Image.open(tmp_path / "out.png").size == size


def test_does_not_overwrite_unless_told(photo, tmp_path, style):
    target = tmp_path / "there.png"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"there\.png exists already"):
        cartoonize_file(photo, target, style)
    assert target.read_bytes() == b"mine"
    cartoonize_file(photo, target, style, overwrite=True)
    np.testing.assert_array_equal(decode(target).rgb, style(RGB))


@pytest.mark.parametrize("step", ["replace", "write"])
def test_full_disk_leaves_everything_as_it_was(step, photo, tmp_path, style, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    if step == "replace":
        monkeypatch.setattr(os, "replace", full)
    else:
        monkeypatch.setattr(type(target), "write_bytes", full)
    with pytest.raises(OutputError, match=r"out\.png cannot be written: No space left"):
        cartoonize_file(photo, target, style, overwrite=True)
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "photo.png"]


def test_a_folder_that_cannot_be(photo, style):
    with pytest.raises(OutputError, match="cannot be written"):
        cartoonize_file(photo, photo / "inside" / "out.png", style)


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_nothing_is_written_when_the_network_stops(error, photo, tmp_path):
    def stops(*_, **__):
        raise error

    with pytest.raises(type(error)):
        cartoonize_file(photo, tmp_path / "out.png", stops)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_failure_while_encoding_writes_nothing(tmp_path, style):
    photo = tmp_path / "wide.png"
    Image.new("RGB", (17_000, 1)).save(photo)
    with pytest.raises(OutputError, match=r"wide\.png: cannot be written as WEBP"):
        cartoonize_file(photo, tmp_path / "out.webp", style, strength=0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.png"]


def test_too_much_for_the_memory(photo, tmp_path):
    def greedy(*_, **__):
        raise MemoryError

    with pytest.raises(PictureError, match=r"photo\.png: needs more memory"):
        cartoonize_file(photo, tmp_path / "out.png", greedy)
