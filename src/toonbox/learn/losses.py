"""The losses, each a mean: none grows with the picture, the batch or the features."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from toonbox.errors import ShapeError
from toonbox.learn.generator import KnobSettings

Scores = Tensor | Sequence[Tensor]

SQUARE_WEIGHT = 6.0


def generator_loss(scores_of_output: Scores) -> Tensor:
    """Return mean (D(output) - 1)^2, the surface and the texture loss (Mao et al. 2017).

    Scores have any shape, or are a list of them, one for each scale.
    """
    return _mean_square(scores_of_output, 1.0)


def discriminator_loss(scores_of_cartoon: Scores, scores_of_output: Scores) -> Tensor:
    """Return 0.5 mean (D(cartoon) - 1)^2 + 0.5 mean D(output)^2; 0.25 when D cannot tell."""
    return 0.5 * _mean_square(scores_of_cartoon, 1.0) + 0.5 * _mean_square(scores_of_output, 0.0)


def _mean_square(scores: Scores, target: float) -> Tensor:
    """Return mean (scores - target)^2; scales count alike, however many patches they have."""
    maps = [scores] if isinstance(scores, Tensor) else list(scores)
    return torch.stack([((each.float() - target) ** 2).mean() for each in maps]).mean()


def content_loss(features_of_output: Tensor, features_of_photo: Tensor) -> Tensor:
    """Return the mean L1 distance of features, (B, C, h, w): the content of the photo is kept.

    Returns:
        Scalar, relative to the mean magnitude of each photo's features: 0 for the same, about 1
        for another photo, whichever feature network and crop size. The authors' code divides
        the plain mean by the element count and multiplies by 200: their weights do not carry over.
    Raises:
        ShapeError: the shapes differ.
    """
    if features_of_output.shape != features_of_photo.shape:
        raise ShapeError(
            f"features differ in shape: {tuple(features_of_output.shape)} and "
            f"{tuple(features_of_photo.shape)}"
        )
    target = features_of_photo.float()
    # Picture by picture, so that a batch shared by processes gives the gradients of the whole.
    distance = (features_of_output.float() - target).abs().mean(dim=(1, 2, 3))
    scale = target.detach().abs().mean(dim=(1, 2, 3)).clamp_min(1e-6)
    return (distance / scale).mean()


def structure_loss(features_of_output: Tensor, features_of_structure: Tensor) -> Tensor:
    """Return `content_loss` of the output and its own structure, which gets no gradient."""
    return content_loss(features_of_output, features_of_structure.detach())


def perceptual_loss(output: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Return the mean `content_loss` of features at several scales (Johnson et al. 2016).

    No gradient flows into the target.
    """
    terms = [content_loss(a, b.detach()) for a, b in zip(output, target, strict=True)]
    return torch.stack(terms).mean()


def total_variation(image: Tensor) -> Tensor:
    """Return the mean squared difference of neighbours in (B, C, H, W), summed over directions."""
    return sum(step.square().mean() for step in _differences(image))  # type: ignore[return-value]


def colour_loss(output: Tensor, photo: Tensor, window: int = 32) -> Tensor:
    """Return the mean L1 distance of blurred colours: the palette of the photo is kept.

    (B, C, H, W) in [-1, 1] are compared as means over windows of this side, half overlapping.
    """
    window = min(window, *output.shape[-2:])
    difference = (output - photo).contiguous()
    step = max(1, window // 2)
    rows = functional.avg_pool2d(difference, (window, 1), (step, 1))
    return functional.avg_pool2d(rows, (1, window), (1, step)).abs().mean()


def reconstruction_loss(output: Tensor, target: Tensor, gradient_weight: float = 0.1) -> Tensor:
    """Return the mean L1 distance of pixels, weighted mean square, and L1 of their differences.

    L1 alone leaves thin lines out wherever it is not sure of them: they are few pixels, far off.
    The square counts these most; differences of neighbours put edges where the target has them.
    """
    error = output - target
    pixels = error.abs().mean() + SQUARE_WEIGHT * error.square().mean()
    return pixels + gradient_weight * sum(step.abs().mean() for step in _differences(error))


def _differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of neighbouring pixels, downwards and to the right."""
    return image[:, :, 1:] - image[:, :, :-1], image[:, :, :, 1:] - image[:, :, :, :-1]


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts in the adversarial steps.

    `reconstruction`, in pixels, and `features`, perceptual, hold the output to the target of pre-
    training: outlines fade without it in short runs. The published method has neither, nor
    `colour`.
    """

    surface: float = 0.4
    texture: float = 1.0
    structure: float = 0.35
    content: float = 0.12
    tv: float = 0.3
    colour: float = 2.0
    reconstruction: float = 2.5
    features: float = 0.0

    def turned(self, knobs: KnobSettings) -> "LossWeights":
        """Multiply the weights that the knobs are named after."""
        weights = asdict(self)
        return replace(self, **{name: weights[name] * k for name, k in knobs._asdict().items()})


PRESETS: Mapping[str, LossWeights] = {
    "balanced": LossWeights(),
    "smooth": LossWeights(surface=1.2, tv=1.0),
    "flat": LossWeights(structure=1.2),
    "outlined": LossWeights(texture=3.0),
}


def weighted_sum(losses: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """Add up losses, scalars by the names of their weights."""
    by_name: dict[str, float] = asdict(weights)
    return torch.stack([by_name[name] * loss for name, loss in losses.items()]).sum()
