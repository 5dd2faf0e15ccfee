"""One update of pre-training: the generator learns by reconstruction where to start from."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from toonbox.losses import reconstruction_loss
from toonbox.pixels import Uint8Array
from toonbox.representations.classical import classical_cartoon
from toonbox.training.config import PretrainConfig
from toonbox.training.state import TrainingState, update


def reconstruction_target(config: PretrainConfig) -> Callable[[Uint8Array], Uint8Array] | None:
    """Give what makes a photo into its target; None when the photo is its own."""
    if config.kind == "identity":
        return None
    return partial(classical_cartoon, segments=config.segments, lines=config.lines)


def pretrain_step(state: TrainingState, photo: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Move the generator's output towards the target: L1 plus L1 of neighbouring differences.

    Args:
        state: changed in place.
        photo: (B, 3, H, W) in [-1, 1].
        target: same shape and range.
    Returns:
        Scalar losses by name.
    """
    config = state.config.pretrain
    with state.fabric.autocast():
        output = state.generator(photo)
    loss = reconstruction_loss(output, target, config.gradient_weight)
    update(state, state.generator, state.generator_optimizer, loss, config.learning_rate)
    state.average.update_parameters(state.generator)
    return {"reconstruction": loss}
