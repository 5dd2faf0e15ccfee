"""The discriminators: small, spectrally normalised networks that score patches or pictures."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from toonbox.learn.generator import activated, convolution

Head = Literal["patch", "linear"]


class Discriminator(nn.Module):
    """Distinguish cartoons from outputs in one representation (surface: 3 channels, texture: 1).

    Each of three levels has two 3x3 convolutions, the first of stride 2, with 32, 64 and 128
    channels. All layers are spectrally normalised: the network is about 1-Lipschitz. The `linear`
    head is that of Wang & Yu 2020, the `patch` head that of the authors' code.
    """

    def __init__(self, channels: int = 3, base_channels: int = 32, head: Head = "patch") -> None:
        super().__init__()
        widths = channels, base_channels, 2 * base_channels, 4 * base_channels
        convolutions = (
            spectral_norm(convolution(width, outputs, stride=stride))
            for inputs, outputs in pairwise(widths)
            for width, stride in ((inputs, 2), (outputs, 1))
        )
        self.body = activated(*convolutions)
        if head == "patch":
            self.head: nn.Module = spectral_norm(convolution(widths[-1], 1, 1))
        else:
            pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = nn.Sequential(pool, spectral_norm(nn.Linear(widths[-1], 1)))

    def forward(self, image: Tensor) -> Tensor:
        """Score (B, C, H, W) in [-1, 1]; the targets are 1 for cartoons and 0 for outputs.

        The scores are (B, 1, H / 8, W / 8) with the patch head, (B, 1) with the linear head.
        """
        scores: Tensor = self.head(self.body(image))
        return scores


class FeatureDiscriminator(nn.Module):
    """Small heads on frozen pretrained features at several scales.

    They learn in tens of steps what a discriminator from scratch learns in thousands (Sauer et al.
    2021, Projected GANs, section 3, here without the random mixing).
    """

    def __init__(
        self, features: Callable[[Tensor], list[Tensor]], widths: tuple[int, ...], hidden: int = 64
    ) -> None:
        super().__init__()
        self.features = (features,)  # shared: in a tuple it is not registered as a submodule
        self.heads = nn.ModuleList(
            nn.Sequential(
                *activated(
                    spectral_norm(convolution(width, hidden, 1)),
                    spectral_norm(convolution(hidden, hidden)),
                ),
                convolution(hidden, 1, 1),  # not normalised, so that scores can reach 0 and 1
            )
            for width in widths
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Score (B, 3, H, W) or grey (B, 1, H, W) in [-1, 1]; return (B, 1, h, w) per scale."""
        rgb = image.expand(-1, 3, -1, -1)
        return [head(f) for head, f in zip(self.heads, self.features[0](rgb), strict=True)]
