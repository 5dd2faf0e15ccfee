import io

import cv2
import numpy as np
import pytest
from PIL import Image

from picture_files import file_of, smooth
from toonbox.errors import OutputError
from toonbox.images import streaming as strips
from toonbox.images.encode import encode, encode_strips
from toonbox.images.metadata import Metadata
from toonbox.images.picture import Picture, decode
from toonbox.pixels import strips_of


def streamed(picture, format, rows=7, **options):
    buffer = io.BytesIO()
    height = len(picture.rgb)
    cuts = [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
    alpha = picture.alpha
    parts = ((picture.rgb[c], None if alpha is None else alpha[c]) for c in cuts)
    encode_strips(buffer, picture, picture.rgb.shape, parts, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(48, 64), (1, 1), (203, 331), (9, 700), (700, 9)])
@pytest.mark.parametrize("strip", [64, 1 << 18])
def test_a_jpeg_in_strips_has_the_pixels_of_one_in_one_piece(size, strip, monkeypatch):
    monkeypatch.setattr(strips, "STRIP_PIXELS", strip)
    rgb = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    data, whole = streamed(Picture("p", rgb), "JPEG"), encode(Picture("p", rgb), rgb, "JPEG")
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)), Image.open(io.BytesIO(whole)))
    read = [cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) for file in (data, whole)]
    np.testing.assert_array_equal(*read)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_metadata_are_those_of_the_usual_way(format):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    metadata = Metadata(exif=exif.tobytes(), xmp=b"<x:xmpmeta/>", dpi=(300, 300), comment="hello")
    profile = b"not a profile but kept" * 9000
    picture = Picture("p", smooth(), icc_profile=profile, metadata=metadata)
    files = streamed(picture, format), encode(picture, picture.rgb, format)
    one, other = (Image.open(io.BytesIO(data)) for data in files)
    one.load(), other.load()
    for key in ("icc_profile", "xmp", "dpi", "comment", "Comment"):
        assert one.info.get(key) == other.info.get(key)
    assert one.getexif()[0x010F] == "Maker"
    assert one.getexif().get_ifd(0x8769) == other.getexif().get_ifd(0x8769)
    assert one.info["icc_profile"] == profile
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_transparency_is_treated_the_usual_way(format, kind):
    random = np.random.default_rng(3)
    highest = np.iinfo(kind).max
    rgb = random.integers(0, highest, (20, 30, 3), endpoint=True, dtype=kind)
    alpha = random.integers(0, highest, (20, 30), endpoint=True, dtype=kind)
    picture = Picture("p", rgb, alpha)
    one, other = decode(streamed(picture, format)), decode(encode(picture, rgb, format))
    np.testing.assert_array_equal(one.rgb, other.rgb)
    assert (one.alpha is None) == (format == "JPEG")
    if one.alpha is not None:
        np.testing.assert_array_equal(one.rgb, rgb)
        np.testing.assert_array_equal(one.alpha, alpha)


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_has_many_strips_and_may_be_large(big, monkeypatch):
    monkeypatch.setattr(strips, "STRIP_PIXELS", 64 * 5)
    if big:
        monkeypatch.setattr(strips, "_CLASSIC_TIFF", 1)
    data = streamed(Picture("p", smooth()), "TIFF")
    assert data[2] == (43 if big else 42)
    image = Image.open(io.BytesIO(data))
    assert len(image.tag_v2[273]) == 10
    np.testing.assert_array_equal(image, smooth())
    pyvips = pytest.importorskip("pyvips")
    other = pyvips.Image.new_from_buffer(data, "")
    np.testing.assert_array_equal(other.numpy(), smooth())


def test_a_png_keeps_all_chunks_but_the_pixels():
    data = file_of(Image.fromarray(smooth()), icc_profile=b"profile", dpi=(72, 72))
    small = strips.without_pixels(io.BytesIO(data))
    one, other = (Image.open(io.BytesIO(file)) for file in (small, data))
    one.load()
    assert one.size == (1, 1)
    assert one.info == other.info


def test_what_cannot_be_written_so_is_refused(monkeypatch):
    with pytest.raises(OutputError, match="streamed as WEBP"):
        streamed(Picture("p", smooth()), "WEBP")
    monkeypatch.setattr(strips, "_JPEG_SIDE", 63)
    with pytest.raises(OutputError, match="at most 63 pixels"):
        streamed(Picture("p", smooth()), "JPEG")


@pytest.mark.parametrize("rows", [1, 4, 5, 100])
def test_regrouped(rows):
    values = smooth(23, 5)
    parts = list(strips.regrouped((values[c] for c in strips_of(values)), rows))
    assert {len(part) for part in parts[:-1]} <= {rows}
    assert len(parts) == -(-23 // rows)
    np.testing.assert_array_equal(np.concatenate(parts), values)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_strips_are_written_as_they_come(format, monkeypatch):
    monkeypatch.setattr(strips, "STRIP_PIXELS", 64 * 8)
    values = np.random.default_rng(4).integers(0, 256, (480, 64, 3), dtype=np.uint8)
    stream, sizes = io.BytesIO(), []

    def parts():
        for top in range(0, 480, 8):
            yield values[top : top + 8], None
            sizes.append(stream.tell())

    encode_strips(stream, Picture("p", values), values.shape, parts(), format)
    assert len(sizes) == 60
    assert sizes[2] < sizes[30] < sizes[59]
