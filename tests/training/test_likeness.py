import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from toonbox.data.crops import CropConfig
from toonbox.losses import feature_statistics, likeness_loss
from toonbox.networks.efficientnet import EfficientNetFeatures
from toonbox.training import likeness as module
from toonbox.training.likeness import Likeness
from toonbox.training.pretrain import pretrain_step, recoloured
from toonbox.training.state import new_state


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "CARTOONS", 40)
    monkeypatch.setattr(module, "OUTPUTS", 24)
    monkeypatch.setattr(module, "ENOUGH", 8)


@pytest.fixture(scope="module")
def features():
    torch.manual_seed(0)
    network = EfficientNetFeatures()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """Cartoons of black and white stripes."""
    folder, files = tmp_path_factory.mktemp("stripes"), []
    for width in range(2, 8):
        row = np.arange(64) // width % 2 * 255
        files.append(folder / f"{width}.png")
        Image.fromarray(np.tile(row, (64, 1)).astype(np.uint8)).convert("RGB").save(files[-1])
    return files


CROPS = CropConfig(size=32, batch_size=4, photo_side=(32, 48), cartoon_side=(48, 64))


def test_statistics_are_of_each_channel_wherever_things_are():
    picture = torch.randn(2, 3, 8, 8)
    found = feature_statistics([picture, picture[:, :1] * 2])
    assert found.shape == (2, 8)
    torch.testing.assert_close(found[:, :3], picture.mean((2, 3)))
    torch.testing.assert_close(found[:, 3:6], picture.std((2, 3)))
    turned = feature_statistics([picture.flip(3).roll(3, 2), picture[:, :1] * 2])
    torch.testing.assert_close(found, turned)


def test_the_loss_falls_towards_the_cartoons_and_rises_among_outputs():
    cartoons, outputs = torch.randn(60, 5) + 3, torch.randn(50, 5) - 3
    at = [likeness_loss(torch.full((1, 5), place), outputs, cartoons) for place in (-3.0, 0.0, 3.0)]
    assert at[0] > 0.2 > at[1] > -0.2 > at[2]
    assert abs(likeness_loss(cartoons[:20], cartoons, cartoons)) < 1e-6


def test_following_the_gradient_brings_outputs_to_the_cartoons():
    torch.manual_seed(2)
    cartoons = torch.randn(200, 4) * torch.tensor([0.3, 1, 1, 2]) + 2
    outputs = torch.randn(100, 4, requires_grad=True)
    optimizer = torch.optim.SGD([outputs], lr=100.0)

    def discrepancy() -> float:
        """Squared: 0 where both are spread alike."""
        found = outputs.detach()
        ours, theirs = (likeness_loss(of, found, cartoons) for of in (found, cartoons))
        return float(ours - theirs)

    before = discrepancy()
    for _ in range(300):
        optimizer.zero_grad()
        likeness_loss(outputs, outputs.detach(), cartoons).backward()
        optimizer.step()
    assert 0 <= discrepancy() < 0.1 * before


def test_there_is_no_pull_until_enough_outputs_are_known(features, stripes):
    likeness = Likeness()
    likeness.learn(stripes, CROPS, features, seed=1)
    torch.testing.assert_close(likeness.cartoons.mean(0), torch.zeros(384), atol=0.3, rtol=0)
    output = torch.rand(4, 3, 32, 32, requires_grad=True)
    for seen in (0, 4):
        loss = likeness(features(output))
        assert loss == 0
        assert not loss.requires_grad
        assert likeness.seen == seen + 4
        assert likeness.balanced(loss, output.sum(), output, renew=True) is loss
    loss = likeness(features(output))
    paired = output.square().mean()
    pull = likeness.balanced(loss, paired, output, renew=True)
    norms = [torch.autograd.grad(x, output, retain_graph=True)[0].norm() for x in (paired, pull)]
    torch.testing.assert_close(norms[0], norms[1])


def test_the_oldest_outputs_are_forgotten(features, stripes):
    likeness = Likeness()
    likeness.learn(stripes, CROPS, features, seed=1)
    batches = [torch.rand(10, 3, 32, 32) for _ in range(3)]
    for batch in batches:
        likeness(features(batch))
    known = torch.cat([feature_statistics(features(batch)) for batch in batches])
    known = likeness._compared(known)
    torch.testing.assert_close(likeness.outputs[6:], known[6:24], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(likeness.outputs[:6], known[24:], atol=1e-4, rtol=1e-4)


def test_broad_colours_are_the_targets_and_get_no_gradient():
    output = torch.rand(2, 3, 64, 96, requires_grad=True)
    target = torch.rand(2, 3, 64, 96) * 0.5
    shown = recoloured(output, target)
    torch.testing.assert_close(shown.mean((2, 3)), target.mean((2, 3)), atol=0.02, rtol=0)
    (gradient,) = torch.autograd.grad(shown.mean(), output)
    assert gradient.abs().sum() < 0.05  # 1 if a brighter output were a brighter picture


def config_of(tiny_config, **values):
    return tiny_config(pretrain={"steps": 9, "likeness": 1.0, "kind": "identity", **values})


@pytest.mark.parametrize(("weight", "nearer"), [(30.0, True), (1e-9, False)])
def test_pre_training_with_it_brings_outputs_nearer(weight, nearer, tiny_config, features, stripes):
    torch.manual_seed(3)
    photo = torch.nn.functional.interpolate(torch.rand(4, 3, 4, 4) * 2 - 1, size=32)
    config = config_of(tiny_config, steps=60, likeness=weight, learning_rate=3e-3)
    state = new_state(config, Fabric(accelerator="cpu", devices=1), features)
    assert state.likeness is not None
    state.likeness.learn(stripes, CROPS, features, seed=1)

    def distance() -> float:
        with torch.no_grad():
            shown = recoloured(state.generator(photo), photo)
            found = state.likeness._compared(feature_statistics(features(shown)))
        return float(found.mean(0).square().mean())

    before = distance()
    for _ in range(40):
        losses = pretrain_step(state, photo, 0.9 * photo)
        state.step += 1
    assert set(losses) == {"reconstruction", "features", "likeness"}
    assert (distance() < 0.8 * before) == nearer


def test_a_checkpoint_remembers(tiny_config, features, stripes):
    fabric = Fabric(accelerator="cpu", devices=1)
    one, other = (new_state(config_of(tiny_config), fabric, features) for _ in "ab")
    one.likeness.learn(stripes, CROPS, features, seed=1)
    photo = torch.rand(4, 3, 32, 32) * 2 - 1
    for _ in range(3):
        pretrain_step(one, photo, photo)
        one.step += 1
    other.load_state_dict(one.state_dict())
    for state in (one, other):
        pretrain_step(state, photo, photo)
    for ours, theirs in zip(one.generator.parameters(), other.generator.parameters(), strict=True):
        assert torch.equal(ours, theirs)
