"""The drawn targets of a run, as the look and each step's knobs have them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toonbox.data.drawings import Drawings
from toonbox.pixels import Uint8Array
from toonbox.training.config import TrainConfig
from toonbox.training.knobs import KnobSettings
from toonbox.training.report import RunOptions


@dataclass(frozen=True)
class LookedDrawings:
    """Cuts photos and targets for a step; picklable, for the loader's workers."""

    drawings: Drawings
    config: TrainConfig

    def __len__(self) -> int:
        """Return how many photos there are."""
        return len(self.drawings.files)

    def crop(
        self, index: int, size: int, random: np.random.Generator, step: int
    ) -> tuple[Uint8Array, Uint8Array]:
        """Cut a photo and its target, (size, size, 3) each."""
        knobs = KnobSettings.draw(self.config, step).values()
        return self.drawings.crop(index, size, random, self.config.pretrain.look, knobs)


def drawn_crops(
    config: TrainConfig, photos: Sequence[Path], options: RunOptions
) -> LookedDrawings | None:
    """Compute the drawn targets that are missing; None when nothing is drawn."""
    if config.pretrain.kind != "drawing":
        return None
    drawings = Drawings.prepare(
        photos, config.crops.photo_side, options.drawings, max(1, options.workers)
    )
    return LookedDrawings(drawings, config)
