import os

import cv2
import numpy as np
import pytest
from PIL import Image

from icc_profiles import ADOBE_RGB, DISPLAY_P3, reference, rgb_profile
from stub_style import StubStyle
from toonbox.convert.cartoonize import cartoonize_file
from toonbox.engine.style import load_style
from toonbox.errors import OutputError, PictureError, UnexpectedError, UsageError
from toonbox.images.encode import encode
from toonbox.images.picture import Picture, decode

RGB = np.random.default_rng(5).integers(0, 256, (20, 26, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(6).integers(0, 256, (20, 26), dtype=np.uint8)


@pytest.fixture
def style(tiny_style, tmp_path_factory):
    return load_style(tiny_style(to=tmp_path_factory.mktemp("styles")))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(RGB).save(path)
    return path


def test_knobs_reach_the_style(tiny_style, photo, tmp_path, style):
    knobbed = load_style(tiny_style("knobbed", knobs=("surface", "structure", "texture")))
    knobs = {"surface": 0.0, "structure": 2.0, "texture": 0.5}
    expected = knobbed(RGB, **knobs)
    assert np.abs(expected.astype(int) - knobbed(RGB)).max() > 0
    cartoonize_file(photo, tmp_path / "out.png", style=knobbed, **knobs)
    np.testing.assert_array_equal(decode(tmp_path / "out.png").rgb, expected)
    with pytest.raises(UsageError, match="tiny has no knob surface"):
        cartoonize_file(photo, tmp_path / "none.png", style=style, surface=1)


def test_from_disk_to_disk(photo, tmp_path, style):
    target = tmp_path / "new" / "folder" / "cartoon.png"
    cartoonize_file(photo, target, style=style)
    np.testing.assert_array_equal(decode(target).rgb, style(RGB))
    assert [path.name for path in target.parent.iterdir()] == ["cartoon.png"]


@pytest.mark.parametrize(
    ("name", "format"), [("a.jpg", "JPEG"), ("a.WEBP", "WEBP"), ("a", "PNG"), ("a.tif", "TIFF")]
)
def test_target_names_the_format(name, format, photo, tmp_path, style):
    cartoonize_file(photo, tmp_path / name, style=style)
    assert decode(tmp_path / name).format == format


@pytest.mark.parametrize("size", [(1, 1), (3, 5000)])
def test_odd_sizes(size, tmp_path, style):
    photo = tmp_path / "odd.png"
    Image.new("RGB", size, (90, 120, 30)).save(photo)
    cartoonize_file(photo, tmp_path / "out.png", style=style)
    assert Image.open(tmp_path / "out.png").size == size


def test_does_not_overwrite_unless_told(photo, tmp_path, style):
    target = tmp_path / "there.png"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"there\.png exists already"):
        cartoonize_file(photo, target, style=style)
    assert target.read_bytes() == b"mine"
    cartoonize_file(photo, target, style=style, overwrite=True)
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
        cartoonize_file(photo, target, style=style, overwrite=True)
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "photo.png"]


def test_a_folder_that_cannot_be(photo, style):
    with pytest.raises(OutputError, match="cannot be written"):
        cartoonize_file(photo, photo / "inside" / "out.png", style=style)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(RuntimeError("odd"), UnexpectedError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_nothing_is_written_when_the_network_stops(error, raised, style, photo, tmp_path):
    def stops(photo):
        raise error

    with pytest.raises(raised):
        cartoonize_file(photo, tmp_path / "out.png", style=StubStyle(style, stops))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_failure_while_encoding_writes_nothing(tmp_path, style):
    photo = tmp_path / "wide.png"
    Image.new("RGB", (17_000, 1)).save(photo)
    with pytest.raises(OutputError, match=r"wide\.png: cannot be written as WEBP"):
        cartoonize_file(photo, tmp_path / "out.webp", style=style, strength=0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.png"]


def test_too_much_for_the_memory(style, photo, tmp_path):
    def greedy(photo):
        raise MemoryError

    with pytest.raises(PictureError, match=r"photo\.png: needs more memory"):
        cartoonize_file(photo, tmp_path / "out.png", style=StubStyle(style, greedy))


def wide_png(path, primaries):
    y, x = np.mgrid[0:160, 0:200]
    waves = np.stack([np.sin(x / 17), np.cos(y / 13), np.sin((x + y) / 29)], axis=2)
    rgb = ((waves + 1) * 60 + 60).astype(np.uint8)
    Image.fromarray(rgb).save(path, icc_profile=rgb_profile(primaries))
    return rgb


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB], ids=["display-p3", "adobe-rgb"])
@pytest.mark.parametrize("resolution", [64, "native"])
def test_a_wide_photo_comes_back_in_its_own_colours(primaries, resolution, tmp_path, style):
    photo, target = tmp_path / "wide.png", tmp_path / "out.png"
    rgb = wide_png(photo, primaries)
    cartoonize_file(photo, target, style=style, resolution=resolution)
    written = Image.open(target)
    assert written.info["icc_profile"] == rgb_profile(primaries)
    # It looks like the cartoon of the same photo in sRGB.
    srgb = np.rint(reference(rgb, primaries).clip(0, 255)).astype(np.uint8)
    expected = style(srgb, resolution=resolution)
    looks = reference(np.array(written), primaries)
    inside = (looks > 8).all(axis=2) & (looks < 247).all(axis=2)
    assert inside.mean() > 0.5
    assert np.abs(looks - expected)[inside].mean() < 2
    assert np.abs(np.array(written)[inside] - expected[inside].astype(int)).mean() > 4


def test_without_strength_a_wide_photo_is_unchanged(tmp_path, style):
    rgb = wide_png(tmp_path / "wide.png", DISPLAY_P3)
    cartoonize_file(tmp_path / "wide.png", tmp_path / "out.png", style=style, strength=0.0)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out.png")), rgb)


def deep_ramp(path):
    """A slow ramp of 16 bits, written by another program; OpenCV's order of colours."""
    values = np.linspace(8000, 57000, 1500).astype(np.uint16)
    rgb = np.repeat(np.tile(values, (70, 1))[..., None], 3, axis=2)
    assert cv2.imwrite(str(path), rgb)
    return rgb


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("resolution", [32, "native"])
def test_sixteen_bits_stay_smooth(suffix, resolution, tmp_path, style):
    photo, target = tmp_path / f"deep{suffix}", tmp_path / f"out{suffix}"
    deep_ramp(photo)
    cartoonize_file(photo, target, style=style, resolution=resolution)
    result = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    assert result.dtype == np.uint16
    for channel in range(3):
        row = result[35, 100:-100, channel]
        assert len(np.unique(row)) > 1000
        # No steps as large as those of 8 bits.
        assert np.abs(np.diff(row.astype(int))).max() < 200
    # The same cartoon as in 8 bits, but for rounding.
    eight = tmp_path / "eight.png"
    Image.fromarray(decode(photo).rgb.astype(np.float32)[..., 0] / 257).convert("RGB").save(eight)
    expected = style(decode(eight).rgb, resolution=resolution)
    assert np.abs(result[..., ::-1] / 257 - expected).mean() < 1.5


def test_sixteen_bits_in_wide_colours_stay_smooth(tmp_path, style):
    rgb = deep_ramp(tmp_path / "plain.png")
    own = rgb_profile(ADOBE_RGB)
    (tmp_path / "deep.png").write_bytes(encode(Picture("p", rgb, icc_profile=own), rgb, "PNG"))
    cartoonize_file(tmp_path / "deep.png", tmp_path / "out.tif", style=style, resolution=32)
    assert Image.open(tmp_path / "out.tif").info["icc_profile"] == own
    result = cv2.imread(str(tmp_path / "out.tif"), cv2.IMREAD_UNCHANGED)
    for channel in range(3):
        assert len(np.unique(result[35, :, channel])) > 1000


def test_grey_files_stay_grey(tmp_path, style):
    Image.fromarray(RGB[..., 0]).save(tmp_path / "grey.png")
    cartoonize_file(tmp_path / "grey.png", tmp_path / "out.jpg", style=style)
    assert Image.open(tmp_path / "out.jpg").mode == "L"


def test_lossless_is_refused_before_the_network_works(photo, style, tmp_path):
    def never(photo):
        raise AssertionError("the network worked")

    with pytest.raises(OutputError, match="JPEG is never lossless"):
        cartoonize_file(photo, tmp_path / "out.jpg", style=StubStyle(style, never), lossless=True)
