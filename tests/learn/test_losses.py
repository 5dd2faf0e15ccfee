import pytest
import torch

from toonbox.errors import ShapeError
from toonbox.learn.generator import KnobSettings
from toonbox.learn.losses import (
    PRESETS,
    SQUARE_WEIGHT,
    LossWeights,
    colour_loss,
    content_loss,
    dashes_loss,
    discriminator_loss,
    generator_loss,
    perceptual_loss,
    reconstruction_loss,
    total_variation,
    weighted_sum,
)


def test_least_squares_of_literal_scores() -> None:
    assert generator_loss(torch.tensor([0.0, 0.5])).item() == pytest.approx((1 + 0.25) / 2)
    cartoon, output = torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.5])
    assert discriminator_loss(cartoon, output).item() == pytest.approx(0.5 * 0.125 + 0.5 * 0.25)


def test_scales_count_alike() -> None:
    scores = [torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 2, 2)]
    assert generator_loss(scores).item() == pytest.approx(0.5)


def test_a_discriminator_that_cannot_tell_has_a_quarter() -> None:
    half = torch.full((3, 1), 0.5)
    assert discriminator_loss(half, half).item() == pytest.approx(0.25)


def test_content_is_relative_to_the_photos_features_whatever_the_size() -> None:
    for shape in ((1, 4, 2, 2), (3, 16, 5, 7)):
        for scale in (0.01, 100.0):
            photo = torch.full(shape, -2 * scale)
            assert content_loss(photo * 1.5, photo).item() == pytest.approx(0.5)
            assert content_loss(photo, photo).item() == 0
    assert content_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)).item() == 0
    with pytest.raises(ShapeError, match="shape"):
        content_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 2, 2))


def test_no_gradient_flows_into_the_structure() -> None:
    output = torch.ones(1, 1, 2, 2, requires_grad=True)
    target = torch.zeros(1, 1, 2, 2, requires_grad=True)
    content_loss(output, target).backward()
    assert output.grad is not None
    assert target.grad is None


def test_total_variation_of_literal_numbers() -> None:
    image = torch.tensor([[[[0.0, 1.0], [2.0, 1.0]]]])
    assert total_variation(image).item() == pytest.approx((4 + 0) / 2 + (1 + 1) / 2)


def test_perceptual_loss_counts_each_scale_alike_and_leaves_the_target() -> None:
    target = [torch.ones(1, 2, 8, 8, requires_grad=True), 10 * torch.ones(1, 4, 2, 2)]
    output = [(1.5 * target[0]).detach().requires_grad_(), 12 * torch.ones(1, 4, 2, 2)]
    loss = perceptual_loss(output, target)
    assert loss.item() == pytest.approx((0.5 + 0.2) / 2)
    loss.backward()
    assert target[0].grad is None


def test_colour_loss_sees_a_shift_and_not_the_detail() -> None:
    photo = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    checks = 0.2 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2 - 1)
    assert colour_loss(photo + checks, photo).item() == pytest.approx(0, abs=1e-6)
    assert colour_loss(photo + 0.1, photo).item() == pytest.approx(0.1, abs=1e-6)
    assert colour_loss(photo[..., :5, :9] + 0.1, photo[..., :5, :9]).item() == pytest.approx(
        0.1, abs=1e-6
    )


def test_reconstruction_of_literal_numbers() -> None:
    output = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    # Half the pixels are off by 1; differences: 0 downwards, 1 sideways.
    pixels = 0.5 + SQUARE_WEIGHT * 0.5
    assert reconstruction_loss(output, output * 0, 0.0).item() == pytest.approx(pixels)
    assert reconstruction_loss(output, output * 0, 2.0).item() == pytest.approx(pixels + 2)


def test_only_ink_on_what_the_target_leaves_out_costs() -> None:
    target, left_out = torch.zeros(1, 3, 1, 4), torch.tensor([1.0, 0.5, 0.0, 1.0]).view(1, 1, 1, 4)
    output = torch.tensor([-0.4, -0.4, -0.9, 0.8]).expand(1, 3, 1, 4)  # the last is lighter
    assert dashes_loss(output, target, left_out).item() == pytest.approx((0.4 + 0.2) / 4)


@pytest.mark.parametrize(
    "loss",
    [total_variation, generator_loss, lambda x: colour_loss(x, torch.zeros_like(x), 2)],
)
def test_losses_have_right_gradients(loss) -> None:
    image = torch.rand(1, 2, 4, 4, dtype=torch.double, requires_grad=True)
    if loss is generator_loss:  # computed in float32 whatever comes in
        image = torch.rand(4, requires_grad=True)
        loss(image).backward()
        torch.testing.assert_close(image.grad, 2 * (image.detach() - 1) / 4)
    else:
        assert torch.autograd.gradcheck(loss, (image,))


def test_the_sum_is_weighted_by_name() -> None:
    losses = {"surface": torch.tensor(2.0), "tv": torch.tensor(3.0)}
    assert weighted_sum(losses, LossWeights(surface=0.5, tv=10.0)).item() == pytest.approx(31)
    with pytest.raises(KeyError, match="unknown"):
        weighted_sum({"unknown": torch.tensor(1.0)}, LossWeights())


def test_the_weights_named_like_the_knobs_are_turned() -> None:
    before = LossWeights(features=3.0)
    after = before.turned(KnobSettings(0.5, 2.0, 0.0))
    assert after.surface == pytest.approx(before.surface / 2)
    assert after.structure == pytest.approx(before.structure * 2)
    assert after.texture == 0
    assert (after.content, after.tv, after.features) == (before.content, before.tv, 3.0)


def test_each_preset_raises_what_it_is_named_for() -> None:
    balanced = PRESETS["balanced"]
    assert PRESETS["smooth"].surface > balanced.surface
    assert PRESETS["flat"].structure > balanced.structure
    assert PRESETS["outlined"].texture > balanced.texture
