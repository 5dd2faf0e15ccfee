"""The drawn target, on pictures made by hand."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from toonbox.learn.representations.drawing import (
    CHANNELS,
    Layers,
    Look,
    line_response,
    lines,
    quantise,
    strokes,
)
from toonbox.learn.representations.fill import fill, fit_planes
from toonbox.learn.representations.flow import (
    Float,
    Flow,
    abstract,
    across,
    along,
    detail_step,
    shock,
)

SIDE = 64
INSIDE = (slice(8, -8), slice(8, -8))


def grey(values: Float) -> Float:
    return np.repeat(values.astype(np.float32)[..., None], 3, axis=2)


def ramp(angle: float = 0.0, blur: float = 3.0) -> Float:
    """A soft edge from 0.2 to 0.8 through the middle, across `angle` degrees."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    return grey(0.5 + 0.3 * np.tanh(distance / blur))


def ring(radius: float = 18.0, width: float = 1.5) -> Float:
    """A dark circle on white."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return grey(1 - 0.9 * np.exp(-(((np.hypot(x, y) - radius) / width) ** 2)))


def whole_steps(image: Float) -> Float:
    return np.ones(image.shape[:2], np.float32)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135])
def test_the_flow_runs_along_an_edge(angle: float) -> None:
    flow = Flow.of(ramp(angle), 2.0)
    middle = (slice(28, 36), slice(28, 36))
    across_it = flow.x * np.cos(np.radians(angle)) + flow.y * np.sin(np.radians(angle))
    assert np.abs(across_it[middle]).max() < 0.02
    np.testing.assert_allclose(np.hypot(flow.x, flow.y), 1, atol=1e-5)
    assert flow.coherence[middle].min() > 0.95


def test_noise_is_less_coherent_than_an_edge() -> None:
    noise = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)
    assert Flow.of(noise, 3.0).coherence.mean() < 0.4


def test_smoothing_along_an_edge_keeps_it_and_removes_noise_along_it() -> None:
    edge = ramp(30)
    noisy = edge + np.random.default_rng(1).normal(0, 0.03, edge.shape).astype(np.float32)
    smooth = along(noisy, Flow.of(noisy, 3.0), 4.0, whole_steps(edge))
    before = np.abs(noisy - edge)[INSIDE].mean()
    assert np.abs(smooth - edge)[INSIDE].mean() < 0.4 * before


def test_smoothing_across_an_edge_leaves_a_high_one() -> None:
    edge = grey(np.where(np.arange(SIDE) < SIDE // 2, 0.1, 0.9) * np.ones((SIDE, 1)))
    smooth = across(edge, Flow.of(edge, 1.0), 2.0, whole_steps(edge), 0.05)
    np.testing.assert_allclose(smooth, edge, atol=0.01)


@pytest.mark.parametrize("angle", [0, 30, 90])
def test_an_edge_gets_sharper_and_stays_straight_and_in_place(angle: float) -> None:
    soft = ramp(angle)
    hard = soft
    for _ in range(3):
        hard = abstract(hard, whole_steps(soft))

    def steepness(image: Float) -> float:
        gx, gy = (cv2.Sobel(image[..., 0], cv2.CV_32F, *d, scale=1 / 8) for d in ((1, 0), (0, 1)))
        return float(np.hypot(gx, gy)[24:40, 24:40].max())

    assert steepness(hard) > 1.5 * steepness(soft)
    light, dark = hard[..., 0] > 0.5, soft[..., 0] > 0.5
    # The two halves part where they did: at most a pixel of the edge has changed sides.
    assert (light != dark)[INSIDE].mean() < 0.01


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_constant_areas_stay(level: float) -> None:
    flat = np.full((32, 40, 3), level, np.float32)
    step = whole_steps(flat)
    np.testing.assert_allclose(abstract(flat, step), flat, atol=1e-5)
    np.testing.assert_allclose(shock(flat, Flow.of(flat, 1.0), step), flat, atol=1e-6)
    np.testing.assert_allclose(line_response(flat, 1.0, 4.0, step), 0, atol=1e-5)


def test_the_result_turns_with_the_picture() -> None:
    image = ring() * np.float32(0.7) + ramp(20) * np.float32(0.3)
    turned = np.ascontiguousarray(np.rot90(image))
    step = whole_steps(image)
    expected = np.rot90(abstract(image, step))
    difference = np.abs(abstract(turned, step) - expected)
    # Single pixels on the border of a shock may fall to the other side.
    assert np.quantile(difference, 0.99) < 0.02
    assert difference.max() < 0.1
    response = np.rot90(line_response(image, 1.0, 4.0, step))
    np.testing.assert_allclose(line_response(turned, 1.0, 4.0, step), response, atol=0.01)


def test_the_line_of_a_ring_closes() -> None:
    image = ring()
    response = line_response(image, 1.05, 4.0, whole_steps(image))
    drawn = lines(response, np.ones_like(response), 0.004, 100.0, 0.0)
    around = np.radians(np.arange(360))
    x, y = ((SIDE - 1) / 2 + 18 * f(around) for f in (np.cos, np.sin))
    assert drawn[np.rint(y).astype(int), np.rint(x).astype(int)].min() > 0.9
    assert drawn[SIDE // 2, SIDE // 2] == 0


def test_lines_lie_on_the_dark_side() -> None:
    response = line_response(ramp(0, 1.0), 1.05, 4.0, np.ones((SIDE, SIDE), np.float32))
    assert response[32, 29:32].max() > 0.01
    assert response[32, 32:35].min() < -0.005


def test_lines_fade_where_the_flow_is_incoherent_and_where_they_crowd() -> None:
    response = np.full((32, 32), 0.1, np.float32)
    ones = np.ones_like(response)
    assert lines(response, ones, 0.004, 100, 0).min() == 1
    assert lines(response, 0 * ones, 0.004, 100, 0).max() == 0
    np.testing.assert_allclose(lines(response, ones, 0.004, 100, 1.0), 0.25, atol=1e-6)


def test_long_and_strong_lines_are_strokes_and_others_dashes() -> None:
    response, ones = np.zeros((96, 96), np.float32), np.ones((96, 96), np.float32)
    for row, length, strength in ((16, 80, 0.009), (48, 10, 0.009), (80, 10, 0.03)):
        response[row : row + 2, 4 : 4 + length] = strength
    kept = strokes(response, ones)
    assert kept[16:18, 4:84].min() == 1
    assert kept[48:50, 4:14].max() == 0
    assert kept[80:82, 4:14].min() == 1
    assert kept[64].max() == 0
    np.testing.assert_array_equal(strokes(response, 0 * ones), 0)
    response[:, 4:84] = np.where(np.arange(96) % 4 < 2, 0.009, 0)[:, None]
    assert strokes(response, ones).max() < 0.6  # the same lines, crowded


def draw(layers: Layers, look: Look, **knobs: float) -> np.ndarray:  # type: ignore[type-arg]
    return layers.draw(look, **knobs)[0].astype(int)


def test_dashes_of_texture_can_be_finer_or_left_out() -> None:
    photo = np.full((96, 128, 3), 0.75, np.float32)
    for place, row in enumerate(range(8, 88, 10)):
        start = 8 + 13 * (place % 3)
        photo[row : row + 3, start : start + 10] = 0.55
    photo[:, 90:94] = 0.05
    layers = Layers.of((photo.clip(0, 1) * 255).astype(np.uint8))
    drawn, without = (draw(layers, Look(dashes=d)) for d in (1.0, 0.0))
    grain = slice(8, 56)
    assert drawn[:, grain].min() < 100
    assert without[:, grain].min() > 150
    np.testing.assert_array_equal(without[:, 80:104], drawn[:, 80:104])
    _, left_out = layers.draw(Look(dashes=0.0))
    assert left_out[:, grain].max() > 100
    assert left_out[:, 80:104].max() == 0
    _, faint = layers.draw(Look(dashes=0.75, line=0.8, fine=Look().pen))
    np.testing.assert_allclose(faint, 0.25 * 0.8 * left_out, atol=1)
    bold, fine = (draw(layers, Look(dashes=1.0, fine=f))[:, grain] for f in (1.35, 0.7))
    assert (fine < 100).any()
    assert (fine < 130).sum() < 0.8 * (bold < 130).sum()


def test_steps_are_short_in_fine_detail_only() -> None:
    image = np.full((96, 192, 3), 0.5, np.float32)
    image[:, 96:] = np.random.default_rng(0).random((96, 96, 1))
    step = detail_step(image, 0.5)
    assert step[48, 20] == 1
    assert step[48, 170] == pytest.approx(0.5)


def test_lightness_becomes_a_few_tones_and_no_bands_in_a_slow_gradient() -> None:
    slow = grey(np.linspace(0.2, 0.8, 600)[None] * np.ones((20, 1)))
    banded = quantise(slow, 4, 20, 0)
    assert (np.abs(np.diff(banded[10, :, 0])) < 2e-4).mean() > 0.5
    np.testing.assert_allclose(quantise(slow, 4, 20, 3.0), slow, atol=0.06)
    np.testing.assert_allclose(quantise(slow, 4, 1, 0), slow, atol=5e-3)


@pytest.fixture(scope="module")
def layers() -> Layers:
    picture = ring() * np.float32(0.5) + ramp(40) * np.array([0.2, 0.4, 0.5], np.float32)
    picture += np.random.default_rng(0).normal(0, 0.02, picture.shape).astype(np.float32)
    return Layers.of((picture.clip(0, 1) * 255).astype(np.uint8))


def test_layers_hold_the_photo_and_all_that_is_drawn(layers: Layers) -> None:
    assert layers.packed.shape == (SIDE, SIDE, CHANNELS)
    assert layers.packed.dtype == np.uint8
    plain = Look(hardness=1, solid=0, line=0, saturation=1, gamma=1)
    photo = layers.packed[..., :3].astype(int)
    assert np.abs(draw(layers, plain, surface=0) - photo).max() <= 2


def test_knobs_turn_what_they_are_named_after(layers: Layers) -> None:
    look = Look()

    def roughness(image: np.ndarray) -> float:  # type: ignore[type-arg]
        return float(np.abs(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F)).mean())

    no_lines = Look(line=0)
    rough, smooth = (roughness(draw(layers, no_lines, surface=s)) for s in (0, 1))
    assert rough > smooth
    dark = [(draw(layers, look, texture=t).min(axis=2) < 40).mean() for t in (0, 1, 2)]
    assert dark[0] < dark[1] < dark[2]
    soft, hard = (draw(layers, no_lines, structure=s) for s in (0, 2))
    assert len(np.unique(hard[..., 1])) < len(np.unique(soft[..., 1]))


def test_a_crop_is_drawn_as_the_whole_picture(layers: Layers) -> None:
    corner, crop = np.s_[:24, :24], Layers(layers.packed[:48, :48])
    # Even areas reach further than what surrounds a crop: they are those of what it shows.
    for even, most in ((0.0, 1), (0.1, 2 * 0.1 * 255)):
        whole, part = (draw(part, Look(even=even))[corner] for part in (layers, crop))
        assert np.abs(whole - part).max() <= most


def test_lines_take_the_colour_of_what_they_are_drawn_on(layers: Layers) -> None:
    black, tinted = (draw(layers, Look(tint=t)) for t in (0.0, 1.0))
    assert tinted.min(axis=2).mean() > black.min(axis=2).mean()


def test_blacks_stay_where_the_rest_is_lit_up() -> None:
    image = np.full((32, 64, 3), 12, np.uint8)
    image[:, 32:] = 140
    layers = Layers.of(image)
    plain = Look(hardness=1, solid=0, line=0, saturation=1, gamma=0.5, blacks=0)
    lifted, kept = (draw(layers, replace(plain, blacks=b)) for b in (0, 0.3))
    assert lifted[16, 8, 0] > 50
    assert kept[16, 8, 0] < 20
    np.testing.assert_array_equal(kept[:, 40:], lifted[:, 40:])


def test_planes_are_fitted_to_each_segment() -> None:
    y, x = np.indices((200, 300), dtype=np.float32)
    labels = (x >= 150).astype(np.int32)
    left, right = 0.1 + 0.003 * x + 0.001 * y, 0.9 - 0.003 * y
    slopes = grey(np.where(labels, right, left))
    np.testing.assert_allclose(fit_planes(slopes, labels), slopes, atol=0.01)
    noisy = slopes + np.random.default_rng(0).normal(0, 0.05, slopes.shape).astype(np.float32)
    np.testing.assert_allclose(fit_planes(noisy, labels), slopes, atol=0.015)


def test_areas_become_even_up_to_their_edges() -> None:
    halves = np.where(np.arange(SIDE) < SIDE // 2, 0.3, 0.7) * np.ones((SIDE, 1))
    mottled = cv2.GaussianBlur(np.random.default_rng(0).random((SIDE, SIDE)), (0, 0), 3)
    image = grey(halves + 0.2 * (mottled - mottled.mean()))
    for part in (np.s_[:, : SIDE // 2 - 1], np.s_[:, SIDE // 2 + 1 :]):
        assert fill(image)[part].std() < 0.5 * image[part].std()
    assert np.abs(fill(image) - grey(halves)).max() < 0.05
    slow = grey(np.linspace(0.2, 0.8, 300)[None] * np.ones((SIDE, 1)))
    np.testing.assert_allclose(fill(slow), slow, atol=0.05)  # no steps in a slow gradient
    assert np.abs(np.diff(fill(slow)[32, :, 0])).max() < 0.01


def test_colours_change_by_at_most_what_a_look_allows(layers: Layers) -> None:
    look = Look(hardness=1, solid=0, line=0, saturation=1, gamma=1, even=0)
    as_it_is = draw(layers, look)
    soft = cv2.GaussianBlur(as_it_is.astype(np.float32), (0, 0), 0.6)
    little, more = (draw(layers, replace(look, even=even)) for even in (0.02, 0.04))
    assert 3 < np.abs(little - soft).max() <= 0.02 * 255 + 2
    assert np.abs(little - soft).max() < np.abs(more - soft).max() <= 0.04 * 255 + 2
    np.testing.assert_array_equal(draw(layers, replace(look, even=0.02), structure=2), more)
    for removed in ({"structure": 0.0}, {"surface": 0.0}):
        without = draw(layers, look, **removed)
        np.testing.assert_array_equal(draw(layers, replace(look, even=0.04), **removed), without)


def test_dark_colours_become_solid_black() -> None:
    image = np.full((32, 64, 3), 20, np.uint8)
    image[:, 32:] = 200
    layers = Layers.of(image)
    as_it_is, black = (draw(layers, Look(hardness=1, line=0, solid=b)) for b in (0, 0.5))
    assert 0 < black[16, 8, 0] < 0.5 * as_it_is[16, 8, 0]
    np.testing.assert_array_equal(black[:, 40:], as_it_is[:, 40:])
