"""One update of pre-training: the generator learns by reconstruction where to start from."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from toonbox.losses import perceptual_loss, reconstruction_loss
from toonbox.training.knobs import KnobSettings
from toonbox.training.state import TrainingState, learning_rate, update

NOISE_STREAM = 4  # apart from the seeds of crops and knobs
SPOT = 4  # pixels: about half a block of what films are compressed with


def pretrain_step(state: TrainingState, photo: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Move the generator's output towards the target, in pixels and, if weighted, in features.

    Args:
        state: changed in place.
        photo: (B, 3, H, W) in [-1, 1].
        target: same shape and range.
    Returns:
        Scalar losses by name.
    """
    config = state.config.pretrain
    if config.noise:
        photo = noisy(photo, config.noise, state.config.seed, state.step)
    with state.fabric.autocast():
        knobs = KnobSettings.draw(state.config, state.step)
        output = state.generator(photo, knobs.tensor(state.config, photo))
    losses = {"reconstruction": reconstruction_loss(output, target, config.gradient_weight)}
    total = losses["reconstruction"]
    if config.feature_weight:
        assert state.features is not None
        with state.fabric.autocast():
            losses["features"] = perceptual_loss(state.features(output), state.features(target))
        total = total + config.feature_weight * losses["features"]
    update(state, state.generator, state.generator_optimizer, total, learning_rate(state))
    state.average.update_parameters(state.generator)
    return losses


def noisy(photo: Tensor, levels: float, seed: int, step: int) -> Tensor:
    """Add noise as films have it: of the sensor in each pixel, and of compression in spots.

    Args:
        photo: (B, 3, H, W) in [-1, 1].
        levels: largest standard deviation, in [0, 255]; each photo's is drawn below it.
        seed, step: on which alone the draws depend.
    Returns:
        The same shape and range.
    """
    seeds = np.random.SeedSequence((seed, NOISE_STREAM, step))
    random = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
    batch, _, height, width = photo.shape
    fine = torch.randn(photo.shape, generator=random)
    coarse = torch.randn(batch, 3, -(-height // SPOT), -(-width // SPOT), generator=random)
    spots = functional.interpolate(coarse, scale_factor=SPOT, mode="bilinear")
    share = torch.rand(2, batch, 1, 1, 1, generator=random) * levels / 127.5
    noise = share[0] * fine + share[1] * spots[..., :height, :width]
    return (
        (photo + noise.to(photo.device)).clamp(-1, 1).contiguous(memory_format=torch.channels_last)
    )
