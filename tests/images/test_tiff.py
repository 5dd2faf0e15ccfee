import io

import numpy as np
import pytest
from PIL import Image

from picture_files import file_of, smooth
from tiff_files import tiff
from toonbox.errors import PictureError
from toonbox.images.picture import decode, read_header

RNG = np.random.default_rng(8)
RGBA = RNG.integers(0, 65536, (20, 37, 4)).astype(np.uint16)
RGB = RGBA[..., :3]
STRAIGHT, ASSOCIATED = {338: [2]}, {338: [1]}

LAYOUTS = [
    pytest.param(order, planar, id=f"{order}{'planar' if planar else ''}")
    for order in "<>"
    for planar in (False, True)
]


@pytest.mark.parametrize(("order", "planar"), LAYOUTS)
@pytest.mark.parametrize("predictor", [0, 1, 2])
def test_sixteen_bits_of_every_layout(order, planar, predictor):
    layout = {"planar": planar, "deflate": predictor > 0}
    layout["predictor"] = max(1, predictor)
    picture = decode(tiff(RGB, order, **layout))
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.alpha is None
    picture = decode(tiff(RGBA, order, **layout, tags=STRAIGHT))
    np.testing.assert_array_equal(picture.rgb, RGB)
    np.testing.assert_array_equal(picture.alpha, RGBA[..., 3])
    picture = decode(tiff(RGBA[..., 2:], order, **layout, tags=STRAIGHT))
    assert picture.grey
    np.testing.assert_array_equal(picture.rgb[..., 1], RGBA[..., 2])
    np.testing.assert_array_equal(picture.alpha, RGBA[..., 3])


@pytest.mark.parametrize(("order", "planar"), LAYOUTS)
def test_colours_multiplied_by_their_opacity(order, planar):
    alpha = RGBA[..., 3:] | 0x8000
    multiplied = np.rint(RGB * (alpha / 65535)).astype(np.uint16)
    data = tiff(np.dstack([multiplied, alpha]), order, planar=planar, tags=ASSOCIATED)
    picture = decode(data)
    assert np.abs(picture.rgb.astype(int) - RGB).max() <= 2
    np.testing.assert_array_equal(picture.alpha, alpha[..., 0])


def test_hidden_colours_are_left_alone():
    pixels = np.array([[[5, 6, 7, 0], [9, 9, 9, 1]]], np.uint16)
    np.testing.assert_array_equal(
        decode(tiff(pixels, tags=ASSOCIATED)).rgb, [[[5, 6, 7], [65535] * 3]]
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    plain = np.ascontiguousarray(RGB >> 8).astype(np.uint8)
    tags = {274: [orientation]}
    expected = decode(tiff(plain, tags=tags)).rgb  # by Pillow
    picture = decode(tiff(plain.astype(np.uint16) * 257, tags=tags))
    np.testing.assert_array_equal(picture.rgb, expected.astype(np.uint16) * 257)
    header = read_header(tiff(RGB, tags=tags))
    assert (header.height, header.width) == expected.shape[:2]
    assert header.deep


def test_white_is_zero():
    np.testing.assert_array_equal(
        decode(tiff(RGB[..., 0], tags={262: [0]})).rgb[..., 0], 65535 - RGB[..., 0]
    )


def test_bits_that_cmyk_loses_are_named(caplog):
    inks = np.zeros((4, 5, 4), np.uint16)
    inks[0, 0] = 0, 65535, 65535, 0
    picture = decode(tiff(inks, planar=True, tags={262: [5]}), name="a.tif")
    assert picture.rgb.dtype == np.uint8
    np.testing.assert_array_equal(picture.rgb[0, :2], [[255, 0, 0], [255, 255, 255]])
    assert caplog.messages == ["a.tif: its 16 bits become 8, because its colours are converted"]


def test_cie_lab():
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255), (119, 119, 119)]
    lab = np.array(
        [(0, 0, 0), (100, 0, 0), (54.29, 80.81, 69.89), (29.57, 68.3, -112.03), (50, 0, 0)]
    )
    numbers = np.rint(lab * (2.55, 1, 1)).astype(np.int64).astype(np.uint8)
    picture = decode(tiff(numbers[None], tags={262: [8]}))
    assert np.abs(picture.rgb[0].astype(int) - colours).max() < 4  # one step of a* or b*
    assert picture.icc_profile is None


@pytest.mark.parametrize(
    ("array", "tags", "reason"),
    [
        (
            np.zeros((2, 2), np.int16),
            {},
            "a TIFF whose values are not unsigned integers of 8 or 16 bits",
        ),
        (np.zeros((2, 2), np.float32), {}, "a TIFF whose values are not unsigned"),
        (np.zeros((2, 2, 3), np.uint32), {}, "a TIFF whose values are not unsigned"),
        (RGB, {258: [16, 8, 8]}, "a TIFF whose values are not unsigned"),
        (RGB, {262: [8]}, "a TIFF of 16 bits with photometric interpretation 8"),
        (RGB, {277: [2]}, "a TIFF with 2 channels for 3 colours"),
        (RGB, {324: [8]}, "a TIFF of 16 bits in tiles"),
        (RGB.astype(np.uint8), {262: [77]}, "unknown pixel mode"),
    ],
)
def test_what_is_not_read_is_called_so(array, tags, reason):
    with pytest.raises(PictureError, match=f"a.tif: is not supported: {reason}"):
        decode(tiff(array, tags=tags), name="a.tif")


@pytest.mark.parametrize(
    "tags",
    [
        {273: [8]},
        {257: [2**31]},
        {256: [0]},
        {256: [2**32 - 1]},
    ],
)
def test_damaged_directories(tags):
    with pytest.raises(PictureError, match=r"a\.tif: (is (damaged|larger|too large)|ends before)"):
        decode(tiff(RGB, tags=tags), name="a.tif")


@pytest.mark.parametrize(
    ("pixels", "method"), [(smooth(), "tiff_lzw"), (RGB.astype(np.uint8), "tiff_adobe_deflate")]
)
def test_a_damaged_strip_is_told_with_the_name(pixels, method):
    data = bytearray(file_of(Image.fromarray(pixels), "TIFF", compression=method))
    whole = Image.open(io.BytesIO(bytes(data)))
    start, count = whole.tag_v2[273][0], whole.tag_v2[279][0]
    data[start + count // 2 : start + count // 2 + 40] = bytes(40)
    with pytest.raises(PictureError, match=r"a\.tif: is damaged: "):
        decode(bytes(data), name="a.tif")


@pytest.mark.parametrize(("method", "name"), [(50001, "webp"), (34887, "method 34887")])
def test_methods_of_compression_that_nothing_here_reads_are_named(method, name):
    for dtype in (np.uint8, np.uint16):
        with pytest.raises(PictureError, match=rf"a\.tif: is not supported: .* {name}"):
            decode(tiff(RGB.astype(dtype), tags={259: [method]}), name="a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_directories_in_a_loop(dtype):
    data = bytearray(tiff(RGB.astype(dtype)))
    first = int.from_bytes(data[4:8], "little")
    following = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[following : following + 4] = first.to_bytes(4, "little")
    np.testing.assert_array_equal(decode(bytes(data)).rgb, RGB.astype(dtype))
