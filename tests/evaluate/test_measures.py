import cv2
import numpy as np
import pytest

from toonbox.learn.evaluate.measures import (
    MEASURES,
    clipped_share,
    colour_drift,
    colour_segments,
    edge_similarity,
    flat_share,
    gradient,
    interior_energy,
    luminance,
    means,
    measure,
    outline_contrast,
    strongest_edges,
)

SIDE = 128


def grey(levels) -> np.ndarray:
    """Make (H, W) levels a picture."""
    rounded = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(rounded[..., None], (*rounded.shape, 3)))


def noise(seed: int = 0, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def step(dark: int = 80, light: int = 180) -> np.ndarray:
    """An upright step in the middle."""
    levels = np.full((SIDE, SIDE), dark)
    levels[:, SIDE // 2 :] = light
    return grey(levels)


def lined(depth: int, width: int = 3) -> np.ndarray:
    """The step with a line along it that is darker than its dark side."""
    drawn = step().copy()
    drawn[:, SIDE // 2 - width : SIDE // 2] = 80 - depth
    return drawn


def blurred(rgb: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(rgb, (0, 0), sigma)


def checkerboard(cell: int, levels: int) -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE)) // cell
    return np.where((rows + columns) % 2, levels, -levels)


# Luminance


def test_luminance_is_the_weighted_sum_of_the_channels():
    primaries = 255 * np.eye(3, dtype=np.uint8)[None]
    assert luminance(primaries)[0] == pytest.approx([0.299 * 255, 0.587 * 255, 0.114 * 255])


def test_the_gradient_of_a_ramp_is_its_slope():
    rows, columns = np.indices((20, 20))
    across, down = gradient((3 * columns - 2 * rows).astype(np.float32))
    assert across[5:-5, 5:-5] == pytest.approx(3)
    assert down[5:-5, 5:-5] == pytest.approx(-2)


# Content


def test_the_same_edges_are_fully_similar():
    assert edge_similarity(noise(), noise()) == pytest.approx(1)


def test_edges_count_not_levels():
    assert edge_similarity(step(80, 180), step(60, 160)) == pytest.approx(1)


def test_more_blur_leaves_less_edge_similarity():
    photo = noise()
    likeness = [edge_similarity(photo, blurred(photo, sigma)) for sigma in (0.5, 1, 2)]
    assert 1 > likeness[0] > likeness[1] > likeness[2] > 0


def test_similarity_of_ramps_is_the_formula_for_even_edge_maps():
    # Maps of 2 * 2 and 2 * 1 levels but at the border, without variance: eq. 6 of Wang et al.
    steep, gentle = (grey(slope * np.indices((SIDE, SIDE))[1]) for slope in (1.9, 1))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 3.8 * 2 + c1) / (3.8**2 + 2**2 + c1)
    assert edge_similarity(steep, gentle) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        # sRGB in CIE Lab (D65): white (100, 0, 0), black (0, 0, 0), red (53.24, 80.09, 67.20).
        ((255, 255, 255), (0, 0, 0), 100),
        ((255, 0, 0), (0, 0, 0), np.sqrt(53.24**2 + 80.09**2 + 67.20**2)),
        ((255, 0, 0), (255, 255, 255), np.sqrt(46.76**2 + 80.09**2 + 67.20**2)),
        ((12, 34, 56), (12, 34, 56), 0),
    ],
)
def test_drift_of_even_colours_is_their_difference_in_lab(one, other, difference):
    pictures = [np.full((64, 64, 3), colour, np.uint8) for colour in (one, other)]
    assert colour_drift(*pictures) == pytest.approx(difference, abs=0.3)


def test_texture_is_no_drift():
    photo = np.full((SIDE, SIDE, 3), 128, np.uint8)
    assert colour_drift(photo, grey(128 + checkerboard(2, 40))) < 0.5


# Flatness


def test_segments_are_counted_per_megapixel():
    quarters = np.zeros((100, 100, 3), np.uint8)
    quarters[:50, :50], quarters[:50, 50:], quarters[50:, :50] = (200, 0, 0), (0, 200, 0), 255
    assert colour_segments(quarters) == 4 / (100 * 100) * 1e6


def test_outlines_are_no_segments():
    areas = np.full((100, 100, 3), 200, np.uint8)
    areas[:, 50:] = 120
    areas[:, 48:52] = 0
    assert colour_segments(areas) == 200


def test_every_tile_is_a_segment():
    shades = np.random.default_rng(0).permutation(16).reshape(4, 4) * 15
    assert colour_segments(grey(np.kron(shades, np.ones((25, 25))))) == 16 / 100**2 * 1e6


def test_a_ramp_is_flat_below_one_level_a_pixel():
    columns = np.indices((64, 256))[1]
    assert flat_share(grey(columns // 2)) > 0.99  # half a level a pixel
    assert flat_share(grey(np.clip(2 * columns, 0, 255))) == pytest.approx(0.5, abs=0.02)


def test_detail_counts_inside_of_regions_only():
    photo = step()
    output = photo.copy()
    output[:, SIDE // 2 - 2 : SIDE // 2 + 2] = noise()[:, :4]  # within 3 pixels of the edge
    quiet = interior_energy(photo, output)
    textured = grey(photo[..., 0] + checkerboard(1, 10))
    # A blur of sigma 2 leaves nothing of a checkerboard of single pixels: its energy is 10^2.
    assert interior_energy(photo, textured) == pytest.approx(100, rel=0.02)
    assert quiet < 5
    assert interior_energy(photo, photo) < 0.5


def test_smoothing_lowers_detail():
    photo = blurred(noise(), 1)
    energies = [interior_energy(photo, blurred(photo, sigma)) for sigma in (0.3, 1, 2)]
    assert energies == sorted(energies, reverse=True)


def test_a_photo_that_is_all_edges_has_no_inside():
    lines = np.zeros((64, 64))
    lines[::6] = 255
    assert interior_energy(grey(lines), noise(side=64)) == 0


# Outlines


def test_the_strongest_edge_of_a_step_is_a_thin_line():
    edges = strongest_edges(step())
    assert edges[:, SIDE // 2 - 1 : SIDE // 2 + 1].any(axis=1).all()
    assert not edges[:, : SIDE // 2 - 1].any()
    assert not edges[:, SIDE // 2 + 1 :].any()


def test_the_strongest_edge_of_a_disc_goes_all_around():
    rows, columns = np.indices((SIDE, SIDE)) - SIDE // 2
    radius = np.hypot(rows, columns)
    edges = strongest_edges(grey(np.where(radius < 40, 200, 50)))
    assert np.abs(radius[edges] - 40).max() < 2
    turns = np.degrees(np.arctan2(rows, columns))[edges]
    assert np.histogram(turns, bins=24, range=(-180, 180))[0].min() > 3


def test_a_step_has_no_outline():
    assert outline_contrast(step(), step()) == 0


@pytest.mark.parametrize("depth", [10, 40, 80])
def test_an_outline_is_as_deep_as_its_line_is_darker_than_the_darker_side(depth):
    assert outline_contrast(step(), lined(depth)) == pytest.approx(depth, abs=0.01)


def test_blur_takes_outlines_away():
    depths = [outline_contrast(step(), blurred(lined(60), sigma)) for sigma in (0.7, 1, 2, 4)]
    assert 60 > depths[0] > depths[1] > depths[2] > depths[3]


def test_lines_elsewhere_and_broad_dark_areas_are_no_outlines():
    output = step().copy()
    output[:, 10:13] = 0
    output[:, SIDE // 2 - 30 : SIDE // 2] = 20
    assert outline_contrast(step(), output) < 1


def test_a_photo_without_edges_has_no_outline():
    assert outline_contrast(np.full((64, 64, 3), 9, np.uint8), noise(side=64)) == 0


# Artefacts


def test_only_pixels_that_the_photo_did_not_clip_count_as_clipped():
    photo = np.full((10, 10, 3), 100, np.uint8)
    output = photo.copy()
    photo[0, :, 1] = 255
    output[0] = 255  # clipped before
    output[1, :, 0] = 0
    output[2, :5, 2] = 255
    assert clipped_share(photo, output) == pytest.approx(0.15)


# All of them


def test_the_photo_itself_is_the_baseline():
    photo = noise()
    found = measure(photo, photo)
    assert list(found) == list(MEASURES)
    assert found["edge_similarity"] == pytest.approx(1)
    assert found["colour_drift"] == found["clipped_share"] == 0


def test_each_measure_is_that_of_its_function():
    photo, output = noise(), blurred(noise(), 1)
    assert measure(photo, output) == {
        "edge_similarity": edge_similarity(photo, output),
        "colour_drift": colour_drift(photo, output),
        "colour_segments": colour_segments(output),
        "flat_share": flat_share(output),
        "interior_energy": interior_energy(photo, output),
        "outline_contrast": outline_contrast(photo, output),
        "clipped_share": clipped_share(photo, output),
    }


def test_means_are_taken_measure_by_measure():
    one, other = (dict.fromkeys(MEASURES, 1.0) | {"flat_share": share} for share in (0.2, 0.4))
    assert means([one, other]) == dict.fromkeys(MEASURES, 1.0) | {"flat_share": pytest.approx(0.3)}
