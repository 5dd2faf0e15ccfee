"""The losses, all means, so that they do not depend on picture, batch or feature size."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from toonbox.errors import ShapeError
from toonbox.learn.generator import KnobSettings

Scores = Tensor | Sequence[Tensor]  # of any shape; a list has one tensor per scale

SQUARE_WEIGHT = 6.0


def generator_loss(scores_of_output: Scores) -> Tensor:
    """Return mean (D(output) - 1)^2, the generator's least-squares loss (Mao et al. 2017)."""
    return _mean_square(scores_of_output, 1.0)


def discriminator_loss(scores_of_cartoon: Scores, scores_of_output: Scores) -> Tensor:
    """Return 0.5 mean (D(cartoon) - 1)^2 + 0.5 mean D(output)^2; 0.25 if D is always 0.5."""
    return 0.5 * _mean_square(scores_of_cartoon, 1.0) + 0.5 * _mean_square(scores_of_output, 0.0)


def _mean_square(scores: Scores, target: float) -> Tensor:
    """Return mean (scores - target)^2, averaged over scales with equal weights."""
    maps = [scores] if isinstance(scores, Tensor) else scores
    return torch.stack([((each.float() - target) ** 2).mean() for each in maps]).mean()


def content_loss(features_of_output: Tensor, features_of_photo: Tensor) -> Tensor:
    """Return |F(G(p)) - F(p)|, the mean L1 distance of features, (B, C, h, w); no gradient to F(p).

    It is relative to the mean magnitude of each photo's features: 0 for equal features, about 1 for
    another photo, for any network and crop size. The authors' code divides the mean by the element
    count and multiplies by 200: their weights do not carry over. Raises ShapeError.
    """
    output, photo = features_of_output.float(), features_of_photo.detach().float()
    if output.shape != photo.shape:
        raise ShapeError(f"features differ in shape: {tuple(output.shape)}, {tuple(photo.shape)}")
    # Per picture, so that a batch split over processes gives the same gradients.
    distance = (output - photo).abs().mean(dim=(1, 2, 3))
    scale = photo.abs().mean(dim=(1, 2, 3)).clamp_min(1e-6)
    return (distance / scale).mean()


def perceptual_loss(output: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Return the mean `content_loss` of scales, no gradient to the target (Johnson et al. 2016)."""
    return torch.stack([content_loss(a, b) for a, b in zip(output, target, strict=True)]).mean()


def total_variation(image: Tensor) -> Tensor:
    """Return mean (vertical differences)^2 + mean (horizontal ones)^2 of (B, C, H, W)."""
    return sum(step.square().mean() for step in _differences(image))  # type: ignore[return-value]


def colour_loss(output: Tensor, photo: Tensor, window: int = 32) -> Tensor:
    """Return the mean L1 distance of local mean colours, which preserves the photo's palette.

    Pictures are (B, C, H, W) in [-1, 1]; the windows, in pixels, overlap by half.
    """
    window = min(window, *output.shape[-2:])
    difference = (output - photo).contiguous()
    step = max(1, window // 2)
    rows = functional.avg_pool2d(difference, (window, 1), (step, 1))
    return functional.avg_pool2d(rows, (1, window), (1, step)).abs().mean()


def reconstruction_loss(output: Tensor, target: Tensor, gradient_weight: float = 0.1) -> Tensor:
    """Return L1 + SQUARE_WEIGHT * MSE + gradient_weight * L1 of the gradients, all means.

    L1 alone lets thin lines vanish where they are uncertain, since they are few pixels with large
    errors, which the square emphasises. The gradient term places edges where the target has them.
    """
    error = output - target
    pixels = error.abs().mean() + SQUARE_WEIGHT * error.square().mean()
    return pixels + gradient_weight * sum(step.abs().mean() for step in _differences(error))


def dashes_loss(output: Tensor, target: Tensor, left_out: Tensor) -> Tensor:
    """Return the mean of how much darker than the target the output is on short, faint lines.

    A network that cannot see a line's whole length is not sure whether to draw it, and draws faint
    smears; this makes leaving it out the better answer. `left_out`, (B, 1, H, W) in [0, 1], is the
    ink that the target spares such lines; pictures are (B, C, H, W) in [-1, 1].
    """
    return (left_out * (target - output).clamp_min(0)).mean()


def _differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of adjacent pixels, vertical and horizontal."""
    return image[:, :, 1:] - image[:, :, :-1], image[:, :, :, 1:] - image[:, :, :, :-1]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses in the adversarial steps.

    Those from `colour` on are not the paper's. `reconstruction` (pixels) and `features` keep to the
    target of pre-training; without them outlines fade in short runs. `dashes` is for drawings.
    """

    surface: float = 0.4
    texture: float = 1.0
    structure: float = 0.35
    content: float = 0.12
    tv: float = 0.3
    colour: float = 2.0
    reconstruction: float = 2.5
    features: float = 0.0
    dashes: float = 0.0

    @property
    def held(self) -> bool:
        """Return whether a loss compares the output with the target of pre-training."""
        return self.reconstruction > 0 or self.features > 0 or self.dashes > 0

    def turned(self, knobs: KnobSettings) -> "LossWeights":
        """Return weights with surface, structure and texture multiplied by the knobs."""
        weights = asdict(self)
        return replace(self, **{name: weights[name] * k for name, k in knobs._asdict().items()})


PRESETS: Mapping[str, LossWeights] = {
    "balanced": LossWeights(),
    "smooth": LossWeights(surface=1.2, tv=1.0),
    "flat": LossWeights(structure=1.2),
    "outlined": LossWeights(texture=3.0),
}


def weighted_sum(losses: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """Return the weighted sum of scalar losses, by name."""
    by_name = asdict(weights)
    return torch.stack([by_name[name] * loss for name, loss in losses.items()]).sum()
