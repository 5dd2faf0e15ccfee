import pytest
import torch

from toonbox.errors import ShapeError
from toonbox.representations.flatten import flatten

LEFT, RIGHT = torch.tensor([0.2, 0.7, 0.3]), torch.tensor([0.8, 0.4, 0.1])


def two_halves(noise: float) -> torch.Tensor:
    """Two colours side by side, with grain: (3, 32, 32)."""
    image = torch.cat(
        [LEFT[:, None, None].expand(3, 32, 16), RIGHT[:, None, None].expand(3, 32, 16)], 2
    )
    return image + noise * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_grain_goes_and_edges_stay_where_they_are() -> None:
    flat = flatten(two_halves(0.03), 0.02)
    for half, colour in ((flat[..., :16], LEFT), (flat[..., 16:], RIGHT)):
        torch.testing.assert_close(half.mean((1, 2)), colour, atol=0.01, rtol=0)
        assert half.std((1, 2)).max() < 0.005


def test_what_is_flat_already_is_left_alone() -> None:
    torch.testing.assert_close(flatten(two_halves(0), 0.02), two_halves(0), atol=2e-3, rtol=0)


def test_edges_that_cost_more_than_they_explain_go_and_colours_average() -> None:
    weak = 0.3 * two_halves(0.03)
    flat = flatten(weak, 20.0)
    expected = weak.mean((1, 2), keepdim=True).expand_as(flat)
    torch.testing.assert_close(flat, expected, atol=0.01, rtol=0)


def test_pictures_of_a_batch_do_not_mix() -> None:
    one, other = two_halves(0.03), two_halves(0.1).flip(2)
    both = flatten(torch.stack([one, other]), 0.02)
    torch.testing.assert_close(both, torch.stack([flatten(one, 0.02), flatten(other, 0.02)]))


def test_one_channel_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(1, 8, 8\)"):
        flatten(torch.zeros(1, 8, 8), 0.02)
