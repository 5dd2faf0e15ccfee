"""The knobs of a step: how they are drawn, and what they turn."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from toonbox.losses import LossWeights
from toonbox.training.config import TrainConfig

KNOBS_STREAM = 3  # apart from the seeds of the crops


class KnobSettings(NamedTuple):
    """Where the three knobs stand in a step, in the order of the generator's KNOBS.

    1 is the default, 0 to 2 the range.
    """

    surface: float = 1.0
    structure: float = 1.0
    texture: float = 1.0

    @classmethod
    def draw(cls, config: TrainConfig, step: int) -> "KnobSettings":
        """Draw from the seed and the step alone, so that each process and worker agrees."""
        random = np.random.default_rng((config.seed, KNOBS_STREAM, step))
        if not config.generator.knobs or random.random() < config.knobs_at_default:
            return cls()
        return cls(*random.uniform(0, 2, 3).tolist())

    def tensor(self, config: TrainConfig, like: Tensor) -> Tensor | None:
        """Give what the generator takes, (1, 3); None if it has no knobs."""
        if not config.generator.knobs:
            return None
        return torch.tensor([self], device=like.device)

    def weights(self, weights: LossWeights) -> LossWeights:
        """Turn the weights of the losses that the knobs are named after."""
        return replace(
            weights,
            surface=weights.surface * self.surface,
            structure=weights.structure * self.structure,
            texture=weights.texture * self.texture,
        )
