from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from lightning_fabric import Fabric

from toonbox.errors import TrainingError
from toonbox.learn.data import add_noise
from toonbox.learn.features import EfficientNetFeatures
from toonbox.learn.generator import Generator
from toonbox.learn.losses import LossWeights, colour_loss, content_loss, weighted_sum
from toonbox.learn.state import TrainingState, new_state, update
from toonbox.learn.train import adversarial_step, one_step, pretrain_step, supersampled, to_device
from toonbox.pixels import from_signed
from workers_here import Here

KNOBBED = {"base_channels": 4, "stages": 2, "residual_blocks": 1, "knobs": True}


def vgg() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Conv2d(3, 8, 5, 4, 2).requires_grad_(False)


def batch(seed: int = 0, count: int = 4) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 3, 8, 8, generator=random) * 2 - 1
    return torch.nn.functional.interpolate(small, size=32, mode="bilinear")


def state_of(config, features=None) -> TrainingState:
    return new_state(config, Fabric(accelerator="cpu", devices=1), features)


def random_features() -> EfficientNetFeatures:
    torch.manual_seed(0)
    features = EfficientNetFeatures()
    for parameter in features.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return features


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


def test_one_update_moves_generator_average_and_both_discriminators(tiny_config) -> None:
    state = state_of(tiny_config())
    assert list(state.adversaries) == ["surface", "texture"]
    adversaries = [adversary.discriminator for adversary in state.adversaries.values()]
    networks = [state.generator, state.average, *adversaries]
    before = [weights(n) for n in networks]
    losses = adversarial_step(state, batch(), batch(1), vgg(), Here())
    for network, old in zip(networks, before, strict=True):
        assert not torch.equal(weights(network), old)
    assert set(losses) == {
        "surface", "texture", "structure", "content", "tv", "colour",
        "surface_discriminator", "texture_discriminator",
    }  # fmt: skip
    assert all(torch.isfinite(loss) for loss in losses.values())
    # A new generator gives back the photo: content and colours are exactly kept.
    assert losses["content"].item() == pytest.approx(0, abs=1e-5)
    assert losses["colour"].item() == pytest.approx(0, abs=1e-6)
    assert losses["structure"].item() > 0


@pytest.mark.parametrize("left_out", ["surface", "texture"])
def test_a_discriminator_without_a_weight_is_not_made(tiny_config, left_out: str) -> None:
    state = state_of(tiny_config(weights={left_out: 0.0}))
    assert [*state.adversaries] == [name for name in ("surface", "texture") if name != left_out]
    assert f"{left_out}_discriminator" not in state.state_dict()
    losses = adversarial_step(state, batch(), batch(1), vgg(), Here())
    assert not {left_out, f"{left_out}_discriminator"} & set(losses)


def test_without_discriminators_no_cartoons_are_looked_at(tiny_config) -> None:
    state = state_of(tiny_config(weights={"surface": 0.0, "texture": 0.0}))
    before = weights(state.generator)
    losses = adversarial_step(state, batch(), None, vgg(), Here())
    assert set(losses) == {"structure", "content", "tv", "colour"}
    assert not torch.equal(weights(state.generator), before)


@pytest.mark.parametrize("weighted", [(), ("content",), ("structure",)])
def test_vgg_sees_only_what_has_a_weight(tiny_config, weighted: tuple[str, ...]) -> None:
    zero = {name: 0.0 for name in ("structure", "content") if name not in weighted}
    state = state_of(tiny_config(weights=zero))
    seen = []
    network = vgg()
    network.register_forward_hook(lambda *_: seen.append(1))
    workers = Here()
    with patch.object(workers, "submit", wraps=workers.submit) as submit:
        losses = adversarial_step(state, batch(), batch(1), network if weighted else None, workers)
    assert {"structure", "content"} & set(losses) == set(weighted)
    assert len(seen) == 2 * len(weighted)
    assert submit.call_count == (4 if "structure" in weighted else 0)


def test_a_run_may_get_discriminators_later(tiny_config) -> None:
    before = state_of(tiny_config(steps=0))
    after = state_of(tiny_config(seed=1))
    after.load_state_dict(before.state_dict())
    assert torch.equal(weights(before.generator), weights(after.generator))


@pytest.mark.parametrize(
    "options",
    [
        {"texture": "paper"},
        {"photo_guided_filter": True},
        {"discriminators": {"head": "linear", "palette_blind": False}},
        {"structure": {"gamma": 1.2}},
    ],
)
def test_every_variant_trains(tiny_config, options) -> None:
    state = state_of(tiny_config(**options))
    before = weights(state.generator)
    adversarial_step(state, batch(), batch(1), vgg(), Here())
    assert not torch.equal(weights(state.generator), before)


def test_discriminators_on_features_learn_to_tell(tiny_config) -> None:
    config = tiny_config(discriminators={"kind": "features", "learning_rate": 1e-2})
    state = state_of(config, random_features())
    losses = []
    for state.step in range(14):
        losses.append(adversarial_step(state, batch(), batch(1).sign(), vgg(), Here()))
    for name in ("surface_discriminator", "texture_discriminator"):
        assert losses[-1][name] < 0.5 * losses[0][name]


def test_the_surface_weight_alone_pulls_towards_the_cartoons(tiny_config) -> None:
    only = dict.fromkeys(LossWeights.__dataclass_fields__, 0.0) | {"surface": 1.0}
    config = tiny_config(
        weights=only, learning_rate=6e-3,
        discriminators={"learning_rate": 6e-3, "palette_blind": False},
    )  # fmt: skip
    state = state_of(config)
    photo, cartoon = batch() * 0.2 - 0.6, torch.full((4, 3, 32, 32), 0.8)
    for state.step in range(25):
        adversarial_step(state, photo, cartoon, vgg(), Here())
    with torch.no_grad():
        assert state.generator(photo).mean() > photo.mean() + 0.2


def test_reconstruction_holds_on_to_the_target(tiny_config) -> None:
    state = state_of(tiny_config(weights={"reconstruction": 20.0}, learning_rate=6e-3))
    photo = batch()
    target = (photo * 0.5 + 0.2).clamp(-1, 1)
    losses = []
    for state.step in range(12):
        losses.append(adversarial_step(state, photo, batch(1), vgg(), Here(), target))
    assert losses[-1]["reconstruction"] < 0.5 * losses[0]["reconstruction"]


def test_dashes_are_unlearnt_where_the_target_leaves_them_out(tiny_config) -> None:
    """With nothing else to learn, the half of the picture that is full of them gets lighter."""
    others = dict.fromkeys(("surface", "texture", "structure", "content", "tv", "colour"), 0.0)
    state = state_of(tiny_config(weights={**others, "dashes": 5.0}, learning_rate=3e-3))
    photo, target = batch(), batch() + 0.5
    left_out = torch.full((4, 1, 32, 32), -1.0)
    left_out[..., :16] = 1.0
    losses = []
    for state.step in range(40):
        step = adversarial_step(state, photo, None, None, Here(), target, left_out)
        losses.append(step["dashes"].item())
    assert losses[0] == pytest.approx(0.25, abs=0.01)  # 0.5 darker, in half of the picture
    assert losses[-1] < 0.5 * losses[0]


def test_pretraining_learns_its_target(tiny_config) -> None:
    state = state_of(tiny_config(pretrain={"learning_rate": 3e-3, "gradient_weight": 0.1}))
    photo = batch()
    target = (photo * 0.5 + 0.2).clamp(-1, 1)
    losses = [pretrain_step(state, photo, target)["reconstruction"].item() for _ in range(60)]
    assert losses[-1] < 0.4 * losses[0]


def test_pretraining_learns_the_features_of_its_target(tiny_config) -> None:
    pretrain = {"learning_rate": 1e-2, "feature_weight": 1.0}
    state = state_of(tiny_config(pretrain=pretrain), random_features())
    photo = batch()
    losses = [pretrain_step(state, photo, 0.3 * photo)["features"].item() for _ in range(20)]
    assert losses[-1] < 0.6 * losses[0]


def test_pretraining_with_noise_learns_to_leave_it_out(tiny_config) -> None:
    grey = {"photo": torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)}
    unseen = add_noise(torch.zeros(2, 3, 32, 32), 60, 0, 99)
    left = []
    for noise in (0.0, 60.0):
        state = state_of(tiny_config(pretrain={"steps": 45, "learning_rate": 1e-2, "noise": noise}))
        for state.step in range(45):
            one_step(state, grey, None, Here())
        with torch.no_grad():
            left.append(state.generator(unseen).abs().mean().item())
    assert left[1] < 0.5 * left[0]


def test_noise_is_as_strong_as_told_and_the_steps_own() -> None:
    photo = torch.zeros(64, 3, 32, 32)
    spread = (add_noise(photo, 20, 0, 1) * 127.5).std((1, 2, 3))
    assert spread.max() < 20 * 1.5  # both kinds together
    assert spread.min() < 5 < 15 < spread.max()
    assert torch.equal(add_noise(photo, 20, 0, 1), add_noise(photo, 20, 0, 1))
    assert not torch.equal(add_noise(photo, 20, 0, 1), add_noise(photo, 20, 0, 2))
    assert add_noise(photo + 1, 20, 0, 1).max() == 1


def test_noise_of_processes_is_that_of_the_joint_batch() -> None:
    joint = add_noise(torch.zeros(4, 3, 32, 32), 20, 0, 1)
    for rank in (0, 1):
        mine = add_noise(torch.zeros(2, 3, 32, 32), 20, 0, 1, (rank, 2))
        assert torch.equal(mine, joint[rank::2])


def test_only_the_generator_sees_noise(tiny_config) -> None:
    pretrain = {"kind": "identity", "steps": 0, "noise": 60.0}
    state = state_of(tiny_config(pretrain=pretrain))
    with torch.no_grad():
        for parameter in state.generator.parameters():
            parameter.zero_()  # gives back what it sees
    picture = ((batch() + 1) * 127.5).to(torch.uint8)
    clean = to_device(picture, state.fabric)
    seen = add_noise(clean, 60, 0, 0)
    losses = one_step(state, {"photo": picture, "cartoon": picture}, vgg(), Here())
    assert losses["colour"].item() == pytest.approx(colour_loss(seen, clean).item(), abs=1e-5)
    expected = content_loss(vgg()(seen), vgg()(clean)).item()
    assert losses["content"].item() == pytest.approx(expected, abs=1e-5)


def test_knobs_are_told_to_the_generator_and_turn_their_losses(tiny_config) -> None:
    config = tiny_config(generator=KNOBBED, knobs_at_default=0.0, weights={"reconstruction": 0.0})
    state = state_of(config)
    told = []
    state.generator.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1]))
    with patch("toonbox.learn.train.weighted_sum", wraps=weighted_sum) as summed:
        adversarial_step(state, batch(), batch(1), vgg(), Here())
    knobs = config.knobs_at(0)
    expected = [[knobs.surface, knobs.structure, knobs.texture]]
    assert told[0].tolist() == [pytest.approx(row) for row in expected]
    weights = summed.call_args.args[1]
    assert weights.texture == pytest.approx(config.weights.texture * knobs.texture)
    assert weights.content == config.weights.content


def test_the_learning_rate_falls_in_each_phase(tiny_config) -> None:
    pretrain = {"steps": 4, "learning_rate": 1e-2}
    config = tiny_config(steps=10, learning_rate=1e-3, final_learning_rate=0.5, pretrain=pretrain)
    state = state_of(config)
    rates = []
    for state.step in (0, 2, 4, 9, 14):
        rates.append(state.learning_rate)
    assert rates == pytest.approx([1e-2, 0.75e-2, 1e-3, 0.75e-3, 0.5e-3])


def test_what_is_not_a_number_stops_before_it_spoils_anything(tiny_config) -> None:
    state = state_of(tiny_config())
    before = weights(state.generator)
    loss = state.generator(batch()).sum() * float("nan")
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        update(state, state.generator, state.generator_optimizer, loss, 1e-3)
    assert torch.equal(weights(state.generator), before)


def test_gradients_are_clipped(tiny_config) -> None:
    state = state_of(tiny_config())
    loss = state.generator(batch()).sum() * 1e6
    update(state, state.generator, state.generator_optimizer, loss, 0.0)
    squares = sum(p.grad.square().sum() for p in state.generator.parameters() if p.grad is not None)
    assert squares.sqrt().item() == pytest.approx(0.5, rel=1e-3)


def test_the_generators_loss_leaves_the_discriminators_alone(tiny_config) -> None:
    state = state_of(tiny_config())
    with patch("toonbox.learn.train.update", wraps=update) as updated:
        adversarial_step(state, batch(), batch(1), vgg(), Here())
        gradients = [p.grad.clone() for p in discriminator_weights(state)]
    assert updated.call_count == 3
    state.generator_optimizer.zero_grad()
    for found, expected in zip(discriminator_weights(state), gradients, strict=True):
        assert torch.equal(found.grad, expected)
        assert not found.requires_grad


def discriminator_weights(state: TrainingState) -> list[torch.Tensor]:
    return [p for a in state.adversaries.values() for p in a.discriminator.parameters()]


def test_discriminators_get_a_head_start(tiny_config) -> None:
    config = tiny_config(pretrain={"steps": 1}, discriminators={"head_start": 2})
    state = state_of(config)
    generator, surface = state.generator, state.adversaries["surface"].discriminator
    for state.step in (1, 2, 3):
        before = weights(generator), weights(state.average), weights(surface)
        losses = adversarial_step(state, batch(), batch(1), vgg(), Here())
        alone = state.step < 3
        assert set(losses) == {"surface_discriminator", "texture_discriminator"} or not alone
        assert torch.equal(weights(generator), before[0]) == alone
        assert torch.equal(weights(state.average), before[1]) == alone
        assert not torch.equal(weights(surface), before[2])


def test_features_of_the_target_are_learnt(tiny_config) -> None:
    only = dict.fromkeys(LossWeights.__dataclass_fields__, 0.0) | {"features": 1.0}
    config = tiny_config(weights=only, learning_rate=1e-2)
    state = state_of(config, random_features())
    photo = batch()
    losses = []
    for state.step in range(20):
        losses.append(adversarial_step(state, photo, None, None, Here(), 0.3 * photo)["features"])
    assert losses[-1] < 0.6 * losses[0]


def test_a_state_comes_back_as_it_was(tiny_config, tmp_path: Path) -> None:
    state = state_of(tiny_config())
    adversarial_step(state, batch(), batch(1), vgg(), Here())
    state.step = 1
    torch.save(state.state_dict(), tmp_path / "state.pt")
    again = state_of(tiny_config(seed=9))
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in (1, 2):
        state.step = again.step = step
        again.config = state.config
        one = adversarial_step(state, batch(2), batch(3), vgg(), Here())
        other = adversarial_step(again, batch(2), batch(3), vgg(), Here())
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(weights(state.average), weights(again.average))


def test_the_target_is_what_the_teacher_draws(tiny_config) -> None:
    """An untrained teacher returns the photo: only its two changes of size show."""
    pretrain = {"kind": "teacher", "steps": 0, "supersampling": 2}
    state = state_of(tiny_config(pretrain=pretrain))
    pictures = {
        name: from_signed(batch(seed).numpy()) for seed, name in enumerate(("photo", "cartoon"))
    }
    images = {name: torch.from_numpy(picture) for name, picture in pictures.items()}
    teacher = Generator(state.config.generator)
    with patch("toonbox.learn.train.adversarial_step") as step:
        one_step(state, images, vgg(), Here(), teacher)
    _, photo, cartoon, _, _, target, _, _ = step.call_args.args
    assert 0 < (target - photo).abs().mean() < 0.1
    assert torch.equal(cartoon, to_device(images["cartoon"], state.fabric))


def test_a_teacher_draws_enlarged_photos() -> None:
    waves = torch.linspace(0, 12, 32).sin() * 0.8
    photo = (waves[:, None] * waves).expand(2, 3, 32, 32)
    seen = []

    def draw(large: torch.Tensor) -> torch.Tensor:
        seen.append(large.shape)
        return -large

    assert torch.equal(supersampled(photo, draw, 1), -photo)
    assert (supersampled(photo, draw, 2) + photo).abs().mean() < 0.01
    assert seen == [(2, 3, 32, 32), (2, 3, 64, 64)]
