import numpy as np
import pytest

from toonbox.errors import ShapeError
from toonbox.learn.representations.structure import (
    adaptive_colouring,
    merge_segments,
    segment,
    structure,
)


def patches(*greys: int, side: int = 16) -> np.ndarray:
    """A row of flat grey squares."""
    row = np.repeat(np.array(greys, np.uint8), side)
    return np.broadcast_to(row[None, :, None], (side, len(row), 3)).copy()


def test_flat_squares_become_a_segment_each() -> None:
    labels = segment(patches(0, 90, 180, 255), sigma=0.1, scale=10, minimum_size=4)
    columns = labels.reshape(16, 4, 16)
    assert [len(np.unique(columns[:, i])) for i in range(4)] == [1, 1, 1, 1]
    assert sorted(np.unique(labels)) == [0, 1, 2, 3]


def test_the_most_similar_neighbours_merge_first() -> None:
    rgb = patches(0, 98, 101, 255)
    labels = np.repeat(np.arange(4, dtype=np.int32), 16)[None].repeat(16, axis=0)
    merged = merge_segments(rgb, labels, 3)
    assert merged[0, 16] == merged[0, 47]
    assert len({merged[0, 0], merged[0, 20], merged[0, 63]}) == 3


@pytest.mark.parametrize("target", [1, 7, 25])
def test_merging_reaches_the_target_with_connected_segments(target: int) -> None:
    import cv2

    random = np.random.default_rng(0)
    rgb = np.kron(random.integers(0, 256, (12, 12, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    fine = np.arange(144, dtype=np.int32).reshape(12, 12).repeat(4, 0).repeat(4, 1)
    merged = merge_segments(rgb, fine, target)
    assert sorted(np.unique(merged)) == list(range(target))
    for label in range(target):
        parts, _ = cv2.connectedComponents((merged == label).astype(np.uint8), connectivity=4)
        assert parts == 2  # the segment and what is not the segment


def test_fewer_segments_than_the_target_stay() -> None:
    labels = np.array([[0, 1]], np.int32)
    assert merge_segments(np.zeros((1, 2, 3), np.uint8), labels, 5) is labels


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # deviation 10: the mean
        ([100, 100, 100, 124], 106),
        # deviation 26: half mean (115), half median (100), 107.5 rounded to even
        ([100, 100, 100, 160], 108),
        # deviation 87: the median
        ([10, 10, 10, 210], 10),
    ],
)
def test_colouring_takes_all_three_branches(values: list[int], expected: int) -> None:
    rgb = np.repeat(np.array(values, np.uint8)[None, :, None], 3, axis=2)
    filled = adaptive_colouring(rgb, np.zeros((1, 4), np.int32))
    assert np.unique(filled).tolist() == [expected]


def test_a_flat_saturated_segment_keeps_its_colour() -> None:
    rgb = np.broadcast_to(np.array([255, 0, 17], np.uint8), (4, 4, 3)).copy()
    assert (adaptive_colouring(rgb, np.zeros((4, 4), np.int32)) == rgb).all()


def test_medians_are_each_segments_own() -> None:
    random = np.random.default_rng(1)
    rgb = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    labels = random.integers(0, 5, (20, 20)).astype(np.int32)
    filled = adaptive_colouring(rgb, labels)
    for label in range(5):
        # Noise over the whole range deviates by far more than 40: the median it is.
        expected = np.rint(np.median(rgb[labels == label], axis=0))
        assert (filled[labels == label] == expected).all()


def test_gamma_above_one_darkens() -> None:
    filled = adaptive_colouring(patches(128), np.zeros((16, 16), np.int32), gamma=1.2)
    assert np.unique(filled).tolist() == [round(255 * (128 / 255) ** 1.2)]


def test_structure_has_at_most_so_many_colours() -> None:
    random = np.random.default_rng(2)
    rgb = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    filled = structure(rgb, segments=9)
    assert 1 < len(np.unique(filled.reshape(-1, 3), axis=0)) <= 9


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(H, W, 3\)"):
        segment(np.zeros((4, 4), np.uint8))
    with pytest.raises(ShapeError, match=r"\(H, W\)"):
        adaptive_colouring(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.int32))
