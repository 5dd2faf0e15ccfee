import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from icc_profiles import DISPLAY_P3, rgb_profile
from picture_files import file_of, smooth
from tiff_files import tiff
from toonbox.errors import MissingExtraError, PictureError
from toonbox.images import streaming as huge
from toonbox.images.encode import encode
from toonbox.images.picture import Picture, decode
from toonbox.images.streaming import open_huge
from toonbox.pixels import GreyColours

pytest.importorskip("pyvips")
TALL = smooth(400, 60)


def written(tmp_path, data, suffix):
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(data)
    return path


def files():
    """Kinds of files with the same picture, or one made of it: name, suffix, data."""
    image = Image.fromarray(TALL)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    transparent = image.copy()
    transparent.putalpha(image.getchannel(0))
    deep = TALL.astype(np.uint16) * 257 - TALL.astype(np.uint16) // 2
    for orientation in (1, 2, 3, 6, 8):
        exif[0x0112] = orientation
        yield f"jpeg-{orientation}", "jpg", file_of(image, "JPEG", exif=exif, comment=b"hello")
    yield "p3", "png", file_of(image, icc_profile=rgb_profile(DISPLAY_P3))
    yield "grey", "jpg", file_of(image.convert("L"), "JPEG")
    yield "rgba", "png", file_of(transparent)
    yield "la", "png", file_of(transparent.convert("LA"))
    yield "palette", "png", file_of(image.quantize(30))
    yield "tiff", "tif", file_of(image, "TIFF", compression="tiff_lzw", dpi=(300, 300))
    yield "deep-png", "png", encode(Picture("p", deep), deep, "PNG")
    yield "deep-alpha", "png", encode(Picture("p", deep, deep[..., 0].copy()), deep, "PNG")
    yield (
        "deep-grey",
        "tif",
        encode(
            Picture("p", deep[..., :1].repeat(3, 2), colours=GreyColours()),
            deep[..., :1].repeat(3, 2),
            "TIFF",
        ),
    )


@pytest.mark.parametrize(("suffix", "data"), [f[1:] for f in files()], ids=[f[0] for f in files()])
def test_it_is_what_is_decoded_in_memory(suffix, data, tmp_path):
    path = written(tmp_path, data, suffix)
    expected, found = decode(path), open_huge(path)
    assert found.rgb.shape == expected.rgb.shape
    assert found.rgb.dtype == expected.rgb.dtype
    pairs = [(found.rgb, expected.rgb)]
    assert (found.alpha is None) == (expected.alpha is None)
    if found.alpha is not None:
        pairs.append((found.alpha, expected.alpha))
    height = len(expected.rgb)
    for rows, array in pairs:
        for _ in range(2):  # the second time from the top again
            read = [rows[top : min(top + 7, height)] for top in range(0, height, 7)]
            np.testing.assert_array_equal(np.concatenate(read), array)
        np.testing.assert_array_equal(rows[height // 2 :], array[height // 2 :])
        np.testing.assert_array_equal(rows[:3], array[:3])
    for name in ("format", "grey", "icc_profile", "metadata"):
        assert getattr(found, name) == getattr(expected, name)
    assert type(found.colours) is type(expected.colours)


def test_metadata_behind_the_pixels_of_a_png_are_found(tmp_path):
    data = file_of(Image.fromarray(TALL))
    text = b"tEXtAuthor\0me"
    late = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    path = written(tmp_path, data[:-12] + late + data[-12:], "png")
    assert open_huge(path).metadata.texts == (("Author", "me"),)


@pytest.mark.parametrize(
    ("data", "suffix", "why"),
    [
        (file_of(Image.fromarray(TALL).convert("CMYK"), "JPEG"), "jpg", "kind of pixels"),
        (file_of(Image.fromarray(TALL), "WEBP"), "webp", "only JPEG, PNG, TIFF"),
        (b"some text", "jpg", "is text"),
        (b"", "jpg", "is empty"),
    ],
)
def test_what_cannot_be_read_so_is_refused(data, suffix, why, tmp_path):
    with pytest.raises(PictureError, match=rf"photo\.{suffix}: .*{why}"):
        open_huge(written(tmp_path, data, suffix))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_damage_is_found_while_reading(format, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 400, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(noise), format)
    path = written(tmp_path, data[: len(data) // 2], format.lower())
    with pytest.raises(PictureError, match="is damaged"):
        open_huge(path).rgb[0:600]


def test_the_limit_of_pixels_holds(tmp_path):
    path = written(tmp_path, file_of(Image.fromarray(TALL)), "png")
    with pytest.raises(PictureError, match="limit of 23,999 pixels"):
        open_huge(path, max_pixels=23_999)


def test_without_libvips_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(huge, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'toonbox\[huge\]'"):
        open_huge(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_multiplied_by_their_opacity_are_refused(tmp_path, dtype):
    pixels = np.dstack([TALL, TALL[..., :1]]).astype(dtype)
    path = written(tmp_path, tiff(pixels, tags={338: [1]}), "tif")
    with pytest.raises(PictureError, match=r"cannot be streamed \(premultiplied alpha\)"):
        open_huge(path)


def test_a_fourth_channel_that_is_no_alpha_is_left_out(tmp_path):
    pixels = np.dstack([TALL, np.zeros_like(TALL[..., 0])])
    found = open_huge(written(tmp_path, tiff(pixels, tags={338: [0]}), "tif"))
    assert found.alpha is None
    np.testing.assert_array_equal(found.rgb[0 : len(TALL)], TALL)


def test_luma_and_chroma_are_refused_unless_libvips_converts_them(tmp_path):
    with pytest.raises(PictureError, match=r"kind of pixels cannot be streamed \(YCbCr\)"):
        open_huge(written(tmp_path, tiff(TALL, tags={262: [6]}), "tif"))
    path = written(tmp_path, file_of(Image.fromarray(TALL), "TIFF", compression="jpeg"), "tif")
    assert np.abs(open_huge(path).rgb[0:400].astype(int) - TALL).mean() < 3
