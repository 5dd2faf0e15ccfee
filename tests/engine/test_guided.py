import cv2
import numpy as np
import pytest
from PIL import Image

from toonbox.engine.guided import box_mean, linear_model, upsample
from toonbox.errors import ShapeError


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def test_box_mean_agrees_with_opencv() -> None:
    image = noise(17, 23, 3)
    expected = cv2.blur(image, (5, 5), borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(box_mean(image, 2), expected, atol=1e-6)


@pytest.mark.parametrize("radius", [1, 4])
def test_at_one_size_it_is_the_guided_filter_of_opencv(radius: int) -> None:
    guide, target = noise(40, 50, 1), noise(40, 50, 1, seed=1)
    slope, offset = linear_model(guide, target, radius, 1e-2)
    ours = (slope * guide + offset)[..., 0]
    theirs = cv2.ximgproc.guidedFilter(guide[..., 0], target[..., 0], radius, 1e-2)
    inside = slice(2 * radius, -2 * radius)
    np.testing.assert_allclose(ours[inside, inside], theirs[inside, inside], atol=1e-4)


def test_a_linear_change_of_colours_is_carried_over_exactly() -> None:
    # A picture that looks the same at both sizes but for detail: target = 0.5 guide + 0.2.
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    small = np.asarray(Image.fromarray(photo).resize((48, 32))) / np.float32(255)
    slope, offset = linear_model(small, 0.5 * small + 0.2, eps=1e-9)
    for rows, values in upsample(photo, slope, offset):
        np.testing.assert_allclose(values, photo[rows] / 255 * 0.5 + 0.2, atol=2e-3)


def test_strips_make_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    from toonbox.engine import guided

    photo = np.random.default_rng(1).integers(0, 256, (101, 57, 3), dtype=np.uint8)
    slope, offset = noise(31, 17, 3), noise(31, 17, 3, seed=1)
    whole = np.concatenate([values for _, values in upsample(photo, slope, offset)])
    monkeypatch.setattr(guided, "STRIP_PIXELS", 57 * 7)
    strips = list(upsample(photo, slope, offset))
    assert len(strips) == 15
    np.testing.assert_allclose(np.concatenate([v for _, v in strips]), whole, atol=1e-5)


def test_differing_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="differ"):
        linear_model(noise(4, 4, 3), noise(4, 5, 3))
