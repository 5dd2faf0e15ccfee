import io
import random
import struct
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageCms

from icc_profiles import ADOBE_RGB, DISPLAY_P3, grey_profile, reference, rgb_profile, srgb_curve
from picture_files import file_of, smooth
from toonbox import pixels
from toonbox.errors import ToonboxError
from toonbox.images.encode import encode
from toonbox.images.picture import decode
from toonbox.pixels import GreyColours, read_colours, to_srgb

WIDE = pytest.mark.parametrize(
    "primaries", [DISPLAY_P3, ADOBE_RGB], ids=["display-p3", "adobe-rgb"]
)


@WIDE
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_wide_colours_are_converted_and_back(primaries, dtype):
    rgb = np.random.default_rng(0).integers(60, 200, (20, 20, 3), dtype=np.uint8)
    own = rgb_profile(primaries)
    image, colours, written = read_colours(Image.fromarray(rgb), own, "x")
    np.testing.assert_array_equal(np.array(image), rgb)
    assert written == own
    converted = colours.to_srgb(rgb.astype(dtype))
    expected = reference(rgb, primaries)
    assert converted.dtype == dtype
    inside = (expected > 5).all(axis=-1) & (expected < 250).all(axis=-1)
    assert inside.mean() > 0.5
    # At the gamut's edge the curve is steep, and floats are interpolated.
    assert np.abs(converted - expected)[inside].max() <= 2
    assert np.abs(converted - expected).max() <= (2 if dtype == np.uint8 else 4)
    assert np.abs(rgb - expected).max() > 10
    again = colours.from_srgb(converted)
    assert again.dtype == dtype
    assert np.abs(again.astype(float) - rgb)[inside].max() <= 3


def test_floats_stay_smooth():
    ramp = np.linspace(60, 200, 3000, dtype=np.float32)
    levels = np.repeat(ramp[None, :, None], 3, axis=2)
    _, colours, _ = read_colours(Image.new("RGB", (1, 1)), rgb_profile(ADOBE_RGB, 1.8), "x")
    for converted in (colours.to_srgb(levels), colours.from_srgb(levels)):
        steps = np.diff(converted[0, :, 1])
        assert steps.min() > 0
        assert steps.max() < 0.15


def test_a_file_keeps_its_profile_and_values():
    buffer = io.BytesIO()
    own = rgb_profile(ADOBE_RGB)
    source = Image.new("RGB", (4, 4), (180, 90, 60))
    source.save(buffer, "PNG", icc_profile=own)
    picture = decode(buffer.getvalue())
    np.testing.assert_array_equal(picture.rgb, np.array(source))
    written = Image.open(io.BytesIO(encode(picture, picture.rgb, "PNG")))
    np.testing.assert_array_equal(np.array(written), np.array(source))
    assert written.info["icc_profile"] == own
    seen = np.array(to_srgb(written))
    np.testing.assert_allclose(seen, reference(np.array(source), ADOBE_RGB), rtol=0, atol=2)


@pytest.mark.parametrize("format", ["BMP", "GIF", "PPM"])
def test_formats_without_profiles_get_srgb(format):
    buffer = io.BytesIO()
    source = Image.new("RGB", (4, 4), (180, 90, 60))
    source.save(buffer, "PNG", icc_profile=rgb_profile(ADOBE_RGB))
    picture = decode(buffer.getvalue())
    written = Image.open(io.BytesIO(encode(picture, picture.rgb, format)))
    assert "icc_profile" not in written.info
    expected = reference(np.array(source), ADOBE_RGB)
    np.testing.assert_allclose(np.array(written.convert("RGB")), expected, rtol=0, atol=2)


def test_srgb_is_left_alone():
    rgb = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(rgb)
    opened, colours, written = read_colours(image, own, "x")
    assert opened is image
    assert colours is None
    assert written == own


def test_no_profile():
    image, colours, written = read_colours(Image.new("L", (2, 2), 7), None, "x")
    assert image.mode == "L"
    assert isinstance(colours, GreyColours)
    assert written is None
    image, colours, written = read_colours(Image.new("RGB", (2, 2), 7), None, "x")
    assert (image.mode, colours, written) == ("RGB", None, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grey_profile(dtype):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    own = grey_profile(1.75)
    image, colours, written = read_colours(Image.fromarray(grey), own, "x")
    assert image.mode == "L"
    assert written == own
    levels = np.repeat(grey[..., None], 3, axis=2).astype(dtype)
    converted = colours.to_srgb(levels)
    expected = srgb_curve((grey / 255.0) ** 1.75) * 255
    assert np.abs(converted[..., 1] - expected).max() <= 2
    again = colours.from_srgb(converted)
    assert again.dtype == dtype
    assert np.abs(again.astype(float) - levels)[4:].max() <= 2


def test_colours_become_grey_by_brightness():
    rgb = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    grey = GreyColours().from_srgb(rgb)
    np.testing.assert_array_equal(grey[..., 2], np.array(Image.fromarray(rgb).convert("L")))


def test_grey_picture_with_a_profile_of_colours():
    own = rgb_profile(DISPLAY_P3)
    image, colours, written = read_colours(Image.new("L", (2, 2), 128), own, "x")
    assert (image.mode, written) == ("RGB", own)
    expected = reference(np.full((1, 3), 128.0), DISPLAY_P3)[0]
    converted = colours.to_srgb(np.array(image))
    np.testing.assert_allclose(converted[0, 0], expected, rtol=0, atol=2)


def test_cmyk_becomes_srgb():
    image, colours, written = read_colours(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), None, "x")
    assert (image.mode, colours, written) == ("RGB", None, None)
    assert np.array(image)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("unfit", [b"rubbish", grey_profile(2.2)], ids=["damaged", "wrong space"])
def test_a_profile_that_cannot_be_used_is_named(unfit, caplog):
    image = Image.new("RGB", (2, 2), (1, 2, 3))
    opened, colours, written = read_colours(image, unfit, "photo.jpg")
    assert np.array(opened)[0, 0].tolist() == [1, 2, 3]
    assert (colours, written) == (None, None)
    assert "photo.jpg: its colour profile cannot be used" in caplog.text


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_damaged_profiles_give_pictures(format, caplog):
    """Whatever a profile says: a picture that can be written again, or an error of our own."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide, grey = rgb_profile(ADOBE_RGB), grey_profile(1.8)
    photo, endings = Image.fromarray(smooth(16, 24)), Counter()
    for number in range(42):
        damaged, chance = bytearray([wide, grey, srgb][number % 3]), random.Random(number)
        for _ in range(chance.choice((1, 2, 4))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        if number % 7 == 6:
            del damaged[chance.randrange(len(damaged)) :]
        image = photo.convert("L") if number % 3 == 1 else photo
        caplog.clear()
        try:
            picture = decode(file_of(image, format, icc_profile=bytes(damaged)), name="a")
            if picture.colours:
                picture.colours.from_srgb(picture.colours.to_srgb(picture.rgb))
            for written in (format, "BMP"):
                encode(picture, picture.rgb, written)
        except ToonboxError:
            endings["refused"] += 1
        else:
            endings["left out" if "cannot be used" in caplog.text else "used"] += 1
    assert min(endings["used"], endings["left out"]) > 5


def test_a_profile_that_works_one_way_gives_srgb(monkeypatch):
    def one_way(source, target, *modes):
        if target is not pixels._srgb():
            raise ImageCms.PyCMSError("no way back")
        return build(source, target, *modes)

    build = ImageCms.buildTransform
    monkeypatch.setattr(ImageCms, "buildTransform", one_way)
    rgb = np.full((1, 1, 3), (180, 90, 60), np.uint8)
    opened, colours, written = read_colours(Image.fromarray(rgb), rgb_profile(ADOBE_RGB), "x")
    expected = reference(rgb, ADOBE_RGB)
    np.testing.assert_allclose(np.array(opened), expected, rtol=0, atol=2)
    assert colours is None
    # Files should not depend on the time.
    assert written[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(written)))
    assert "sRGB" in description
