import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from icc_profiles import DISPLAY_P3, rgb_profile
from picture_files import OddError, file_of
from toonbox.convert import cartoonize as module
from toonbox.convert.cartoonize import cartoonize, load_style
from toonbox.engine import stylize
from toonbox.errors import (
    OutputError,
    PictureError,
    ShapeError,
    StyleError,
    UnexpectedError,
    UsageError,
)
from toonbox.images import encode as encoding
from toonbox.images.picture import decode

RGB = np.random.default_rng(5).integers(0, 256, (20, 26, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(6).integers(0, 256, (20, 26), dtype=np.uint8)


@pytest.fixture
def folder(tiny_style, tmp_path_factory):
    return tiny_style(to=tmp_path_factory.mktemp("styles"))


@pytest.fixture
def network(folder):
    """Arrays of three channels only: what the tests compare with."""
    return stylize.load_style(folder)


@pytest.fixture
def style(folder):
    return load_style(folder)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(RGB).save(path)
    return path


def test_every_kind_of_picture_gives_the_same_cartoon(style, network, photo):
    expected = network(RGB)
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


def test_style_by_folder_is_loaded_once(folder, network, monkeypatch):
    module._loaded.cache_clear()
    loads = []
    monkeypatch.setattr(stylize, "load_style", lambda folder: loads.append(folder) or network)
    for named in (folder, str(folder), folder):
        np.testing.assert_array_equal(cartoonize(RGB, style=named), network(RGB))
    assert loads == [folder.resolve()]
    module._loaded.cache_clear()


def test_unknown_style():
    with pytest.raises(StyleError, match="no-such-style"):
        cartoonize(RGB, style="no-such-style")


def test_strength_and_resolution_reach_the_style(style, network):
    np.testing.assert_array_equal(cartoonize(RGB, style=style, strength=0.0), RGB)
    native = cartoonize(RGB, style=style, resolution="native")
    np.testing.assert_array_equal(native, network(RGB, resolution="native"))


def test_alpha_comes_back(style, network):
    rgba = np.dstack([RGB, ALPHA])
    array = cartoonize(rgba, style=style)
    shown = ALPHA > 0
    assert not shown.all()
    np.testing.assert_array_equal(array[..., :3][shown], network(RGB)[shown])
    np.testing.assert_array_equal(array[..., :3][~shown], RGB[~shown])
    np.testing.assert_array_equal(array[..., 3], ALPHA)
    image = cartoonize(Image.fromarray(rgba), style=style)
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(np.array(image), array)


def test_grey_array_stays_grey(style, network):
    grey = RGB[..., 0]
    expected = Image.fromarray(network(np.stack([grey] * 3, axis=-1))).convert("L")
    np.testing.assert_array_equal(cartoonize(grey, style=style), np.array(expected))


def test_views_that_are_not_contiguous(style, network):
    np.testing.assert_array_equal(
        cartoonize(RGB[::2, ::-1], style=style), network(np.ascontiguousarray(RGB[::2, ::-1]))
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
    with pytest.raises(ShapeError, match="<array>: expected uint8 or uint16 of shape"):
        cartoonize(array, style=style)


def test_other_things_are_no_pictures(style):
    with pytest.raises(TypeError, match="not <class 'int'>"):
        cartoonize(3, style=style)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_bytes_keep_their_format(format, style):
    data = file_of(Image.fromarray(RGB), format)
    assert decode(cartoonize(data, style=style)).format == format


def test_bytes_of_a_format_that_is_not_written_become_png(style):
    data = file_of(Image.fromarray(RGB), "PCX")
    assert decode(cartoonize(data, style=style)).format == "PNG"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_limit(photo, style):
    with pytest.raises(PictureError, match="limit of 519 pixels"):
        cartoonize(photo, style=style, max_pixels=519)
    assert cartoonize(photo, style=style, max_pixels=520).size == (26, 20)


def test_sixteen_bits_of_alpha_are_exact_and_hidden_colours_stay(style):
    values = np.linspace(8000, 57000, 1500).astype(np.uint16)
    steps = np.arange(1500, dtype=np.uint16) * 43
    bgra = np.tile(np.stack([values, values, values, steps], axis=-1), (70, 1, 1))
    data = cartoonize(cv2.imencode(".png", bgra)[1].tobytes(), style=style)
    result = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result[..., 3], bgra[..., 3])
    hidden = bgra[..., 3] == 0
    assert hidden.any()
    np.testing.assert_array_equal(result[hidden], bgra[hidden])


def test_bytes_in_another_format(photo, style):
    data = photo.read_bytes()
    assert decode(cartoonize(data, style=style, format="webp")).format == "WEBP"
    small = cartoonize(data, style=style, format="jpg", quality=20)
    assert len(small) < len(cartoonize(data, style=style, format="jpg")) / 1.5
    exact = cartoonize(data, style=style, format="webp", lossless=True)
    np.testing.assert_array_equal(decode(exact).rgb, cartoonize(RGB, style=style))
    with pytest.raises(UsageError, match="cannot write heic, only avif"):
        cartoonize(data, style=style, format="heic")


def test_how_to_write_is_for_bytes(style):
    for options in ({"format": "png"}, {"quality": 3}, {"lossless": True}):
        with pytest.raises(UsageError, match="are for bytes"):
            cartoonize(RGB, style=style, **options)


def test_images_and_bytes_without_metadata(tmp_path, style):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    path = tmp_path / "photo.jpg"
    Image.fromarray(RGB).save(path, exif=exif, dpi=(300, 300), comment="hello")
    kept = cartoonize(path, style=style).info
    assert kept["dpi"] == (300, 300)
    assert kept["comment"] == "hello"
    assert b"Maker" in kept["exif"]
    assert cartoonize(path, style=style, metadata="strip").info == {}
    stripped = cartoonize(path.read_bytes(), style=style, metadata="strip")
    assert b"Maker" not in stripped
    assert b"hello" not in stripped
    with pytest.raises(UsageError, match="keep, strip or no-gps"):
        cartoonize(path, style=style, metadata="some")


def test_knobs_reach_the_style(tiny_style, style):
    folder = tiny_style("knobbed", knobs=("surface", "structure", "texture"))
    knobs = {"surface": 0.0, "structure": 2.0, "texture": 0.5}
    expected = stylize.load_style(folder)(RGB, **knobs)
    np.testing.assert_array_equal(cartoonize(RGB, style=folder, **knobs), expected)
    np.testing.assert_array_equal(load_style(folder)(RGB, **knobs), expected)
    with pytest.raises(UsageError, match="tiny has no knob surface"):
        cartoonize(RGB, style=style, surface=1)


def test_a_style_is_called_with_every_kind(style, photo):
    expected = cartoonize(RGB, style=style, strength=0.5)
    assert style.card.name == "tiny"
    np.testing.assert_array_equal(style(RGB, strength=0.5), expected)
    np.testing.assert_array_equal(np.array(style(photo, strength=0.5)), expected)
    data = style(photo.read_bytes(), strength=0.5, format="webp", lossless=True)
    np.testing.assert_array_equal(decode(data).rgb, expected)
    np.testing.assert_array_equal(style([RGB], strength=0.5)[0], expected)
    np.testing.assert_array_equal(next(style(iter([RGB]), strength=0.5)), expected)


@pytest.mark.parametrize("shape", [(20, 26), (20, 26, 3), (20, 26, 4)])
def test_arrays_of_sixteen_bits(shape, style, network):
    deep = np.random.default_rng(8).integers(0, 65536, shape, dtype=np.uint16)
    result = style(deep)
    assert (result.shape, result.dtype) == (shape, np.uint16)
    if shape[2:] == (3,):
        np.testing.assert_array_equal(result, network(deep))
    if shape[2:] == (4,):
        np.testing.assert_array_equal(result[..., 3], deep[..., 3])
    assert len(np.unique(result)) > 256, "more than 8 bits can hold"


def test_files_keep_their_profile_and_their_grey(tmp_path, style):
    Image.fromarray(RGB[..., 0]).save(tmp_path / "grey.png")
    image = cartoonize(tmp_path / "grey.png", style=style)
    assert image.mode == "L"
    np.testing.assert_array_equal(np.array(image), cartoonize(RGB[..., 0], style=style))
    profile = rgb_profile(DISPLAY_P3)
    Image.fromarray(RGB).save(tmp_path / "wide.png", icc_profile=profile)
    assert cartoonize(tmp_path / "wide.png", style=style).info["icc_profile"] == profile


def test_lossless_bytes_fail_where_the_format_is_lossy(style):
    with pytest.raises(OutputError, match="JPEG is never lossless"):
        cartoonize(file_of(Image.fromarray(RGB), "JPEG"), style=style, lossless=True)


def some(count, height=20):
    """Arrays of widths 26, 27, ..., so that each is told by its shape."""
    random = np.random.default_rng(count)
    return [random.integers(0, 256, (height, 26 + n, 3), dtype=np.uint8) for n in range(count)]


@pytest.mark.parametrize("jobs", [1, 3, None])
def test_a_list_gives_a_list_in_order(jobs, style, network):
    arrays = some(7)
    cartoons = cartoonize(arrays, style=style, jobs=jobs)
    assert isinstance(cartoons, list)
    for cartoon, array in zip(cartoons, arrays, strict=True):
        np.testing.assert_array_equal(cartoon, network(array))


def test_each_of_a_list_keeps_its_kind(style, photo, network):
    kinds = [photo, str(photo), photo.read_bytes(), Image.fromarray(RGB), RGB]
    cartoons = cartoonize(kinds, style=style)
    kinds = [Image.Image, Image.Image, bytes, Image.Image, np.ndarray]
    assert all(map(isinstance, cartoons, kinds))
    for cartoon in cartoons:
        pixels = decode(cartoon).rgb if isinstance(cartoon, bytes) else np.array(cartoon)
        np.testing.assert_array_equal(pixels, network(RGB))


def test_nothing_in_gives_nothing_out(style):
    assert cartoonize([], style=style) == []
    assert list(cartoonize(iter([]), style=style)) == []


def test_an_iterator_is_taken_as_it_is_needed(style, network):
    arrays, taken = some(20), 0

    def counted():
        nonlocal taken
        for array in arrays:
            taken += 1
            yield array

    cartoons = cartoonize(counted(), style=style, jobs=2)
    assert taken == 0
    for told, (cartoon, array) in enumerate(zip(cartoons, arrays, strict=True)):
        np.testing.assert_array_equal(cartoon, network(array))
        assert taken - told <= 2 * 2 + 1
    assert taken == 20


def test_an_iterator_may_be_left_early(style):
    before = threading.active_count()
    cartoons = cartoonize((array for array in some(20)), style=style, jobs=2)
    assert next(cartoons).shape == (20, 26, 3)
    cartoons.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (b"", PictureError, "<bytes 3>: is empty"),
        (np.zeros((4, 4)), ShapeError, "<array 3>: expected uint8"),
        ("nowhere.jpg", PictureError, r"nowhere\.jpg: no such file"),
        (3.5, TypeError, "a picture 3 is a path"),
        (Image.new("F", (4, 4)), PictureError, "<image 3>: has 32-bit values"),
    ],
)
def test_one_that_fails_is_named_after_those_before_it_are_given(wrong, error, message, style):
    pictures = [*some(3), wrong, *some(3)]
    cartoons = cartoonize(iter(pictures), style=style)
    for width in (26, 27, 28):
        assert next(cartoons).shape == (20, width, 3)
    with pytest.raises(error, match=message):
        next(cartoons)
    with pytest.raises(StopIteration):
        next(cartoons)
    with pytest.raises(error, match=message):
        cartoonize(pictures, style=style)


def test_what_nobody_foresaw_is_named_and_chained(style, monkeypatch):
    def odd(picture, rgb):
        if picture.name == "<bytes 1>":
            raise OddError("odd")
        return real(picture, rgb)

    real = encoding.image_of
    monkeypatch.setattr(encoding, "image_of", odd)
    pictures = [file_of(Image.fromarray(RGB))] * 2
    with pytest.raises(UnexpectedError, match="<bytes 1>: unexpected OddError: odd") as raised:
        cartoonize(pictures, style=style)
    assert isinstance(raised.value.__cause__, OddError)


def test_one_that_cannot_be_written_is_named(style):
    wide = file_of(Image.new("RGB", (17_000, 1)))
    pictures = [file_of(Image.fromarray(RGB)), wide]
    with pytest.raises(OutputError, match="<bytes 1>: cannot be written as WEBP"):
        cartoonize(pictures, style=style, strength=0, format="webp")


def test_jobs_are_at_least_one(style):
    with pytest.raises(UsageError, match="jobs must be at least 1, got 0"):
        cartoonize([RGB], style=style, jobs=0)


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
