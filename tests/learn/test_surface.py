import cv2
import numpy as np
import pytest
import torch

from toonbox.errors import ShapeError
from toonbox.learn.representations.surface import (
    GAIN,
    LIFT,
    box_mean,
    guided_filter,
    random_palette,
    surface,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def naive_box_mean(image: np.ndarray, radius: int) -> np.ndarray:
    height, width = image.shape
    result = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            rows = slice(max(0, y - radius), y + radius + 1)
            columns = slice(max(0, x - radius), x + radius + 1)
            result[y, x] = image[rows, columns].mean()
    return result


@pytest.mark.parametrize("radius", [0, 1, 3, 20])
def test_box_mean_is_the_mean_of_the_window_inside_the_picture(radius: int) -> None:
    image = noise(1, 1, 9, 13)
    expected = naive_box_mean(image[0, 0].double().numpy(), radius)
    np.testing.assert_allclose(box_mean(image, radius)[0, 0].numpy(), expected, atol=1e-5)


def test_box_mean_of_literal_numbers() -> None:
    image = torch.tensor([[[[1.0, 2.0, 6.0]]]])
    assert box_mean(image, 1).flatten().tolist() == [1.5, 3.0, 4.0]


@pytest.mark.parametrize(("radius", "eps"), [(1, 1e-2), (5, 0.2), (4, 5e-3)])
def test_guided_filter_agrees_with_opencv_away_from_the_border(radius: int, eps: float) -> None:
    guide, image = noise(1, 1, 48, 56), noise(1, 1, 48, 56, seed=1)
    ours = guided_filter(guide, image, radius, eps)[0, 0].numpy()
    theirs = cv2.ximgproc.guidedFilter(guide[0, 0].numpy(), image[0, 0].numpy(), radius, eps)
    inside = slice(2 * radius, -2 * radius)
    np.testing.assert_allclose(ours[inside, inside], theirs[inside, inside], atol=2e-4)


def test_guided_filter_follows_the_equations() -> None:
    guide, image = (noise(1, 1, 7, 8, seed=s).double() for s in (0, 1))
    p, i = image[0, 0].numpy(), guide[0, 0].numpy()
    mean_i, mean_p = naive_box_mean(i, 2), naive_box_mean(p, 2)
    a = (naive_box_mean(i * p, 2) - mean_i * mean_p) / (naive_box_mean(i * i, 2) - mean_i**2 + 0.1)
    expected = naive_box_mean(a, 2) * i + naive_box_mean(mean_p - a * mean_i, 2)
    np.testing.assert_allclose(guided_filter(guide, image, 2, 0.1)[0, 0].numpy(), expected)


def test_guided_filter_has_right_gradients() -> None:
    guide = noise(1, 2, 5, 6).double().requires_grad_()
    image = noise(1, 2, 5, 6, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda g, i: guided_filter(g, i, 2, 0.1), (guide, image))
    assert torch.autograd.gradcheck(lambda g: guided_filter(g, g, 1, 0.1), (guide,))


def test_surface_keeps_a_strong_edge_and_removes_weak_texture() -> None:
    step = torch.ones(1, 3, 40, 40)
    step[..., :20] = -1
    grain = 0.1 * noise(1, 3, 40, 40)
    smooth = surface(step + grain)
    assert (smooth[..., 20] - smooth[..., 19]).mean() > 1.2
    assert (smooth - step)[..., 2:8].std() < 0.4 * grain[..., 2:8].std()


def test_half_precision_is_filtered_in_full() -> None:
    image = noise(1, 3, 16, 16)
    assert guided_filter(image.bfloat16(), image.bfloat16(), 2, 0.1).dtype == torch.float32


def test_differing_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="one shape"):
        guided_filter(noise(1, 1, 4, 4), noise(1, 3, 4, 4), 1, 0.1)


def test_a_palette_changes_colours_and_nothing_else() -> None:
    image = noise(2, 3, 6, 7)
    changed = random_palette(2, torch.Generator().manual_seed(5))(image)
    for before, after in zip(image, changed, strict=True):
        # Each channel is one of the photo's, scaled and lifted like the two others.
        fits = []
        for channel in after:
            for source in before:
                gain = (channel.max() - channel.min()) / (source.max() - source.min())
                lift = channel.min() - gain * source.min()
                if torch.allclose(gain * source + lift, channel, atol=1e-5):
                    fits.append((round(gain.item(), 4), round(lift.item(), 4)))
        assert len(fits) == 3
        assert len(set(fits)) == 1
        assert abs(fits[0][0] - 1) <= GAIN
        assert abs(fits[0][1]) <= LIFT


def test_processes_share_the_palettes_of_a_batch() -> None:
    image = noise(4, 3, 5, 5)
    joint = random_palette(4, torch.Generator().manual_seed(1))(image)
    mine = random_palette(2, torch.Generator().manual_seed(1), (1, 2))(image[1::2])
    assert torch.equal(joint[1::2], mine)
