"""One update of pre-training: the generator learns by reconstruction where to start from."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from toonbox.losses import perceptual_loss, reconstruction_loss
from toonbox.pixels import Uint8Array
from toonbox.representations.classical import classical_cartoon
from toonbox.training.config import TrainConfig
from toonbox.training.knobs import KnobSettings
from toonbox.training.state import TrainingState, learning_rate, update

BALANCED_EVERY = 50  # steps
BROAD = 32  # pixels: colours of areas of this side are broad


@dataclass(frozen=True)
class DrawnTarget:
    """Makes a photo's target in a step: its classical cartoon, as the step's knobs have it."""

    config: TrainConfig

    def __call__(self, photo: Uint8Array, step: int) -> Uint8Array:
        """(H, W, 3) -> (H, W, 3)."""
        knobs = KnobSettings.draw(self.config, step)
        drawing = self.config.pretrain.drawing
        return classical_cartoon(
            photo, drawing.turned(knobs.surface, knobs.structure, knobs.texture)
        )


def drawn_target(config: TrainConfig) -> DrawnTarget | None:
    """Give what draws the targets in the data's workers; None when nothing is drawn."""
    return DrawnTarget(config) if config.pretrain.kind == "representations" else None


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
    with state.fabric.autocast():
        knobs = KnobSettings.draw(state.config, state.step)
        output = state.generator(photo, knobs.tensor(state.config, photo))
    losses = {"reconstruction": reconstruction_loss(output, target, config.gradient_weight)}
    total = losses["reconstruction"]
    if state.features is not None and config.feature_weight + config.likeness > 0:
        shown = recoloured(output, target) if config.likeness else output
        with state.fabric.autocast():
            features = state.features(shown)
            losses["features"] = perceptual_loss(features, state.features(target))
        total = total + config.feature_weight * losses["features"]
        if state.likeness is not None:
            losses["likeness"] = state.likeness(features)
            pull = state.likeness.balanced(
                losses["likeness"], total, output, renew=state.step % BALANCED_EVERY == 0
            )
            total = total + config.likeness * pull
    update(state, state.generator, state.generator_optimizer, total, learning_rate(state))
    state.average.update_parameters(state.generator)
    return losses


def recoloured(output: Tensor, target: Tensor) -> Tensor:
    """Give the output, (B, C, H, W), the target's broad colours: nothing pulls at these then.

    The cartoons' palette is not what a photo should get.
    """

    def broad(image: Tensor) -> Tensor:
        cells = max(1, image.shape[-2] // BROAD), max(1, image.shape[-1] // BROAD)
        small = functional.adaptive_avg_pool2d(image.float().contiguous(), cells)
        return functional.interpolate(small, image.shape[-2:], mode="bilinear")

    shown = output.float() + (broad(target) - broad(output))
    return shown.contiguous(memory_format=torch.channels_last)
