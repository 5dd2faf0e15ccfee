from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toonbox.engine import stylize
from toonbox.engine.session import open_session
from toonbox.engine.stylize import Style, load_style
from toonbox.errors import ShapeError, StyleError, UsageError


@pytest.fixture
def style(tiny_style) -> Style:
    return load_style(tiny_style(), engine="onnxruntime", threads=1)


def photo(height: int, width: int) -> np.ndarray:
    """Smooth colours with an edge, the kind of picture a photo is."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 17), np.cos(y / 13), np.sin((x + y) / 29)], axis=2)
    waves[:, width // 2 :] *= -0.5
    return ((waves + 1) * 127.5).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (61, 35), (1, 1), (3, 500), (500, 3), (8, 7)])
def test_the_result_is_the_networks_on_the_padded_photo(style, tiny_style, size) -> None:
    original = photo(*size)
    missing = [(0, -side % 8) for side in size]
    padded = np.pad(original / 127.5 - 1, [*missing, (0, 0)], mode="reflect")
    session = open_session(tiny_style("again") / "style.onnx", "onnxruntime", 1)
    output = session.run(padded.astype(np.float32).transpose(2, 0, 1)[None])[0]
    expected = np.rint((output.transpose(1, 2, 0)[: size[0], : size[1]] + 1) * 127.5)
    difference = np.abs(style(original).astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_strength_blends_between_photo_and_cartoon(style) -> None:
    original = photo(40, 48)
    cartoon = style(original)
    assert (style(original, strength=0.0) == original).all()
    assert np.abs(cartoon.astype(int) - original).max() > 20
    half = (cartoon.astype(float) + original) / 2
    assert np.abs(style(original, strength=0.5) - half).max() <= 0.5


def test_a_larger_photo_comes_back_at_its_size_with_its_detail(style) -> None:
    original = photo(200, 301)
    result = style(original)
    assert result.shape == original.shape
    # The same colours as the small cartoon...
    small = np.asarray(Image.fromarray(original).resize((96, 64), Image.Resampling.LANCZOS))
    reduced = np.asarray(Image.fromarray(result).resize((96, 64), Image.Resampling.LANCZOS))
    assert np.abs(reduced.astype(int) - style(small)).mean() < 3
    # ...and a sharper edge than enlarging that would give.
    enlarged = np.asarray(
        Image.fromarray(style(small)).resize((301, 200), Image.Resampling.BICUBIC)
    )
    edge = np.s_[50:150, 148:153]
    steepness = [
        np.abs(np.diff(p[edge].astype(int), axis=1)).max(axis=1).mean() for p in (result, enlarged)
    ]
    assert steepness[0] > 1.5 * steepness[1]


def test_resolution_is_never_above_the_photos(style) -> None:
    original = photo(40, 50)
    assert (style(original, resolution=4000) == style(original, resolution="native")).all()


def test_resolution_changes_the_size_at_which_the_network_works(style, monkeypatch) -> None:
    seen = []
    run = style.session.run
    monkeypatch.setattr(style.session, "run", lambda p: seen.append(p.shape) or run(p))
    original = photo(160, 320)
    for resolution in (None, 32, "native"):
        assert style(original, resolution=resolution).shape == original.shape
    assert seen == [(1, 3, 64, 128), (1, 3, 32, 64), (1, 3, 160, 320)]


def test_tiles_make_no_seam(style, monkeypatch: pytest.MonkeyPatch) -> None:
    original = photo(203, 331)
    whole = style(original, resolution="native")
    monkeypatch.setattr(stylize, "TILE", 64)
    monkeypatch.setattr(stylize, "MARGIN", 32)
    seen = []
    run = style.session.run
    monkeypatch.setattr(style.session, "run", lambda p: seen.append(p.shape) or run(p))
    tiled = style(original, resolution="native")
    assert len(seen) == 4 * 6
    assert np.abs(tiled.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("size", [(3, 5000), (5000, 3), (100, 3000)])
def test_long_pictures_keep_their_shape(style, monkeypatch: pytest.MonkeyPatch, size) -> None:
    monkeypatch.setattr(stylize, "TILE", 128)
    monkeypatch.setattr(stylize, "MARGIN", 32)
    result = style(photo(*size))
    assert result.shape == (*size, 3)
    assert result.flags.c_contiguous


def test_a_network_that_changes_the_size_is_no_style(style, monkeypatch) -> None:
    monkeypatch.setattr(style.session, "run", lambda photo: photo[..., ::2, ::2])
    with pytest.raises(StyleError, match="tiny: made"):
        style(photo(16, 16))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(style, wrong: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=r"uint8 \(H, W, 3\)"):
        style(wrong)


@pytest.mark.parametrize("options", [{"strength": 1.5}, {"strength": float("nan")},
                                     {"resolution": 0}, {"resolution": "large"}])  # fmt: skip
def test_options_out_of_range_are_wrong_usage(style, options) -> None:
    with pytest.raises(UsageError, match="must be"):
        style(photo(9, 9), **options)


def test_a_changed_network_is_not_loaded(tiny_style) -> None:
    folder: Path = tiny_style()
    with (folder / "style.onnx").open("ab") as network:
        network.write(b"\0")
    with pytest.raises(StyleError, match="sha256"):
        load_style(folder)
    (folder / "style.onnx").unlink()
    with pytest.raises(StyleError, match="No such file"):
        load_style(folder)
