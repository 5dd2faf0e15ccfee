"""A pull of all outputs together towards the cartoons, without any discriminator."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from toonbox.data.crops import CropConfig, draw_crop
from toonbox.losses import feature_statistics, likeness_loss
from toonbox.networks.efficientnet import WIDTHS, EfficientNetFeatures

CARTOONS, OUTPUTS = 3000, 2000  # crops that are remembered
ENOUGH = 200  # outputs, before there is a pull
LIKENESS_STREAM = 6  # of random numbers
_AT_A_TIME = 20
_FAR = 6.0  # standard deviations: nothing counts as farther


class Likeness(nn.Module):
    """Remembers feature statistics of cartoons and of the latest outputs.

    All it knows is in buffers, so that a checkpoint holds it.
    """

    cartoons: Tensor
    outputs: Tensor
    seen: Tensor
    centre: Tensor
    scale: Tensor
    balance: Tensor

    def __init__(self, width: int = 2 * sum(WIDTHS)) -> None:
        super().__init__()
        self.register_buffer("cartoons", torch.zeros(CARTOONS, width))
        self.register_buffer("outputs", torch.zeros(OUTPUTS, width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("balance", torch.zeros(()))

    def learn(
        self, files: Sequence[Path], config: CropConfig, features: EfficientNetFeatures, seed: int
    ) -> None:
        """Look at crops of cartoons.

        Args:
            files: the cartoons.
            config: size of the crops, and range of the cartoons' sides.
            features: frozen.
            seed: of the crops.
        """
        random = np.random.default_rng((seed, LIKENESS_STREAM))
        rows = []
        for _ in range(0, CARTOONS, _AT_A_TIME):
            picked = [files[int(random.integers(len(files)))] for _ in range(_AT_A_TIME)]
            crops = [draw_crop(file, config.size, config.cartoon_side, random) for file in picked]
            batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(self.centre.device)
            with torch.no_grad():
                rows.append(feature_statistics(features(batch.float() / 127.5 - 1)))
        known = torch.cat(rows)
        self.centre.copy_(known.mean(dim=0))
        self.scale.copy_(known.std(dim=0) + 1e-6)
        self.cartoons.copy_(self._compared(known))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Give the loss of outputs with these features, and remember them.

        Args:
            features: (B, C, h, w) for each scale.
        Returns:
            Scalar; 0, without a gradient, until enough outputs are known.
        """
        found = self._compared(feature_statistics(features))
        count = min(int(self.seen), OUTPUTS)
        loss = found.new_zeros(())
        if count >= ENOUGH:
            # A copy: what is remembered changes before the gradient is taken.
            loss = likeness_loss(found, self.outputs[:count].clone(), self.cartoons)
        places = (int(self.seen) + torch.arange(len(found))) % OUTPUTS
        self.outputs[places] = found.detach()
        self.seen += len(found)
        return loss

    def balanced(self, loss: Tensor, paired: Tensor, output: Tensor, renew: bool) -> Tensor:
        """Scale the loss so that it moves the output as much as the paired losses do.

        Args:
            loss: what this gave.
            paired: scalar, the sum of the others.
            output: what both depend on.
            renew: whether to measure again; what is measured is averaged over time.
        """
        if not loss.requires_grad:
            return loss
        if renew or not self.balance:
            norms = [
                torch.autograd.grad(x, output, retain_graph=True)[0].norm() for x in (paired, loss)
            ]
            ratio = norms[0] / norms[1].clamp_min(1e-12)
            self.balance.copy_(0.7 * self.balance + 0.3 * ratio if self.balance else ratio)
        return loss * self.balance

    def _compared(self, statistics: Tensor) -> Tensor:
        return ((statistics - self.centre) / self.scale).clamp(-_FAR, _FAR)
