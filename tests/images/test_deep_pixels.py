import io

import cv2
import numpy as np
import pytest
from PIL import Image

from toonbox.images.encode import encode
from toonbox.images.metadata import Metadata
from toonbox.images.picture import Picture, decode
from toonbox.pixels import GreyColours

RNG = np.random.default_rng(8)


def values(channels, height=37, width=53):
    return RNG.integers(0, 65536, (height, width, channels)).astype(np.uint16)


def opencv_order(array):
    return array if array.shape[2] < 3 else array[..., [2, 1, 0, 3][: array.shape[2]]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_opencv_writes_is_read_exactly(suffix, channels, tmp_path):
    written = values(channels)
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), opencv_order(written))
    picture = decode(path)
    assert picture.rgb.dtype == np.uint16
    np.testing.assert_array_equal(picture.rgb, np.broadcast_to(written[..., :3], (37, 53, 3)))
    assert picture.grey == (channels == 1)
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, written[..., 3])
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_opencv_reads_exactly_what_is_written(format, channels):
    rgb = values(channels)
    alpha = rgb[..., 3] if channels == 4 else None
    grey = GreyColours() if channels == 1 else None
    three = np.broadcast_to(rgb[..., :3], (37, 53, 3))
    data = encode(Picture("p", three, alpha, colours=grey), three, format)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read.reshape(rgb.shape), opencv_order(rgb))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("height", [1, 2000])
def test_both_ways_with_grey_and_alpha(format, height):
    grey = np.repeat(values(1, height, 700), 3, axis=2)
    alpha = values(1, height, 700)[..., 0]
    picture = Picture("p", grey, alpha, colours=GreyColours())
    if format == "PNG":
        read = decode(encode(picture, grey, format))
        assert read.grey
        np.testing.assert_array_equal(read.rgb, grey)
        np.testing.assert_array_equal(read.alpha, alpha)
    else:  # Pillow does not know such a TIFF
        data = encode(picture, grey, format)
        raw = np.frombuffer(data[-grey[..., :2].nbytes :], "<u2").reshape(height, 700, 2)
        np.testing.assert_array_equal(raw, np.dstack([grey[..., 0], alpha]))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_orientation_turns_all_sixteen_bits(format):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    rgb = values(3)
    picture = Picture("p", rgb, metadata=Metadata(exif=exif.tobytes(), dpi=(300, 300)))
    data = encode(picture, rgb, format)
    assert Image.open(io.BytesIO(data)).info["dpi"] == pytest.approx((300, 300), abs=0.1)
    # A tag that says the same in the file, but that it lies on its side.
    exif[0x0112] = 6
    turned = Picture("p", rgb, metadata=Metadata(exif=exif.tobytes()))
    read = decode(encode(turned, rgb, format))
    np.testing.assert_array_equal(read.rgb, np.rot90(rgb, -1))
    again = Image.open(io.BytesIO(encode(read, read.rgb, format)))
    assert again.getexif().get(0x0112, 1) == 1
    assert again.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP", "PPM"])
def test_other_formats_get_eight_bits(format):
    rgb = np.full((8, 8, 3), 32896, np.uint16)
    read = decode(encode(Picture("p", rgb), rgb, format))
    assert read.rgb.dtype == np.uint8
    assert np.abs(read.rgb.astype(int) - 128).max() <= 1
