import pytest
import torch

from toonbox.errors import ShapeError
from toonbox.learn.representations.texture import draw_channel_weights, texture


def draws(kind: str, count: int = 200) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.stack([draw_channel_weights(kind, random) for _ in range(count)])


def test_grayscale_is_luminance() -> None:
    image = torch.tensor([1.0, 0.5, -1.0]).view(1, 3, 1, 1)
    grey = texture(image, draw_channel_weights("grayscale"))
    assert grey.item() == pytest.approx(0.299 + 0.5 * 0.587 - 0.114)


def test_random_colour_shift_stays_near_luminance_and_sums_to_one() -> None:
    weights = draws("random_colour_shift")
    torch.testing.assert_close(weights.sum(1), torch.ones(200))
    low, high = weights.min(0).values, weights.max(0).values
    # Each weight moves by at most 0.1 before the normalisation by 0.7 ... 1.3.
    assert (low > torch.tensor([0.199, 0.487, 0.014]) / 1.3 - 1e-6).all()
    assert (high < torch.tensor([0.399, 0.687, 0.214]) / 0.7 + 1e-6).all()
    assert (high - low > 0.1).all()


def test_the_papers_variant_mixes_luminance_with_uniform_weights() -> None:
    weights = draws("paper") - 0.8 * torch.tensor([0.299, 0.587, 0.114])
    assert weights.abs().max() <= 0.2
    assert weights.min() < -0.15
    assert weights.max() > 0.15


def test_one_seed_one_draw() -> None:
    assert torch.equal(draws("paper", 3), draws("paper", 3))


def test_texture_has_right_gradients() -> None:
    image = torch.rand(2, 3, 3, 4, dtype=torch.double, requires_grad=True)
    weights = draw_channel_weights("grayscale")
    assert torch.autograd.gradcheck(lambda x: texture(x, weights), (image,))


def test_a_grey_image_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
        texture(torch.zeros(1, 1, 4, 4), draw_channel_weights("grayscale"))
