import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from toonbox.media.colour import to_srgb
from toonbox.media.images import decode, encode

# Columns are red, green and blue in XYZ under D50, as an ICC profile gives them.
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
ADOBE_RGB = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


def fixed(*values):
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def profile(space, tags):
    """Write an ICC profile (version 2) of the given tags."""
    table, body = b"", b""
    for name, data in tags.items():
        offset = 128 + 4 + 12 * len(tags) + len(body)
        table += name + struct.pack(">II", offset, len(data))
        body += data + bytes(-len(data) % 4)
    header = bytearray(128)
    header[0:4] = struct.pack(">I", 128 + 4 + len(table) + len(body))
    header[8:12] = bytes([2, 0x20, 0, 0])
    header[12:24] = b"mntr" + space + b"XYZ "
    header[36:40] = b"acsp"
    header[68:80] = fixed(0.9642, 1.0, 0.8249)
    return bytes(header) + struct.pack(">I", len(tags)) + table + body


def gamma_curve(gamma):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def rgb_profile(primaries, gamma=563 / 256):
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)}
    for index, name in enumerate((b"r", b"g", b"b")):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*primaries[:, index])
        tags[name + b"TRC"] = gamma_curve(gamma)
    return profile(b"RGB ", tags)


def grey_profile(gamma):
    white = b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)
    return profile(b"GRAY", {b"wtpt": white, b"kTRC": gamma_curve(gamma)})


def srgb_curve(linear):
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def reference(rgb, primaries, gamma=563 / 256):
    """Convert with matrices, without a colour management library."""
    linear = (rgb / 255.0) ** gamma
    return srgb_curve(linear @ primaries.T @ np.linalg.inv(SRGB).T) * 255


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB], ids=["display-p3", "adobe-rgb"])
def test_wide_colours_are_converted(primaries):
    rgb = np.random.default_rng(0).integers(60, 200, (20, 20, 3), dtype=np.uint8)
    converted, written = to_srgb(Image.fromarray(rgb), rgb_profile(primaries), "x")
    expected = reference(rgb, primaries)
    assert np.abs(np.array(converted) - expected).max() <= 2
    assert np.abs(rgb - expected).max() > 10
    description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(written)))
    assert "sRGB" in description


def test_a_file_is_written_with_the_profile_of_its_new_colours():
    buffer = io.BytesIO()
    source = Image.new("RGB", (4, 4), (180, 90, 60))
    source.save(buffer, "PNG", icc_profile=rgb_profile(ADOBE_RGB))
    picture = decode(buffer.getvalue())
    np.testing.assert_allclose(picture.rgb, reference(np.array(source), ADOBE_RGB), rtol=0, atol=2)
    again = decode(encode(picture, picture.rgb, "PNG"))
    np.testing.assert_array_equal(again.rgb, picture.rgb)
    assert again.icc_profile == picture.icc_profile


def test_srgb_is_left_alone():
    rgb = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(rgb)
    converted, written = to_srgb(image, own, "x")
    assert converted is image
    assert written == own


def test_no_profile():
    image = Image.new("L", (2, 2), 7)
    converted, written = to_srgb(image, None, "x")
    assert converted.mode == "RGB"
    assert written is None


def test_grey_profile():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    converted, written = to_srgb(Image.fromarray(grey), grey_profile(1.75), "x")
    expected = srgb_curve((grey / 255.0) ** 1.75) * 255
    assert np.abs(np.array(converted)[..., 1] - expected).max() <= 2
    assert written is not None


def test_grey_picture_with_a_profile_of_colours():
    image = Image.new("L", (2, 2), 128)
    converted, _ = to_srgb(image, rgb_profile(DISPLAY_P3), "x")
    expected = reference(np.full((1, 3), 128.0), DISPLAY_P3)[0]
    np.testing.assert_allclose(np.array(converted)[0, 0], expected, rtol=0, atol=2)


@pytest.mark.parametrize("unfit", [b"rubbish", grey_profile(2.2)], ids=["damaged", "wrong space"])
def test_a_profile_that_cannot_be_used_is_named(unfit, caplog):
    image = Image.new("RGB", (2, 2), (1, 2, 3))
    converted, written = to_srgb(image, unfit, "photo.jpg")
    assert np.array(converted)[0, 0].tolist() == [1, 2, 3]
    assert written is None
    assert "photo.jpg: its colour profile cannot be used" in caplog.text


def test_converted_files_do_not_depend_on_the_time():
    _, first = to_srgb(Image.new("RGB", (1, 1)), rgb_profile(DISPLAY_P3), "x")
    assert first[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
