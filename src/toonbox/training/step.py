"""One adversarial update: both discriminators, then the generator."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import EllipsisType

import torch
from torch import Tensor, nn

from toonbox.losses import (
    colour_loss,
    content_loss,
    discriminator_loss,
    generator_loss,
    reconstruction_loss,
    structure_loss,
    total_variation,
    weighted_sum,
)
from toonbox.pixels import Uint8Array
from toonbox.representations.structure import structure
from toonbox.representations.surface import guided_filter, surface
from toonbox.representations.texture import draw_channel_weights, texture
from toonbox.training.config import StructureConfig
from toonbox.training.knobs import KnobSettings
from toonbox.training.state import Adversary, TrainingState, learning_rate, update

PHOTO_GUIDED_RADIUS = 1
PHOTO_GUIDED_EPS = 1e-2
GAIN = 0.25
LIFT = 0.25


@dataclass(frozen=True)
class Palette:
    """A change of colours: a permutation of the channels, a gain and a lift for each picture."""

    order: Tensor
    gain: Tensor
    lift: Tensor

    @classmethod
    def draw(
        cls, count: int, share: tuple[int, int], random: torch.Generator, device: torch.device
    ) -> "Palette":
        """Draw for the joint batch of `count` pictures, keep this process's share of them."""
        order = torch.stack([torch.randperm(3, generator=random) for _ in range(count)])
        gain = 1 + GAIN * (2 * torch.rand(count, 1, 1, 1, generator=random) - 1)
        lift = LIFT * (2 * torch.rand(count, 1, 1, 1, generator=random) - 1)
        mine = slice(share[0], None, share[1])
        return cls(order[mine].to(device), gain[mine].to(device), lift[mine].to(device))

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, H, W), not clipped."""
        index = self.order[:, :, None, None].expand_as(image)
        return image.gather(1, index) * self.gain + self.lift


@dataclass(frozen=True)
class Views:
    """What the discriminators see of pictures in one step; one draw serves both domains."""

    channel_weights: Tensor
    cartoon_palette: Palette | None
    output_palette: Palette | None

    @classmethod
    def draw(cls, state: TrainingState, photo: Tensor, random: torch.Generator) -> "Views":
        """Draw for one step and this process's share of its joint batch."""
        fabric = state.fabric
        weights = draw_channel_weights(state.config.texture, random)
        if not state.config.discriminators.palette_blind:
            return cls(weights, None, None)
        share = (fabric.global_rank, fabric.world_size)
        count = len(photo) * fabric.world_size
        return cls(weights, *(Palette.draw(count, share, random, photo.device) for _ in "ab"))

    def cartoon(self, name: str, image: Tensor) -> Tensor:
        """Give a representation of cartoons, by its name."""
        return self._view(name, image, self.cartoon_palette)

    def output(self, name: str, image: Tensor) -> Tensor:
        """Give a representation of outputs, by its name."""
        return self._view(name, image, self.output_palette)

    def _view(self, name: str, image: Tensor, palette: Palette | None) -> Tensor:
        if name == "texture":
            return texture(image, self.channel_weights)
        smooth = surface(image)
        return smooth if palette is None else palette.apply(smooth)


def adversarial_step(
    state: TrainingState,
    photo: Tensor,
    cartoon: Tensor | None,
    vgg: Callable[[Tensor], Tensor] | None,
    workers: Executor,
    target: Tensor | None = None,
) -> dict[str, Tensor]:
    """Update the discriminators, then the generator.

    Discriminators and features of which all weights are 0 are left out.

    The superpixels of the outputs are computed in `workers` while this process updates the
    discriminators and computes the photos' features.

    Args:
        state: changed in place.
        photo: (B, 3, H, W) in [-1, 1], this process's share of the joint batch.
        cartoon: same shape and range, unpaired; None if there are no discriminators.
        vgg: the frozen feature network, (B, 3, H, W) to (B, C, h, w); None if neither structure
            nor content has a weight.
        workers: processes for the superpixels.
        target: (B, 3, H, W) in [-1, 1], of pre-training; None for no reconstruction loss.
    Returns:
        Scalar losses by name.
    Raises:
        TrainingError: a loss or gradient is not a number.
    Source:
        Wang & Yu 2020, section 3.4; the order of the authors' code (discriminators see the
        generator before its update).
    """
    config, fabric = state.config, state.fabric
    random = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
    views = Views.draw(state, photo, random)
    knobs = KnobSettings.draw(config, state.step)
    with fabric.autocast():
        output = state.generator(photo, knobs.tensor(config, photo))
    if config.photo_guided_filter:
        output = guided_filter(photo, output, PHOTO_GUIDED_RADIUS, PHOTO_GUIDED_EPS)
    window = draw_window(output.shape[-2:], config.structure.window, random)
    weights = config.weights
    segments = (
        submit_structure(output[window], config.structure, workers) if weights.structure else []
    )

    discriminator_losses = update_discriminators(state, views, cartoon, output.detach())
    references = {}
    with fabric.autocast(), torch.no_grad():
        if vgg is not None and weights.content:
            references["content"] = vgg(photo[window])
        if vgg is not None and weights.structure:
            references["structure"] = vgg(collect_structure(segments, photo))
    with fabric.autocast():
        losses = adversarial_losses(state, views, output)
        if vgg is not None and references:
            features_of_output = vgg(output[window])
        if "structure" in references:
            losses["structure"] = structure_loss(features_of_output, references["structure"])
        if "content" in references:
            losses["content"] = content_loss(features_of_output, references["content"])
        losses["tv"] = total_variation(output)
        losses["colour"] = colour_loss(output, photo)
        if target is not None:
            losses["reconstruction"] = reconstruction_loss(output, target)
    total = weighted_sum(losses, knobs.weights(weights))
    update(state, state.generator, state.generator_optimizer, total, learning_rate(state))
    state.average.update_parameters(state.generator)
    return losses | discriminator_losses


def adversarial_losses(state: TrainingState, views: Views, output: Tensor) -> dict[str, Tensor]:
    """Let the discriminators judge the outputs, without gradients for their own weights."""
    losses = {}
    for name, adversary in state.adversaries.items():
        with frozen(adversary.discriminator):
            losses[name] = generator_loss(adversary.discriminator(views.output(name, output)))
    return losses


def update_discriminators(
    state: TrainingState, views: Views, cartoon: Tensor | None, output: Tensor
) -> dict[str, Tensor]:
    """Teach each discriminator to tell cartoons from outputs in its representation."""
    losses = {}
    for name, adversary in state.adversaries.items():
        assert cartoon is not None
        views_of_both = views.cartoon(name, cartoon), views.output(name, output)
        losses[f"{name}_discriminator"] = _update_discriminator(state, adversary, *views_of_both)
    return losses


def _update_discriminator(
    state: TrainingState, adversary: Adversary, cartoon: Tensor, output: Tensor
) -> Tensor:
    # One forward pass for both, so that spectral normalisation iterates once.
    with state.fabric.autocast():
        both = adversary.discriminator(torch.cat([cartoon, output]))
    maps = [both] if isinstance(both, Tensor) else both
    halves = [scores.chunk(2) for scores in maps]
    loss = discriminator_loss([h[0] for h in halves], [h[1] for h in halves])
    rate = state.config.discriminators.learning_rate
    update(state, adversary.discriminator, adversary.optimizer, loss, rate)
    return loss


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Let gradients pass through networks without collecting any for their weights."""
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def draw_window(
    size: tuple[int, int], side: int, random: torch.Generator
) -> tuple[EllipsisType, slice, slice]:
    """Draw a square of `side` pixels, or of all for 0, as an index of (..., H, W)."""
    spans = []
    for length in size:
        extent = min(side or length, length)
        start = int(torch.randint(length - extent + 1, (), generator=random))
        spans.append(slice(start, start + extent))
    return (..., spans[0], spans[1])


def submit_structure(
    output: Tensor, config: StructureConfig, workers: Executor
) -> list[Future[Uint8Array]]:
    """Start the structure representations of (B, 3, H, W) in worker processes."""
    eight_bit = ((output.detach().float() + 1) * 127.5).round().clamp(0, 255).byte()
    pictures = eight_bit.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    represent = partial(
        structure,
        segments=config.segments,
        gamma=config.gamma,
        similarity=config.similarity,
    )
    return [workers.submit(represent, picture) for picture in pictures]


def collect_structure(segments: list[Future[Uint8Array]], like: Tensor) -> Tensor:
    """Wait for the structure representations: (B, 3, H, W) in [-1, 1], device as `like`."""
    pictures = torch.stack([torch.from_numpy(future.result()) for future in segments])
    return pictures.permute(0, 3, 1, 2).to(like.device).float() / 127.5 - 1
