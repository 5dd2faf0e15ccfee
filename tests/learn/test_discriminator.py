import pytest
import torch

from toonbox.learn.discriminator import Discriminator, FeatureDiscriminator


def network(**values: object) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(**values)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_score_per_patch_or_per_picture(channels: int) -> None:
    image = torch.rand(2, channels, 40, 56)
    assert network(channels=channels)(image).shape == (2, 1, 5, 7)
    assert network(channels=channels, head="linear")(image).shape == (2, 1)


@pytest.mark.parametrize("head", ["patch", "linear"])
def test_every_layer_is_spectrally_normalised(head: str) -> None:
    discriminator = network(base_channels=8, head=head)
    for _ in range(100):  # the power iteration, a step at each forward
        discriminator(torch.rand(1, 3, 16, 16))
    kinds = torch.nn.Conv2d | torch.nn.Linear
    layers = [m for m in discriminator.modules() if isinstance(m, kinds)]
    assert len(layers) == 7
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert largest.item() == pytest.approx(1, abs=2e-2)


def test_heads_on_features_leave_the_features_alone() -> None:
    torch.manual_seed(0)
    features = torch.nn.Conv2d(3, 5, 3, 2, 1).requires_grad_(False)
    discriminator = FeatureDiscriminator(lambda x: [features(x), features(x[..., ::2])], (5, 5), 8)
    image = torch.rand(2, 1, 16, 16, requires_grad=True)
    scores = discriminator(image)
    assert [tuple(s.shape) for s in scores] == [(2, 1, 8, 8), (2, 1, 8, 4)]
    sum(s.sum() for s in scores).backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all("features" not in name for name, _ in discriminator.named_parameters())
