import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from icc_profiles import DISPLAY_P3, rgb_profile
from picture_files import OddError, file_of
from toonbox.convert import cartoonize as module
from toonbox.convert.cartoonize import cartoonize, cartoonize_bytes, cartoonize_file
from toonbox.engine.style import load_style
from toonbox.errors import (
    OutputError,
    PictureError,
    ShapeError,
    StyleError,
    UnexpectedError,
    UsageError,
)
from toonbox.images.picture import decode
from toonbox.options import StyleOptions

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


def test_images_arrays_bytes_and_files_give_the_same_cartoon(style, photo):
    expected = style.stylize(RGB)
    assert np.abs(expected.astype(int) - RGB).max() > 0
    image = cartoonize(Image.fromarray(RGB), style=style)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.array(image), expected)
    array = cartoonize(RGB, style=style)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(style(RGB), expected)
    data = cartoonize_bytes(photo.read_bytes(), style=style)
    np.testing.assert_array_equal(decode(data).rgb, expected)
    target = cartoonize_file(photo, style=style)
    assert target == photo.with_name("photo.toon.png")
    np.testing.assert_array_equal(decode(target).rgb, expected)
    named = cartoonize_file(str(photo), str(photo.with_name("a.webp")), style=style, lossless=True)
    np.testing.assert_array_equal(decode(named).rgb, expected)


def test_style_by_folder_is_loaded_once(folder, style, monkeypatch):
    module._load.cache_clear()
    loads = []
    monkeypatch.setattr(module, "load_style", lambda folder: loads.append(folder) or style)
    for named in (folder, str(folder), folder):
        np.testing.assert_array_equal(cartoonize(RGB, style=named), style(RGB))
    assert loads == [folder.resolve()]
    module._load.cache_clear()


def test_unknown_style():
    with pytest.raises(StyleError, match="no-such-style"):
        cartoonize(RGB, style="no-such-style")


def test_options_reach_the_style(style, tiny_style):
    np.testing.assert_array_equal(cartoonize(RGB, style=style, strength=0.0), RGB)
    native = cartoonize(RGB, style=style, resolution="native")
    expected = style.stylize(RGB, StyleOptions(resolution="native"))
    np.testing.assert_array_equal(native, expected)
    folder = tiny_style("knobbed", knobs=("surface", "structure", "texture"))
    knobs = {"surface": 0.0, "structure": 2.0, "texture": 0.5}
    expected = load_style(folder).stylize(RGB, StyleOptions(**knobs))
    np.testing.assert_array_equal(cartoonize(RGB, style=folder, **knobs), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surface": 1}, "tiny has no knob surface"),
        ({"strength": 1.5}, "strength must be from 0 to 1, got 1.5"),
        ({"resolution": 0}, "resolution must be pixels or 'native', got 0"),
        ({"resolution": "large"}, "resolution must be pixels or 'native', got 'large'"),
        ({"strenght": 0.5}, "no option 'strenght'; available: resolution, strength"),
        ({"format": "png"}, "no option 'format'"),
        ({"strength": None}, "strength cannot be None"),
    ],
)
def test_options_that_cannot_be(options, message, style):
    with pytest.raises(UsageError, match=message):
        cartoonize(RGB, style=style, **options)


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


def test_grey_stays_grey(style):
    grey = RGB[..., 0]
    expected = Image.fromarray(style(np.stack([grey] * 3, axis=-1))).convert("L")
    np.testing.assert_array_equal(cartoonize(grey, style=style), np.array(expected))
    image = cartoonize(Image.fromarray(grey), style=style)
    assert image.mode == "L"
    np.testing.assert_array_equal(np.array(image), np.array(expected))


def test_views_that_are_not_contiguous(style):
    view = RGB[::2, ::-1]
    expected = style(np.ascontiguousarray(view))
    np.testing.assert_array_equal(cartoonize(view, style=style), expected)


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
    with pytest.raises(ShapeError, match="<array>: expected uint8 or uint16 of shape"):
        cartoonize(array, style=style)


@pytest.mark.parametrize("other", [3, "photo.jpg", b"data"])
def test_other_things_are_refused_with_advice(other, style):
    with pytest.raises(TypeError, match="cartoonize_file and cartoonize_bytes take paths"):
        cartoonize(other, style=style)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_bytes_keep_their_format(format, style):
    data = file_of(Image.fromarray(RGB), format)
    assert decode(cartoonize_bytes(data, style=style)).format == format


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_in_other_objects(kind, photo, style):
    data = photo.read_bytes()
    assert cartoonize_bytes(kind(data), style=style) == cartoonize_bytes(data, style=style)


@pytest.mark.parametrize("mode", ["I", "F", "La"])
def test_modes_that_cannot_be_used(mode, style):
    with pytest.raises(PictureError, match=r"32-bit values|conversion from La"):
        cartoonize(Image.new(mode, (8, 8)), style=style)


@pytest.mark.parametrize("size", [(0, 0), (0, 8), (8, 0)])
def test_images_without_pixels(size, style):
    with pytest.raises(PictureError, match=r"<image>: has no pixels"):
        cartoonize(Image.new("RGB", size), style=style)


@pytest.mark.parametrize("source", ["", ".", "/"])
def test_folders_without_a_name(source, style):
    with pytest.raises(PictureError, match="is a folder, not a picture"):
        cartoonize_file(source, style=style)


def test_bytes_of_a_format_that_is_not_written_become_png(style):
    data = file_of(Image.fromarray(RGB), "PCX")
    assert decode(cartoonize_bytes(data, style=style)).format == "PNG"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_limit(photo, style):
    with pytest.raises(PictureError, match="limit of 519 pixels"):
        cartoonize_file(photo, style=style, max_pixels=519)
    assert decode(cartoonize_file(photo, style=style, max_pixels=520)).size == (26, 20)


def test_sixteen_bits_of_alpha_are_exact_and_hidden_colours_stay(style):
    values = np.linspace(8000, 57000, 1500).astype(np.uint16)
    steps = np.arange(1500, dtype=np.uint16) * 43
    bgra = np.tile(np.stack([values, values, values, steps], axis=-1), (70, 1, 1))
    data = cartoonize_bytes(cv2.imencode(".png", bgra)[1].tobytes(), style=style)
    result = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result[..., 3], bgra[..., 3])
    hidden = bgra[..., 3] == 0
    assert hidden.any()
    np.testing.assert_array_equal(result[hidden], bgra[hidden])


def test_bytes_in_another_format(photo, style):
    data = photo.read_bytes()
    assert decode(cartoonize_bytes(data, style=style, format="webp")).format == "WEBP"
    small = cartoonize_bytes(data, style=style, format="jpg", quality=20)
    assert len(small) < len(cartoonize_bytes(data, style=style, format="jpg")) / 1.5
    exact = cartoonize_bytes(data, style=style, format="webp", lossless=True)
    np.testing.assert_array_equal(decode(exact).rgb, style(RGB))
    with pytest.raises(UsageError, match="cannot write heic, only apng avif"):
        cartoonize_bytes(data, style=style, format="heic")


def test_metadata_is_kept_unless_told_otherwise(tmp_path, style):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    path = tmp_path / "photo.jpg"
    Image.fromarray(RGB).save(path, exif=exif, dpi=(300, 300), comment="hello")
    with Image.open(path) as opened:
        cartoon = cartoonize(opened, style=style)
    cartoon.save(tmp_path / "saved.jpg")
    for kept in (cartoon, Image.open(tmp_path / "saved.jpg")):
        assert kept.info["dpi"] == (300, 300)
        assert kept.info["comment"] in ("hello", b"hello")
        assert b"Maker" in kept.info["exif"]
    stripped = cartoonize_bytes(path.read_bytes(), style=style, metadata="strip")
    assert b"Maker" not in stripped
    assert b"hello" not in stripped
    with pytest.raises(UsageError, match="one of keep, strip, no-gps, got 'some'"):
        cartoonize_file(path, style=style, metadata="some")


def test_images_keep_their_profile(tmp_path, style):
    profile = rgb_profile(DISPLAY_P3)
    Image.fromarray(RGB).save(tmp_path / "wide.png", icc_profile=profile)
    with Image.open(tmp_path / "wide.png") as opened:
        assert cartoonize(opened, style=style).info["icc_profile"] == profile


@pytest.mark.parametrize("shape", [(20, 26), (20, 26, 3), (20, 26, 4)])
def test_arrays_of_sixteen_bits(shape, style):
    deep = np.random.default_rng(8).integers(0, 65536, shape, dtype=np.uint16)
    result = style(deep)
    assert (result.shape, result.dtype) == (shape, np.uint16)
    if shape[2:] == (4,):
        np.testing.assert_array_equal(result[..., 3], deep[..., 3])
    assert len(np.unique(result)) > 256, "more than 8 bits can hold"


def test_lossless_bytes_fail_where_the_format_is_lossy(style):
    with pytest.raises(OutputError, match="JPEG is never lossless"):
        cartoonize_bytes(file_of(Image.fromarray(RGB), "JPEG"), style=style, lossless=True)


def test_an_unexpected_error_names_the_picture_and_is_chained(style, monkeypatch):
    def odd(*_, **__):
        raise OddError("odd")

    monkeypatch.setattr("toonbox.convert.job.encode", odd)
    with pytest.raises(UnexpectedError, match="<bytes>: unexpected OddError: odd") as raised:
        cartoonize_bytes(file_of(Image.fromarray(RGB)), style=style)
    assert isinstance(raised.value.__cause__, OddError)


def some(count, height=20):
    """Arrays of widths 26, 27, ..., so that each is known by its shape."""
    random = np.random.default_rng(count)
    return [random.integers(0, 256, (height, 26 + n, 3), dtype=np.uint8) for n in range(count)]


@pytest.mark.parametrize("jobs", [1, 3, None])
@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_map_keeps_the_order(jobs, kind, style):
    arrays = some(7)
    cartoons = list(style.map(kind(arrays), jobs=jobs, strength=0.5))
    for cartoon, array in zip(cartoons, arrays, strict=True):
        np.testing.assert_array_equal(cartoon, style(array, strength=0.5))


def test_map_keeps_each_kind(style):
    image, array = style.map([Image.fromarray(RGB), RGB])
    assert isinstance(image, Image.Image)
    np.testing.assert_array_equal(np.array(image), array)


def test_map_of_nothing(style):
    assert list(style.map([])) == []


def test_map_takes_a_few_ahead(style):
    arrays, taken = some(20), 0

    def counted():
        nonlocal taken
        for array in arrays:
            taken += 1
            yield array

    cartoons = style.map(counted(), jobs=2)
    assert taken == 0
    for given, (cartoon, array) in enumerate(zip(cartoons, arrays, strict=True)):
        np.testing.assert_array_equal(cartoon, style(array))
        assert taken - given <= 2 * 2 + 1
    assert taken == 20


def test_map_may_be_left_early(style):
    before = threading.active_count()
    cartoons = style.map((array for array in some(20)), jobs=2)
    assert next(cartoons).shape == (20, 26, 3)
    cartoons.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.zeros((4, 4)), ShapeError, "<array 3>: expected uint8"),
        (3.5, TypeError, "a picture 3 is a Pillow image or an array, not float"),
        (Image.new("F", (4, 4)), PictureError, "<image 3>: has 32-bit values"),
    ],
)
def test_map_names_the_one_that_fails_after_those_before_it(wrong, error, message, style):
    cartoons = style.map(iter([*some(3), wrong, *some(3)]))
    for width in (26, 27, 28):
        assert next(cartoons).shape == (20, width, 3)
    with pytest.raises(error, match=message):
        next(cartoons)
    with pytest.raises(StopIteration):
        next(cartoons)


def test_jobs_are_at_least_one(style):
    with pytest.raises(UsageError, match="jobs must be at least 1, got 0"):
        style.map([RGB], jobs=0)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_threads_share_a_style(engine, folder):
    pytest.importorskip(engine)
    style = load_style(folder, engine=engine)
    arrays = some(12, height=90)  # larger than the network works at: upsampled too
    expected = [style(array) for array in arrays]
    together = threading.Barrier(8)

    def work(first):
        together.wait(3600)
        return [(n % 12, style(arrays[n % 12])) for n in range(first, first + 12)]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(8)):
            for number, cartoon in results:
                np.testing.assert_array_equal(cartoon, expected[number])
