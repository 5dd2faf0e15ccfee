"""Classification accuracy: do the representations of cartoons, and outputs, pass for cartoons?"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from toonbox.errors import UsageError
from toonbox.learn.discriminator import Discriminator, DiscriminatorConfig
from toonbox.learn.evaluate.distances import CropRule, take_crops
from toonbox.learn.representations.structure import SEGMENTS, structure
from toonbox.learn.representations.surface import surface
from toonbox.learn.representations.texture import draw_channel_weights, texture
from toonbox.pixels import Uint8Array

STRUCTURE_SIDE = 256  # pixels of the crops that SEGMENTS are meant for
SHARPNESS = 30.0  # the network is 1-Lipschitz: its bare scores are too close to 0 for cross-entropy

View = Callable[[Uint8Array], Tensor]


@dataclass(frozen=True)
class ClassifierConfig:
    """How the classifier is trained, and how pictures become crops for it.

    A hundred steps of the defaults take about a quarter of a minute on two cores. Crops show most
    of a small picture: whole figures tell cartoons from photos sooner than patches do.
    """

    rule: CropRule = field(default_factory=lambda: CropRule(short_side=192, size=128, crops=4))
    steps: int = 900
    batch_size: int = 16
    learning_rate: float = 1e-2
    base_channels: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Classification:
    """What a classifier calls cartoon: shares of crops in [0, 1].

    Attributes:
        photos: of held-out photos; what is called cartoon here is wrong.
        representations: of held-out cartoons as they are (`original`) and as their `surface`,
            `structure` and `texture`.
        styles: of outputs, by the name of the style.
    """

    photos: float
    representations: dict[str, float]
    styles: dict[str, float]

    def accuracy(self, share: float) -> float:
        """Give how well photos are told from something of which a share is called cartoon.

        The share that is right of both, counted the same; 0.5 is guessing.
        """
        return (1 - self.photos + share) / 2


def train_classifier(
    photos: Iterable[Uint8Array],
    cartoons: Iterable[Uint8Array],
    config: ClassifierConfig | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Discriminator:
    """Train a discriminator with a fully connected head to tell photos from cartoons.

    Args:
        photos: (H, W, 3) each, read one at a time; their crops stay in memory, by default 0.2
            megabytes a picture.
        cartoons: the same; half of every batch, whatever their number.
        config: of the training.
        advance: called after each of the config's steps.
    Returns:
        The network, in evaluation mode; its score is above 0 for cartoons.
    Raises:
        UsageError: there are no photos or no cartoons.
    Source:
        Wang & Yu 2020 for the experiment; its settings are not given there.
    """
    config = config or ClassifierConfig()
    kinds = [
        torch.from_numpy(np.concatenate(list(_crops_of(pictures, config.rule))))
        for pictures in (photos, cartoons)
    ]
    network = _new_network(config)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    # Down to zero: the last steps would else move the threshold to and fro.
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, config.steps)
    random = torch.Generator().manual_seed(config.seed)
    half = config.batch_size // 2
    cartoon = torch.arange(2 * half).ge(half).float().unsqueeze(1)
    for _ in range(config.steps):
        crops = [kind[torch.randint(len(kind), (half,), generator=random)] for kind in kinds]
        batch = _signed(torch.cat(crops))
        mirrored = torch.rand(len(batch), 1, 1, 1, generator=random) < 0.5
        scores = network(torch.where(mirrored, batch.flip(3), batch))
        loss = functional.binary_cross_entropy_with_logits(SHARPNESS * scores, cartoon)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
        advance()
    return network.eval()


def classify(
    network: Discriminator,
    photos: Iterable[Uint8Array],
    cartoons: Iterable[Uint8Array],
    styles: Mapping[str, Iterable[Uint8Array]],
    rule: CropRule | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Classification:
    """Test a classifier on pictures that it has not been trained on, as the paper does.

    Where a representation of cartoons is called cartoon less often than they are, it has lost
    what tells them from photos: it bridges the two. Outputs called cartoon pass for one.

    Args:
        network: of `train_classifier`.
        photos: (H, W, 3) each.
        cartoons: the same.
        styles: outputs of each style, by its name.
        rule: how crops are taken; that of the training.
        advance: called after each picture.
    Raises:
        UsageError: one of the kinds has no picture.
    """
    rule = rule or ClassifierConfig().rule

    def shares(pictures: Iterable[Uint8Array], views: Mapping[str, View]) -> dict[str, float]:
        calls: dict[str, list[float]] = {name: [] for name in views}
        for crops in _crops_of(pictures, rule):
            for name, view in views.items():
                with torch.inference_mode():
                    calls[name].append(float((network(view(crops)) > 0).float().mean()))
            advance()
        return {name: float(np.mean(values)) for name, values in calls.items()}

    def share(pictures: Iterable[Uint8Array]) -> float:
        return shares(pictures, {"original": VIEWS["original"]})["original"]

    return Classification(
        photos=share(photos),
        representations=shares(cartoons, VIEWS),
        styles={name: share(outputs) for name, outputs in styles.items()},
    )


def _original(crops: Uint8Array) -> Tensor:
    return _signed(torch.from_numpy(crops))


def _surface(crops: Uint8Array) -> Tensor:
    return surface(_original(crops))


def _structure(crops: Uint8Array) -> Tensor:
    """As many segments for an area as in training; at least two."""
    segments = max(2, SEGMENTS * crops.shape[1] * crops.shape[2] // STRUCTURE_SIDE**2)
    return _original(np.stack([structure(crop, segments=segments) for crop in crops]))


def _texture(crops: Uint8Array) -> Tensor:
    """One channel, shown as grey."""
    return texture(_original(crops), draw_channel_weights("grayscale")).expand(-1, 3, -1, -1)


VIEWS: Mapping[str, View] = {
    "original": _original,
    "surface": _surface,
    "structure": _structure,
    "texture": _texture,
}


def _new_network(config: ClassifierConfig) -> Discriminator:
    """Build the network from the seed, leaving torch's own random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Discriminator(DiscriminatorConfig(3, config.base_channels, head="linear"))


def _crops_of(pictures: Iterable[Uint8Array], rule: CropRule) -> Iterator[Uint8Array]:
    """Give each picture's (crops, size, size, 3).

    Raises:
        UsageError: there is no picture.
    """
    index = -1
    for index, rgb in enumerate(pictures):
        yield take_crops(rgb, rule, index)
    if index < 0:
        raise UsageError("the classifier needs at least one picture of each kind")


def _signed(crops: Tensor) -> Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) in [-1, 1]."""
    return crops.permute(0, 3, 1, 2) / 127.5 - 1
