"""A classifier of photos and cartoons, tested on representations and outputs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from toonbox.learn.discriminator import Discriminator
from toonbox.learn.evaluate.feature_networks import CropRule, take_crops
from toonbox.learn.progress import tracked
from toonbox.learn.representations.structure import SEGMENTS, structure
from toonbox.learn.representations.surface import surface
from toonbox.learn.representations.texture import draw_channel_weights, texture
from toonbox.pixels import Uint8Array, to_signed

STRUCTURE_SIDE = 256  # pixels; crop side that SEGMENTS is meant for
SHARPNESS = 30.0  # scores of a 1-Lipschitz network are too close to 0 for cross-entropy


@dataclass(frozen=True)
class ClassifierConfig:
    """Training settings of the classifier."""

    # Crops cover most of a reduced picture, which is easier to classify than patches.
    rule: CropRule = CropRule(short_side=192, size=128, crops=4)
    steps: int = 900
    batch_size: int = 16
    learning_rate: float = 1e-2
    base_channels: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Classification:
    """Shares of crops, in [0, 1], classified as cartoon."""

    photos: float  # of held-out photos (false positives)
    representations: dict[str, float]  # of held-out cartoons: original, surface, structure, texture
    styles: dict[str, float]  # of outputs

    def accuracy(self, share: float) -> float:
        """Return the balanced accuracy on photos and a set of this share; 0.5 is chance."""
        return (1 - self.photos + share) / 2


def train_classifier(
    photos: Iterable[Uint8Array], cartoons: Iterable[Uint8Array], config: ClassifierConfig
) -> Discriminator:
    """Train a discriminator with a linear head to classify photos and cartoons, (H, W, 3).

    Their crops are kept in memory, by default 0.2 MB per picture; half of every batch are cartoons.
    Scores above 0 mean cartoon. The experiment is of Wang & Yu 2020; the settings are ours.
    """
    kinds = [np.concatenate(list(_crops_of(each, config.rule))) for each in (photos, cartoons)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = Discriminator(3, config.base_channels, head="linear")
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    # Decay to zero, otherwise the decision threshold oscillates.
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, config.steps)
    random = torch.Generator().manual_seed(config.seed)
    half = config.batch_size // 2
    is_cartoon = torch.arange(2 * half).ge(half).float().unsqueeze(1)
    for _ in tracked(range(config.steps), "classifier: training", config.steps):
        chosen = [kind[torch.randint(len(kind), (half,), generator=random)] for kind in kinds]
        batch = _signed(np.concatenate(chosen))
        mirrored = torch.rand(len(batch), 1, 1, 1, generator=random) < 0.5
        scores = network(torch.where(mirrored, batch.flip(3), batch))
        loss = functional.binary_cross_entropy_with_logits(SHARPNESS * scores, is_cartoon)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    return network.eval()


def classify(
    network: Discriminator,
    photos: Iterable[Uint8Array],
    cartoons: Iterable[Uint8Array],
    styles: Mapping[str, Iterable[Uint8Array]],
    rule: CropRule,
) -> Classification:
    """Test a classifier on pictures, (H, W, 3), and styles' outputs that it was not trained on."""

    def shares(
        pictures: Iterable[Uint8Array],
        views: Callable[[Uint8Array], dict[str, Tensor]] = lambda crops: {"": _signed(crops)},
    ) -> dict[str, float]:
        calls = defaultdict(list)
        for crops in _crops_of(pictures, rule):
            with torch.inference_mode():
                for name, images in views(crops).items():
                    calls[name].append(float((network(images) > 0).float().mean()))
        return {name: float(np.mean(values)) for name, values in calls.items()}

    return Classification(
        photos=shares(photos)[""],
        representations=shares(cartoons, _representations),
        styles={name: shares(outputs)[""] for name, outputs in styles.items()},
    )


def _representations(crops: Uint8Array) -> dict[str, Tensor]:
    """Compute the representations of crops: (N, S, S, 3) -> (N, 3, S, S) in [-1, 1] each."""
    original = _signed(crops)
    # The same number of segments per area as in training.
    segments = max(2, SEGMENTS * crops.shape[1] * crops.shape[2] // STRUCTURE_SIDE**2)
    flat = _signed(np.stack([structure(crop, segments=segments) for crop in crops]))
    grey = texture(original, draw_channel_weights("grayscale")).expand(-1, 3, -1, -1)
    return {"original": original, "surface": surface(original), "structure": flat, "texture": grey}


def _crops_of(pictures: Iterable[Uint8Array], rule: CropRule) -> Iterator[Uint8Array]:
    """Yield the crops of each picture, (crops, size, size, 3)."""
    return (take_crops(rgb, rule, index) for index, rgb in enumerate(pictures))


def _signed(crops: Uint8Array) -> Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) in [-1, 1]."""
    return torch.from_numpy(to_signed(crops)).permute(0, 3, 1, 2)
