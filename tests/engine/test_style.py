import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toonbox.engine import style as stylize
from toonbox.engine.guided import NUMPY, fastest_arithmetic
from toonbox.engine.session import open_session
from toonbox.engine.style import Style, load_style
from toonbox.errors import ShapeError, StyleError, UsageError
from toonbox.images.picture import Picture
from toonbox.options import StyleOptions


@pytest.fixture
def style(tiny_style) -> Style:
    return load_style(tiny_style(reach=32), engine="onnxruntime", threads=1)


def photo(height: int, width: int) -> np.ndarray:
    """Smooth colours with an edge, the kind of picture a photo is."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 17), np.cos(y / 13), np.sin((x + y) / 29)], axis=2)
    waves[:, width // 2 :] *= -0.5
    return ((waves + 1) * 127.5).astype(np.uint8)


def chequers(height: int, width: int) -> np.ndarray:
    """Black and white that is not lost in a picture 64 pixels high."""
    y, x = np.mgrid[:height, :width] // -(-min(height, width) // 64)
    return ((x + y) % 2 == 0)[..., None]


@pytest.mark.parametrize("size", [(64, 64), (61, 35), (1, 1), (3, 500), (500, 3), (8, 7)])
def test_the_result_is_the_networks_on_the_padded_photo(style, tiny_style, size) -> None:
    original = photo(*size)
    edges = [(4, 4 + -side % 8) for side in size]
    padded = np.pad(original / 127.5 - 1, [*edges, (0, 0)], mode="reflect")
    session = open_session(tiny_style("again") / "style.onnx", "onnxruntime", 1)
    output = session.run(padded.astype(np.float32).transpose(2, 0, 1)[None])[0]
    inner = output.transpose(1, 2, 0)[4 : 4 + size[0], 4 : 4 + size[1]]
    expected = np.rint((inner + 1) * 127.5)
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
    monkeypatch.setattr(style.session, "run", lambda p, *k: seen.append(p.shape) or run(p, *k))
    original = photo(160, 320)
    for resolution in (None, 32, "native"):
        assert style(original, resolution=resolution).shape == original.shape
    assert seen == [(1, 3, 72, 136), (1, 3, 40, 72), (1, 3, 168, 328)]


@pytest.mark.parametrize(
    ("size", "usual", "finer"),
    [
        ((200, 320), (64, 102), (96, 154)),
        ((90, 120), (64, 85), (90, 120)),  # enlarged by less than a quarter: not worth it
        ((64, 80), (64, 80), (96, 120)),
        ((20, 30), (20, 30), (30, 45)),
        ((1, 9), (1, 9), (1, 9)),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_photos_full_of_detail_are_drawn_finer(
    tiny_style, size, usual, finer, kind, monkeypatch
) -> None:
    style = load_style(tiny_style(detail_resolution=96), engine="onnxruntime", threads=2)
    seen = []
    run = style._run
    monkeypatch.setattr(style, "_run", lambda p, *rest: seen.append(p.shape[:2]) or run(p, *rest))
    smooth = (photo(*size) // 4).astype(kind) * (np.iinfo(kind).max // 255)
    detailed = np.where(chequers(*size), np.iinfo(kind).max, smooth).astype(kind)
    for original, expected in ((smooth, usual), (detailed, finer if min(size) > 1 else usual)):
        cartoon = style(original)
        assert cartoon.shape == original.shape
        assert seen.pop() == expected
        assert style.largest_size(size, None) == finer
        assert (style(original, strength=0) == original).all()
        # A resolution that was asked for is kept.
        assert style(original, resolution=30).shape == original.shape
        assert seen.pop() == style.working_size(size, 30) == style.largest_size(size, 30)
    if finer != size and min(finer) == 96 < min(size):
        np.testing.assert_array_equal(style(detailed), style(detailed, resolution=96))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(64, 80), (90, 120), (180, 240)])
def test_photos_full_of_detail_may_be_transparent(tiny_style, size, kind) -> None:
    style = load_style(tiny_style(detail_resolution=96), engine="onnxruntime", threads=1)
    original = np.where(chequers(*size), np.iinfo(kind).max, photo(*size)).astype(kind)
    visible = np.arange(size[1]) % 3 > 0
    alpha = np.broadcast_to(visible, size).astype(kind)
    cartoon = style(np.dstack([original, alpha]))
    np.testing.assert_array_equal(cartoon[:, ~visible, :3], original[:, ~visible])
    np.testing.assert_array_equal(cartoon[:, visible, :3], style(original)[:, visible])
    np.testing.assert_array_equal(cartoon[..., 3], alpha)


@pytest.mark.parametrize("size", [(64, 80), (90, 120), (180, 240)])
def test_a_file_is_not_enlarged(tiny_style, size) -> None:
    style = load_style(tiny_style(detail_resolution=96), engine="onnxruntime", threads=1)
    original = photo(*size) ^ (chequers(*size) * 128).astype(np.uint8)
    strips = style.strips(Picture("a", Rows(original)))
    drawn = np.concatenate([values for _, values in strips])
    alike, other = (None, 64) if size[0] > 96 else (64, None)
    np.testing.assert_array_equal(drawn, style(original, resolution=alike))
    assert (drawn != style(original, resolution=other)).any()


def test_tiles_make_no_seam(style, monkeypatch: pytest.MonkeyPatch) -> None:
    original = photo(203, 331)
    whole = style(original, resolution="native")
    seen = []
    run = style.session.run
    monkeypatch.setattr(style.session, "run", lambda p, *k: seen.append(p.shape) or run(p, *k))
    tiled = Style(style.card, style.session, tile=64)(original, resolution="native")
    assert len(seen) == 4 * 6
    assert np.abs(tiled.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("size", [(3, 5000), (5000, 3), (100, 3000)])
def test_long_pictures_keep_their_shape(style, size) -> None:
    result = Style(style.card, style.session, tile=128)(photo(*size))
    assert result.shape == (*size, 3)
    assert result.flags.c_contiguous


def test_a_network_that_changes_the_size_is_no_style(style, monkeypatch) -> None:
    monkeypatch.setattr(style.session, "run", lambda photo, _: photo[..., ::2, ::2])
    with pytest.raises(StyleError, match="tiny: made"):
        style(photo(16, 16))


@pytest.mark.parametrize("works", [True, False])
def test_opencv_enlarges_where_it_works_and_is_worth_its_import(
    style, monkeypatch, works: bool
) -> None:
    fastest_arithmetic.cache_clear()
    if not works:
        monkeypatch.setitem(sys.modules, "cv2", None)
    used = []
    enlarge = stylize.upsample
    monkeypatch.setattr(stylize, "upsample", lambda *a: used.append(a[-1]) or enlarge(*a))
    monkeypatch.setattr(stylize, "OPENCV_PIXELS", 200 * 300)
    single = Style(style.card, style.session, single=True)
    for each, size in ((style, (90, 120)), (single, (200, 300)), (single, (90, 120))):
        each(photo(*size))
    fastest_arithmetic.cache_clear()
    assert [each is not NUMPY for each in used] == [works, works, False]


def test_arrays_in_any_order_of_memory_are_drawn_alike(style) -> None:
    original = photo(200, 301)
    for turned in (np.asfortranarray(original), original[..., ::-1].copy()[..., ::-1]):
        assert (style.stylize(turned) == style.stylize(original)).all()


@pytest.mark.parametrize("size", [(200, 301), (40, 50)])
@pytest.mark.parametrize("look", [{}, {"strength": 0.4}, {"strength": 0}, {"resolution": 48}])
@pytest.mark.parametrize("deep", [False, True])
def test_a_sketch_finished_is_the_cartoon(style, size, look, deep) -> None:
    original = photo(*size).astype(np.uint16) * 257 if deep else photo(*size)
    options = StyleOptions(**look)
    small, cartoon = style.sketch(original, options)
    assert small.shape == cartoon.shape == (*style.working_size(size, options.resolution), 3)
    finished = style.finish(original, small, cartoon, options.strength)
    assert finished.dtype == original.dtype
    # Of 16 bits, what is between was rounded.
    assert np.abs(finished.astype(int) - style(original, **look)).max() <= (40 if deep else 0)
    inverted = style.finish(original, small, ~cartoon, options.strength)
    assert (inverted == finished).all() == (options.strength == 0)


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
        style.stylize(wrong)


@pytest.mark.parametrize("options", [{"strength": 1.5}, {"strength": float("nan")},
                                     {"resolution": 0}, {"resolution": "large"}])  # fmt: skip
def test_options_out_of_range_are_wrong_usage(style, options) -> None:
    with pytest.raises(UsageError, match="must be"):
        style(photo(9, 9), **options)


@pytest.fixture
def knobbed(tiny_style) -> Style:
    folder = tiny_style("knobbed", knobs=("surface", "structure", "texture"), reach=32)
    return load_style(folder, engine="onnxruntime", threads=1)


@pytest.mark.parametrize(("knob", "channel"), [("surface", 0), ("structure", 1), ("texture", 2)])
def test_each_knob_reaches_its_place_in_the_network(knobbed, knob: str, channel: int) -> None:
    original = photo(40, 48)
    default = knobbed(original).astype(float)
    np.testing.assert_array_equal(knobbed(original, **{knob: 1}), default)
    # In this network a knob weighs what is added to one channel: twice the weight, twice as much.
    none, twice = (knobbed(original, **{knob: value}).astype(float) for value in (0, 2))
    others = [other for other in range(3) if other != channel]
    for changed in (none, twice):
        assert np.abs(changed - default)[..., channel].max() > 5
        np.testing.assert_array_equal(changed[..., others], default[..., others])
    unclipped = (none > 0) & (none < 255) & (twice > 0) & (twice < 255)
    assert unclipped[..., channel].mean() > 0.3
    assert np.abs(none + twice - 2 * default)[unclipped].max() <= 2


def test_knobs_follow_the_cards_order(tiny_style) -> None:
    folder = tiny_style("turned", knobs=("texture", "surface"))
    turned = load_style(folder, engine="onnxruntime", threads=1)
    difference = turned(photo(16, 16), texture=0).astype(int) - turned(photo(16, 16))
    assert np.abs(difference).max(axis=(0, 1))[0] > 0
    assert (difference[..., 1:] == 0).all()


def test_tiles_and_larger_photos_have_knobs_too(knobbed) -> None:
    original = photo(203, 331)
    whole = knobbed(original, resolution="native", texture=2)
    tiled = Style(knobbed.card, knobbed.session, tile=64)(original, resolution="native", texture=2)
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    assert np.abs(knobbed(original, texture=2).astype(int) - knobbed(original)).max() > 5


def test_a_knob_the_style_does_not_have_is_wrong_usage(style, tiny_style) -> None:
    with pytest.raises(UsageError, match="tiny has no knob texture; its knobs: none"):
        style(photo(9, 9), texture=1, strength=0)
    some = load_style(tiny_style("some", knobs=("surface", "structure")))
    with pytest.raises(UsageError, match="some has no knob texture; its knobs: surface, structure"):
        some(photo(9, 9), texture=1)


@pytest.mark.parametrize("value", [-0.1, 2.1, float("nan"), float("inf")])
def test_knobs_out_of_range_are_wrong_usage(knobbed, value: float) -> None:
    with pytest.raises(UsageError, match="structure must be from 0 to 2"):
        knobbed(photo(9, 9), structure=value, strength=0)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_card_and_network_must_agree_on_knobs(tiny_style, engine: str) -> None:
    pytest.importorskip(engine)
    with pytest.raises(StyleError, match=r"style\.onnx: takes no knobs, its card names surface"):
        load_style(tiny_style("a", knobs=("surface",), network_knobs=0), engine=engine)
    with pytest.raises(StyleError, match=r"style\.onnx: takes knobs, its card names none"):
        load_style(tiny_style("b", network_knobs=3), engine=engine)


def test_a_changed_network_is_not_loaded(tiny_style) -> None:
    folder: Path = tiny_style()
    with (folder / "style.onnx").open("ab") as network:
        network.write(b"\0")
    with pytest.raises(StyleError, match="sha256"):
        load_style(folder)
    (folder / "style.onnx").unlink()
    with pytest.raises(StyleError, match="No such file"):
        load_style(folder)


class Rows:
    """A photo that is read from top to bottom, and says so if it is not."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.place = self.passes = 0

    def __getitem__(self, rows: slice) -> np.ndarray:
        if rows.start is None:
            assert rows.stop == 0
            return self.values[:0]
        if rows.start == 0 and (self.place or not self.passes):
            self.passes, self.place = self.passes + 1, 0
        assert rows.start >= self.place
        self.place = rows.start
        return self.values[rows].copy()


@pytest.mark.parametrize("resolution", [None, 40, 150, "native"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_strips_over_the_photo_and_of_a_file_are_the_whole(
    style, resolution, kind, strength, monkeypatch
) -> None:
    monkeypatch.setattr(stylize, "STRIP_PIXELS", 200 * 16)
    original = photo(303, 200).astype(kind) * (np.iinfo(kind).max // 255)
    alpha = np.where(original[..., 0] > np.iinfo(kind).max // 2, 0, 9).astype(kind)
    small = Style(style.card, style.session, tile=64)
    options = StyleOptions(resolution=resolution, strength=strength)
    expected = small.draw(Picture("a", original, alpha), options)
    assert (expected == original)[alpha == 0].all()
    assert not (expected == original)[alpha > 0].all()
    rows = Rows(original)
    strips = list(small.strips(Picture("a", rows, alpha), options))
    assert rows.passes == (1 if resolution == "native" else 2)
    assert [rows.start for rows, _ in strips] == [0, *(rows.stop for rows, _ in strips[:-1])]
    np.testing.assert_array_equal(np.concatenate([values for _, values in strips]), expected)
    assert small.draw(Picture("a", original, alpha), options, in_place=True) is original
    np.testing.assert_array_equal(original, expected)


def test_reducing_is_what_pillow_does() -> None:
    original = photo(403, 611)
    expected = Image.fromarray(original).resize(
        (50, 33), Image.Resampling.HAMMING, reducing_gap=1.5
    )
    difference = np.abs(stylize._resized(original, (33, 50)).astype(int) - expected)
    assert difference.max() <= 1
    deep = stylize._resized(original.astype(np.uint16) * 257, (33, 50))
    assert np.abs(deep - expected).max() <= 1.5


@pytest.mark.parametrize("size", [(160, 160), (161, 200), (257, 150), (128, 448)])
def test_the_shipped_network_makes_no_seams(size) -> None:
    shipped = load_style("comic", engine="onnxruntime", threads=1)
    original = photo(*size)
    noise = np.random.default_rng(0).normal(0, 30, original.shape)
    original = np.clip(original + noise, 0, 255).astype(np.uint8)
    tiles = Style(shipped.card, shipped.session, tile=32)
    seen = []
    tiles.session = Noting(shipped.session, seen)
    for look in ({}, {"texture": 2.0, "surface": 0.0}):
        whole = shipped(original, resolution="native", **look)
        tiled = tiles(original, resolution="native", **look)
        assert np.abs(tiled.astype(int) - whole).max() <= 1
    few = (size[0] + 7) * (size[1] + 7) <= (32 + 2 * 128) ** 2
    assert len(seen) == 2 * (1 if few else -(-size[0] // 32) * -(-size[1] // 32))


class Noting:
    """A session that notes what it is given."""

    takes_knobs, threads = True, 1

    def __init__(self, session, seen: list) -> None:
        self.session, self.seen = session, seen

    def run(self, batch, knobs=None):
        self.seen.append(batch.shape)
        return self.session.run(batch, knobs)
