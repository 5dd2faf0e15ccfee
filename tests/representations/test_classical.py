import numpy as np

from toonbox.representations.classical import classical_cartoon


def photo_with_a_line() -> np.ndarray:
    """A noisy grey half and a noisy orange half, a thin dark line across both."""
    random = np.random.default_rng(0)
    rgb = np.empty((96, 96, 3))
    rgb[:, :48], rgb[:, 48:] = (150, 150, 150), (220, 140, 60)
    rgb += random.normal(0, 6, rgb.shape)
    rgb[46:49, 8:88] = 60
    return rgb.clip(0, 255).astype(np.uint8)


def test_areas_become_flat_and_lines_dark() -> None:
    photo = photo_with_a_line()
    cartoon = classical_cartoon(photo, lines=1.0)
    for area in (np.s_[5:40, 5:40], np.s_[55:90, 55:90]):
        assert cartoon[area].std(axis=(0, 1)).max() < 0.35 * photo[area].std(axis=(0, 1)).max()
    assert cartoon[47, 20:80].mean() < 20
    assert abs(cartoon[5:40, 5:40].mean() - 150) < 6


def test_without_lines_a_line_keeps_its_brightness() -> None:
    assert classical_cartoon(photo_with_a_line(), lines=0.0)[47, 20:80].mean() > 40


def test_specks_are_no_lines() -> None:
    photo = np.full((64, 64, 3), 180, np.uint8)
    photo[30:33, 30:33] = 60
    with_lines = classical_cartoon(photo, lines=1.0)
    assert (with_lines == classical_cartoon(photo, lines=0.0)).all()
