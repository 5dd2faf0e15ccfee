import cv2
import numpy as np
import pytest
from PIL import Image

from toonbox.engine import guided
from toonbox.engine.guided import EPS, NUMPY, box_sum, fastest_arithmetic, fit, upsample
from toonbox.errors import ShapeError
from toonbox.pixels import Uint8Array


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def colours(*shape: int, seed: int = 0) -> Uint8Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


OPENCV = fastest_arithmetic()
both = pytest.mark.parametrize("arithmetic", [NUMPY, OPENCV], ids=["numpy", "opencv"])


def whole(
    photo: Uint8Array, small: Uint8Array, cartoon: Uint8Array, arithmetic=NUMPY
) -> Uint8Array:
    strips = upsample(photo, small, cartoon, arithmetic=arithmetic)
    return np.concatenate([values for _, _, values in strips])


def windows(image: np.ndarray, y: int, x: int) -> np.ndarray:
    """The pixels around one, edges repeated."""
    rows = np.clip(range(y - 1, y + 2), 0, image.shape[0] - 1)
    columns = np.clip(range(x - 1, x + 2), 0, image.shape[1] - 1)
    return image[np.ix_(rows, columns)]


def slow_slope(guide: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Ridge regression in each window, one after the other, then the mean of each window."""
    height, width = guide.shape
    slope = np.empty((height, width))
    for y, x in np.ndindex(height, width):
        seen = windows(guide, y, x).astype(float).ravel()
        wanted = windows(target, y, x).astype(float).ravel()
        matrix = np.stack([seen, np.ones_like(seen)], axis=1)
        penalty = np.diag([EPS * seen.size, 0])
        slope[y, x] = np.linalg.solve(matrix.T @ matrix + penalty, matrix.T @ wanted)[0]
    means = [windows(slope, y, x).mean() for y, x in np.ndindex(height, width)]
    return np.reshape(means, (height, width))


@pytest.mark.parametrize("shape", [(17, 23, 3), (1, 1, 3), (2, 9, 2)])
def test_sums_over_windows_are_those_of_the_pixels_in_them(shape: tuple[int, ...]) -> None:
    image = noise(*shape)
    expected = [windows(image, y, x).sum((0, 1)) for y, x in np.ndindex(shape[:2])]
    np.testing.assert_allclose(box_sum(image), np.reshape(expected, shape), rtol=1e-5)


@pytest.mark.parametrize("strength", [1, 0.05])
def test_the_slope_is_that_of_ridge_regression_in_each_window(strength: float) -> None:
    guide, target = (255 * strength * noise(9, 11, 2, seed=seed) for seed in (0, 1))
    slope, _ = fit(guide, target)
    for channel in range(2):
        expected = slow_slope(guide[..., channel], target[..., channel])
        np.testing.assert_allclose(slope[..., channel], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(17, 23, 3), (1, 1, 3), (2, 9, 3), (17, 23)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_opencv_fits_the_same_model(shape: tuple[int, ...], kind: type) -> None:
    guide, target = (colours(*shape, seed=seed).astype(kind) for seed in (1, 2))
    expected = (part.reshape(shape) for part in fit(*(np.atleast_3d(i) for i in (guide, target))))
    for part, wanted, tolerance in zip(
        OPENCV.fit(guide, target), expected, (1e-5, 1e-2), strict=True
    ):
        assert part.dtype == np.float32
        np.testing.assert_allclose(part, wanted, atol=tolerance)


def test_with_the_offset_averaged_too_it_is_the_guided_filter_of_opencv() -> None:
    guide, target = (255 * noise(40, 50, 1, seed=seed) for seed in (0, 1))
    filtered = cv2.ximgproc.guidedFilter(guide.copy(), target, 1, EPS)
    # What OpenCV adds to slope * guide must be the averaged offset, made of its own box filter.
    offset = filtered - (fit(guide, target)[0] * guide)[..., 0]
    mean = [cv2.blur(i[..., 0], (3, 3)) for i in (guide, target, guide * target, guide**2)]
    slope = (mean[2] - mean[0] * mean[1]) / (mean[3] - mean[0] ** 2 + EPS)
    expected = cv2.blur(mean[1] - slope * mean[0], (3, 3))
    inside = slice(2, -2)
    np.testing.assert_allclose(offset[inside, inside], expected[inside, inside], atol=0.02)


@both
def test_at_one_size_it_is_the_cartoon(arithmetic) -> None:
    photo, cartoon = colours(21, 34, 3), colours(21, 34, 3, seed=1)
    np.testing.assert_array_equal(whole(photo, photo, cartoon, arithmetic), cartoon)


@both
@pytest.mark.parametrize("size", [(64, 96), (63, 101), (32, 50), (5000, 48), (40, 33)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_it_is_the_enlarged_model_applied_to_the_photo(size, kind, arithmetic) -> None:
    white = np.iinfo(kind).max
    photo = colours(*size, 3).astype(kind) * (white // 255)
    height, width = min(32, size[0]), min(31, size[1])
    small, cartoon = colours(height, width, 3, seed=1), colours(height, width, 3, seed=2)
    slope, offset = (
        cv2.resize(model, size[::-1], interpolation=cv2.INTER_LINEAR)
        for model in fit(small, cartoon)
    )
    expected = np.clip(np.rint(slope * photo + offset * (white / 255)), 0, white)
    result = whole(photo, small, cartoon, arithmetic)
    assert result.dtype == kind
    difference = np.abs(result - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < (0.001 if kind == np.uint8 else 0.03)


def test_a_linear_change_of_colours_is_carried_over() -> None:
    # The same waves, reduced; the cartoon is half as bright and lifted.
    y, x = np.mgrid[0:120, 0:180]
    wave = 127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7)
    photo = np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)
    small = np.asarray(Image.fromarray(photo).resize((60, 40), Image.Resampling.BICUBIC))
    cartoon = np.rint(0.5 * small + 40).astype(np.uint8)
    assert np.abs(whole(photo, small, cartoon) - (0.5 * photo + 40)).mean() < 1


@both
def test_strips_make_no_seam(monkeypatch: pytest.MonkeyPatch, arithmetic) -> None:
    photo = colours(101, 57, 3)
    small, cartoon = colours(31, 17, 3, seed=1), colours(31, 17, 3, seed=2)
    expected = whole(photo, small, cartoon, arithmetic)
    monkeypatch.setattr(guided, "JOB_PIXELS", 57 * 7)
    monkeypatch.setattr(guided, "CACHED_PIXELS", 57 * 2)
    for threads in (1, 3):
        strips = [*upsample(photo, small, cartoon, threads, arithmetic)]
        places = [rows for rows, _, _ in strips]
        assert max(rows.stop - rows.start for rows in places) == 7
        assert [rows.start for rows in places] == [0, *(rows.stop for rows in places[:-1])]
        assert all((photo[rows] == own).all() for rows, own, _ in strips)
        found = np.concatenate([values for _, _, values in strips])
        np.testing.assert_array_equal(found, expected)


@both
def test_differing_shapes_are_refused(arithmetic) -> None:
    with pytest.raises(ShapeError, match="differ"):
        upsample(colours(9, 9, 3), colours(4, 4, 3), colours(4, 5, 3), arithmetic=arithmetic)


@both
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_cartoon_in_black_and_white_takes_no_colour_from_its_photo(kind, arithmetic) -> None:
    photo = colours(60, 80, 3).astype(kind) * (np.iinfo(kind).max // 255)
    small = colours(30, 40, 3, seed=1)
    cartoon = np.repeat(colours(30, 40, 1, seed=2), 3, axis=2)
    result = whole(photo, small, cartoon, arithmetic)
    assert result.std() > 0
    assert (result == result[..., :1]).all()
