from dataclasses import replace

import cv2
import numpy as np

from toonbox.representations.classical import Drawing, classical_cartoon
from toonbox.representations.structure import segment

PLAIN = Drawing(gamma=1.0, saturation=1.0, edge_cost=0.01, lines=1.0)


def photo_with_a_line() -> np.ndarray:
    """A noisy grey half and a noisy orange half, a thin dark line across both."""
    random = np.random.default_rng(0)
    rgb = np.empty((96, 96, 3))
    rgb[:, :48], rgb[:, 48:] = (150, 150, 150), (220, 140, 60)
    rgb += random.normal(0, 6, rgb.shape)
    rgb[46:49, 8:88] = 60
    return rgb.clip(0, 255).astype(np.uint8)


def busy_photo() -> np.ndarray:
    """Soft blobs of colour with grain."""
    random = np.random.default_rng(1)
    blobs = cv2.resize(random.integers(0, 256, (9, 9, 3), dtype=np.uint8), (160, 160))
    return (blobs + random.normal(0, 8, blobs.shape)).clip(0, 255).astype(np.uint8)


def fine_energy(rgb: np.ndarray) -> float:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.median(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.5))))


def test_areas_become_flat_and_lines_dark() -> None:
    photo = photo_with_a_line()
    cartoon = classical_cartoon(photo, PLAIN)
    for area in (np.s_[5:40, 5:40], np.s_[55:90, 55:90]):
        assert cartoon[area].std(axis=(0, 1)).max() < 0.35 * photo[area].std(axis=(0, 1)).max()
    assert cartoon[47, 20:80].mean() < 20
    assert abs(cartoon[5:40, 5:40].mean() - 150) < 6


def test_without_lines_a_line_keeps_its_brightness() -> None:
    cartoon = classical_cartoon(photo_with_a_line(), replace(PLAIN, lines=0.0))
    assert cartoon[47, 20:80].mean() > 40


def test_lines_have_the_colour_of_the_ink() -> None:
    cartoon = classical_cartoon(photo_with_a_line(), replace(PLAIN, ink=(90, 20, 160)))
    np.testing.assert_allclose(cartoon[47, 20:80].mean(axis=0), (90, 20, 160), atol=12)


def test_specks_are_no_lines() -> None:
    photo = np.full((64, 64, 3), 180, np.uint8)
    photo[30:33, 30:33] = 60
    without = classical_cartoon(photo, replace(PLAIN, lines=0.0))
    assert (classical_cartoon(photo, PLAIN) == without).all()


def test_paper_lightens_and_gamma_lifts_the_shadows() -> None:
    photo = np.full((32, 32, 3), 64, np.uint8)
    assert classical_cartoon(photo, replace(PLAIN, paper=0.5)).mean() == round((64 + 255) / 2)
    expected = round(255 * (64 / 255) ** 0.5)
    assert classical_cartoon(photo, replace(PLAIN, gamma=0.5)).mean() == expected


def test_the_default_setting_of_the_knobs_changes_nothing() -> None:
    assert Drawing().turned(1, 1, 1) == Drawing()


def test_surface_smoothes_what_is_inside_the_areas() -> None:
    photo = busy_photo()
    energies = [
        fine_energy(classical_cartoon(photo, replace(PLAIN, lines=0.0).turned(s, 1, 0)))
        for s in (0, 0.5, 1, 2)
    ]
    assert energies == sorted(energies, reverse=True)
    assert energies[0] > 2 * energies[-1]


def test_structure_leaves_fewer_areas() -> None:
    random = np.random.default_rng(1)
    coarse, fine = (random.uniform(-1, 1, (n, n, 3)) for n in (4, 16))
    tiles = (
        128 + 60 * np.kron(coarse, np.ones((40, 40, 1))) + 18 * np.kron(fine, np.ones((10, 10, 1)))
    )
    photo = (tiles + random.normal(0, 4, tiles.shape)).clip(0, 255).astype(np.uint8)
    counts = [
        segment(classical_cartoon(photo, PLAIN.turned(1, s, 0)), sigma=0.5, scale=40.0).max()
        for s in (0, 1, 2)
    ]
    assert counts[0] > counts[1] > counts[2]


def test_texture_strengthens_lines() -> None:
    photo = photo_with_a_line()
    weak = cv2.addWeighted(photo, 0.35, np.full_like(photo, 150), 0.65, 0)
    half = replace(PLAIN, lines=0.5)
    dark = [classical_cartoon(weak, half.turned(1, 1, t))[44:51, 20:80].mean() for t in (0, 1, 2)]
    assert dark[0] > dark[1] > dark[2]
