"""One update of pre-training: the generator learns by reconstruction where to start from."""

from dataclasses import dataclass

from torch import Tensor

from toonbox.losses import perceptual_loss, reconstruction_loss
from toonbox.pixels import Uint8Array
from toonbox.representations.classical import classical_cartoon
from toonbox.training.config import TrainConfig
from toonbox.training.knobs import KnobSettings
from toonbox.training.state import TrainingState, learning_rate, update


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
    if config.feature_weight:
        assert state.features is not None
        with state.fabric.autocast():
            losses["features"] = perceptual_loss(state.features(output), state.features(target))
        total = total + config.feature_weight * losses["features"]
    update(state, state.generator, state.generator_optimizer, total, learning_rate(state))
    state.average.update_parameters(state.generator)
    return losses
