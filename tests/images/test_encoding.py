import io
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import ExifTags, Image, features

from icc_profiles import DISPLAY_P3, rgb_profile
from picture_files import file_of, smooth
from toonbox.errors import OutputError, UsageError
from toonbox.images.encode import encode, encode_strips, to_image
from toonbox.images.metadata import Metadata
from toonbox.images.picture import Picture, decode
from toonbox.pixels import GreyColours

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


LOSSY = [
    "JPEG",
    "WEBP",
    pytest.param(
        "AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
    ),
]


@pytest.mark.parametrize("format", LOSSY)
def test_lossy_formats_stay_close(format):
    rgb = smooth()
    data = encode(Picture("p", rgb), rgb, format)
    read = decode(data)
    assert read.format == format
    assert np.abs(read.rgb.astype(int) - rgb).mean() < 2


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_are_exact(format):
    read = decode(encode(Picture("p", RGB), RGB, format))
    assert read.format == format
    np.testing.assert_array_equal(read.rgb, RGB)


def test_gif_has_a_palette():
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:, 3:] = [200, 30, 60]
    np.testing.assert_array_equal(decode(encode(Picture("p", rgb), rgb, "GIF")).rgb, rgb)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "BMP", "PPM"])
def test_lossless_keeps_every_value(format):
    data = encode(Picture("p", RGB), RGB, format, lossless=True)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data)).convert("RGB")), RGB)


@pytest.mark.parametrize("format", ["JPEG", "AVIF", "GIF"])
def test_lossless_is_refused_where_it_cannot_be(format):
    with pytest.raises(OutputError, match=f"{format} is never lossless; --format can be png"):
        encode(Picture("p", RGB), RGB, format, lossless=True)


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range(quality):
    with pytest.raises(UsageError, match="quality must be from 1 to 100"):
        encode(Picture("p", RGB), RGB, "JPEG", quality=quality)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_colours_under_transparency_are_written(format):
    alpha = np.zeros(RGB.shape[:2], np.uint8)
    data = encode(Picture("p", RGB, alpha), RGB, format, lossless=True)
    image = Image.open(io.BytesIO(data))
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(np.array(image), np.dstack([RGB, alpha]))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_alpha_is_exact_in_lossy_formats_too(format):
    rgb = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    alpha = RNG.integers(0, 256, (40, 50), dtype=np.uint8)
    written = Image.open(io.BytesIO(encode(Picture("p", rgb, alpha), rgb, format, quality=60)))
    np.testing.assert_array_equal(np.array(written.getchannel("A")), alpha)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "PPM", "BMP"])
def test_grey_is_written_as_grey(format):
    grey = np.repeat(RGB[..., :1], 3, axis=2)
    written = Image.open(
        io.BytesIO(encode(Picture("p", grey, colours=GreyColours()), grey, format))
    )
    assert written.mode == "L"
    assert np.abs(np.array(written).astype(int) - RGB[..., 0]).mean() < 3


def test_jpeg_keeps_the_full_resolution_of_colour():
    image = Image.open(io.BytesIO(encode(Picture("p", RGB), RGB, "JPEG")))
    assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="not Linux")
def test_other_threads_can_run_while_a_jpeg_is_encoded(monkeypatch):
    descriptors, save = [], Image.Image.save

    def watched(image, file, *arguments, **options):
        descriptors.append(file.fileno())  # Pillow keeps Python's lock where there is none
        save(image, file, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", watched)
    assert encode(Picture("p", RGB), RGB, "JPEG")
    assert descriptors


def test_a_jpeg_that_is_cut_off_is_an_error(monkeypatch):
    """Pillow does not look whether a limit of the system lets it write everything."""
    monkeypatch.setattr(Image.Image, "save", lambda _, file, *more, **options: file.write(b"half"))
    with pytest.raises(OutputError, match=r"p: cannot be written as JPEG: .*File too large"):
        encode(Picture("p", RGB), RGB, "JPEG")


def test_jpeg_is_the_same_without_a_descriptor(monkeypatch):
    def refused(name):
        raise PermissionError("not in this sandbox")

    data = encode(Picture("p", RGB), RGB, "JPEG")
    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    assert encode(Picture("p", RGB), RGB, "JPEG") == data


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_quality(format):
    rgb = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture = Picture("p", rgb)
    assert len(encode(picture, rgb, format, quality=30)) < len(encode(picture, rgb, format)) / 1.5


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_written_back(format):
    alpha = np.tile(np.array([[0, 90, 255, 255]], np.uint8), (4, 1))
    rgb = np.full((4, 4, 3), 120, np.uint8)
    read = decode(encode(Picture("p", rgb, alpha), rgb, format))
    np.testing.assert_array_equal(read.alpha, alpha)


def test_gif_keeps_full_transparency():
    alpha = np.array([[0, 255]], np.uint8)
    rgb = np.full((1, 2, 3), 120, np.uint8)
    np.testing.assert_array_equal(decode(encode(Picture("p", rgb, alpha), rgb, "GIF")).alpha, alpha)


@pytest.mark.parametrize("format", ["JPEG", "BMP"])
def test_formats_without_alpha_get_a_white_background(format):
    rgb = np.zeros((16, 16, 3), np.uint8)
    alpha = np.zeros((16, 16), np.uint8)
    alpha[:, 8:] = 255
    read = decode(encode(Picture("p", rgb, alpha), rgb, format))
    assert read.alpha is None
    assert read.rgb[:, :8].min() >= 250
    assert read.rgb[:, 8:].max() <= 5


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_resolution_is_kept(format):
    picture = decode(file_of(Image.fromarray(RGB), "PNG", dpi=(300, 300)))
    written = Image.open(io.BytesIO(encode(picture, picture.rgb, format)))
    assert written.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_too_large_for_the_format():
    rgb = np.zeros((1, 70_000, 3), np.uint8)
    for format in ("WEBP", "JPEG"):
        with pytest.raises(OutputError, match=f"long: cannot be written as {format}: "):
            encode(Picture("long", rgb), rgb, format)


def test_image_carries_what_is_known():
    alpha = np.full((5, 7), 7, np.uint8)
    image = to_image(
        Picture("p", RGB, alpha, icc_profile=b"icc", metadata=Metadata(dpi=(72, 72))), RGB
    )
    assert image.mode == "RGBA"
    assert image.info == {"dpi": (72, 72), "icc_profile": b"icc"}
    assert to_image(Picture("p", RGB), RGB).mode == "RGB"


EXIF = Image.Exif()
EXIF[ExifTags.Base.Make] = "Maker"
EXIF.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01
TOLD = Metadata(
    EXIF.tobytes(),
    b"<x:xmpmeta/>",
    b"\x1c\x02\x05\x00\x03abc",
    (300, 200),
    "hello",
    (("Title", "t"),),
)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_image_is_saved_with_what_is_known(format, tmp_path):
    picture = Picture("p", RGB, icc_profile=rgb_profile(DISPLAY_P3), metadata=TOLD)
    image = to_image(picture, RGB)
    expected = decode(encode(picture, RGB, format))
    path = tmp_path / f"a.{format.lower()}"
    image.save(path)
    assert decode(path).metadata == expected.metadata
    assert decode(path).icc_profile == picture.icc_profile
    assert b"Maker" in path.read_bytes()
    for made in (image.copy(), image.resize((3, 3)), pickle.loads(pickle.dumps(image))):
        data = io.BytesIO()
        made.save(data, format)
        assert decode(data.getvalue()).metadata.exif == expected.metadata.exif
    assert image.copy().resize((3, 3)).text == {"Title": "t"}


def test_texts_are_named_where_they_are_lost(caplog):
    picture = Picture("p", RGB, metadata=Metadata(texts=TOLD.texts))
    for format in ("PNG", "JPEG", "TIFF", "WEBP"):
        encode(picture, RGB, format)
    assert caplog.messages == [
        f"p: {format} has no place for its metadata: texts" for format in ("JPEG", "TIFF", "WEBP")
    ]


def test_sixteen_bits_are_named_where_they_become_eight(caplog):
    deep = Picture("p", RGB.astype(np.uint16) * 257)
    for format in ("PNG", "TIFF", "WEBP"):
        encode(deep, deep.rgb, format)
    encode(Picture("p", RGB), RGB, "JPEG")
    encode_strips(io.BytesIO(), deep, RGB.shape, [(deep.rgb, None)], "JPEG")
    assert caplog.messages == [
        f"p: its 16 bits become 8, as {format} has no more" for format in ("WEBP", "JPEG")
    ]


def test_image_is_saved_as_told(tmp_path, caplog):
    image = to_image(Picture("p", RGB, icc_profile=b"icc", metadata=TOLD), RGB)
    image.save(tmp_path / "a.jpg", exif=b"", xmp=b"", icc_profile=b"", extra=b"", comment="bye")
    assert decode(tmp_path / "a.jpg").metadata == Metadata(dpi=(300, 200), comment="bye")
    del image.info["exif"]
    image.save(tmp_path / "b.jpg")
    assert decode(tmp_path / "b.jpg").metadata == replace(TOLD, exif=None, texts=())
    image.save(tmp_path / "c.gif")
    assert "c.gif: GIF has no place for its metadata: iptc, texts, xmp" in caplog.text
    image.save(tmp_path / "d.jp2")
    assert Image.open(tmp_path / "d.jp2").size == image.size


def test_image_is_saved_as_a_compressed_tiff(tmp_path, caplog):
    image = to_image(Picture("p", RGB, metadata=TOLD), RGB)
    image.save(tmp_path / "a.tif", compression="tiff_lzw")
    assert Image.open(tmp_path / "a.tif").getexif()[ExifTags.Base.Make] == "Maker"
    assert "a.tif: left out, as Pillow cannot compress a TIFF that has it: Exif" in caplog.text
