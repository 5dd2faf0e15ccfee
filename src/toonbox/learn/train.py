"""The run: pre-train, train, report, and leave behind what is needed to go on."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from toonbox.atomic import replacing
from toonbox.errors import ConfigError, TrainingError
from toonbox.learn.config import StructureConfig, TrainConfig, load_config, save_config
from toonbox.learn.data import CropBatches, TrainingData
from toonbox.learn.drawings import Drawings, prepare_layers
from toonbox.learn.features import EfficientNetFeatures
from toonbox.learn.generator import Generator, save_generator
from toonbox.learn.losses import (
    LossWeights,
    colour_loss,
    content_loss,
    discriminator_loss,
    generator_loss,
    perceptual_loss,
    reconstruction_loss,
    structure_loss,
    total_variation,
    weighted_sum,
)
from toonbox.learn.narrow import narrowed
from toonbox.learn.report import Reporter, RunOptions
from toonbox.learn.representations.structure import structure
from toonbox.learn.representations.surface import guided_filter, surface
from toonbox.learn.representations.texture import draw_channel_weights, texture
from toonbox.learn.state import (
    Adversary,
    TrainingState,
    channels_last,
    learning_rate,
    new_state,
    update,
)
from toonbox.learn.workers import quiet_worker, worker_pool
from toonbox.pixels import Uint8Array
from toonbox.signals import ending, interruptible

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


NOISE_STREAM = 4  # apart from the seeds of crops and knobs
SPOT = 4  # pixels: about half a block of what films are compressed with


def pretrain_step(state: TrainingState, photo: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Move the generator's output towards the target, in pixels and, if weighted, in features.

    Args:
        state: changed in place.
        photo: (B, 3, H, W) in [-1, 1].
        target: same shape and range.
    Returns:
        Scalar losses by name.
    """
    config = state.config.pretrain
    if config.noise:
        photo = noisy(photo, config.noise, state.config.seed, state.step)
    with state.fabric.autocast():
        knobs = KnobSettings.draw(state.config, state.step)
        output = state.generator(photo, knobs.tensor(state.config, photo))
    losses = {"reconstruction": reconstruction_loss(output, target, config.gradient_weight)}
    total = losses["reconstruction"]
    if config.feature_weight:
        assert state.features is not None
        with state.fabric.autocast():
            losses["features"] = perceptual_loss(state.features(output), state.features(target))
        total = total + config.feature_weight * losses["features"]
    update(state, state.generator, state.generator_optimizer, total, learning_rate(state))
    state.average.update_parameters(state.generator)
    return losses


def noisy(photo: Tensor, levels: float, seed: int, step: int) -> Tensor:
    """Add noise as films have it: of the sensor in each pixel, and of compression in spots.

    Args:
        photo: (B, 3, H, W) in [-1, 1].
        levels: largest standard deviation, in [0, 255]; each photo's is drawn below it.
        seed, step: on which alone the draws depend.
    Returns:
        The same shape and range.
    """
    seeds = np.random.SeedSequence((seed, NOISE_STREAM, step))
    random = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
    batch, _, height, width = photo.shape
    fine = torch.randn(photo.shape, generator=random)
    coarse = torch.randn(batch, 3, -(-height // SPOT), -(-width // SPOT), generator=random)
    spots = functional.interpolate(coarse, scale_factor=SPOT, mode="bilinear")
    share = torch.rand(2, batch, 1, 1, 1, generator=random) * levels / 127.5
    noise = share[0] * fine + share[1] * spots[..., :height, :width]
    return (
        (photo + noise.to(photo.device)).clamp(-1, 1).contiguous(memory_format=torch.channels_last)
    )


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


Features = Callable[[Tensor], Tensor]
CROPS_TO_FIT = 40  # what a smaller generator is fitted to a larger one on


def new_fabric(options: RunOptions) -> Fabric:
    """Make the Fabric that knows device, processes and precision."""
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[options.device]
    fabric = Fabric(
        accelerator=accelerator,
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        precision="bf16-mixed" if options.precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


def train(
    config: TrainConfig,
    data: TrainingData,
    options: RunOptions,
    vgg: torch.nn.Module | None,
    features: EfficientNetFeatures | None,
    fabric: Fabric | None = None,
    teacher: Generator | None = None,
    start: Generator | None = None,
) -> None:
    """Train a generator, or go on with the run that `options.out` holds.

    Args:
        config: what is learnt.
        data: the pictures.
        options: how it is done.
        vgg: frozen features for the content and the structure loss; None if these weigh 0.
        features: frozen, for what of the configuration needs them; else None.
        fabric: a launched Fabric, or None for one made from `options`.
        teacher: whose outputs are the target of reconstruction, for pre-training of that kind.
        start: whose weights a new run begins with; a larger one is fitted to the configured size.
    Raises:
        TrainingError: a loss or gradient is not a number; the last checkpoint is good.
        ConfigError: `start` or `teacher` does not fit the configuration, or what it needs is
            missing.
        KeyboardInterrupt, SystemExit: after Ctrl-C or SIGTERM, when the step is done and a
            checkpoint written.
    """
    if config.needs_vgg and vgg is None:
        raise ConfigError("this configuration needs VGG features")
    if config.discriminated and not data.cartoons.files:
        raise ConfigError("this configuration needs cartoons")
    fabric = fabric or new_fabric(options)
    state = new_state(config, fabric, features and channels_last(features.to(fabric.device)))
    vgg = vgg and channels_last(vgg.to(fabric.device))
    teacher = teacher and channels_last(teacher.to(fabric.device))
    if teacher is not None and config.generator.knobs and not teacher.config.knobs:
        raise ConfigError("the teacher has no knobs for its pupil to learn")
    checkpoint = options.out / "checkpoint.pt"
    if start is not None and not checkpoint.exists():
        begin_with(state, start, data)
    if checkpoint.exists():
        state.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    # Before Ctrl-C is deferred: many photos take hours.
    drawings = prepare_drawings(config, data, options, fabric)
    with ExitStack() as stack:
        workers = stack.enter_context(worker_pool(options.workers))
        asked = stack.enter_context(interruptible())
        report = stack.enter_context(Reporter.open(state, options, data.validation))
        saved = time.monotonic()
        for batch in batches(state, data, options, drawings):
            losses = one_step(state, batch, vgg, workers, teacher)
            state.step += 1
            report.step(losses)
            due = time.monotonic() - saved >= options.checkpoint_minutes * 60
            # All processes must agree: the message of one stops the others.
            stop = fabric.broadcast(asked.number) if fabric.world_size > 1 else asked.number
            if due or stop or state.step == config.total_steps:
                save(state, options.out)
                saved = time.monotonic()
            if stop:
                raise ending(stop)


def begin_with(state: TrainingState, start: Generator, data: TrainingData) -> None:
    """Take another run's weights, for the generator and for its average.

    A larger generator's are fitted to the configured size, on crops of the photos.

    Raises:
        ConfigError: its size does not correspond to the configured one.
    """
    config = state.config
    if start.config != config.generator:
        crops = CropBatches(data.photos, None, config.crops, config.seed)
        batches = -(-CROPS_TO_FIT // config.crops.batch_size)
        photos = torch.cat([crops[step]["photo"] for step in range(batches)])
        multiple = max(start.config.size_multiple, config.generator.size_multiple)
        side = max(1, config.crops.size // multiple) * multiple
        signed = _to_signed(photos, torch.device("cpu"))
        start = narrowed(start, config.generator, signed[..., :side, :side])
    for network in (state.generator, state.average.module):
        network.load_state_dict(start.state_dict())


def one_step(
    state: TrainingState,
    batch: dict[str, Tensor],
    vgg: Features | None,
    workers: Executor,
    teacher: Generator | None = None,
) -> dict[str, Tensor]:
    """Do the update that the step's phase asks for."""
    images = {name: _to_signed(t, state.fabric.device) for name, t in batch.items()}
    photo, target = images["photo"], images.get("target")
    if teacher is not None:
        knobs = KnobSettings.draw(state.config, state.step)
        with torch.no_grad(), state.fabric.autocast():
            target = teacher(photo, knobs.tensor(state.config, photo))
    if state.step < state.config.pretrain.steps:
        return pretrain_step(state, photo, photo if target is None else target)
    return adversarial_step(state, photo, images.get("cartoon"), vgg, workers, target)


def _to_signed(batch: Tensor, device: torch.device) -> Tensor:
    images = batch.to(device, non_blocking=True).float() / 127.5 - 1
    return images.contiguous(memory_format=torch.channels_last)


def prepare_drawings(
    config: TrainConfig, data: TrainingData, options: RunOptions, fabric: Fabric
) -> Drawings | None:
    """Compute the layers that are missing; None for a run without drawn targets."""
    if config.target != "drawing":
        return None
    low, high = (max(side, config.crops.size) for side in config.crops.photo_side)
    with fabric.rank_zero_first(local=True):
        files = prepare_layers(data.photos.files, (low, high), options.drawings, options.workers)
    return Drawings(files, config.pretrain.look, partial(KnobSettings.draw, config))


def batches(
    state: TrainingState,
    data: TrainingData,
    options: RunOptions,
    drawings: Drawings | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Give the batches from the state's step to the end, phase by phase."""
    config, fabric = state.config, state.fabric
    share = (fabric.global_rank, fabric.world_size)
    held = drawings if config.weights.reconstruction else None
    source = (config.crops, config.seed, share)
    pretraining = CropBatches(data.photos, None, *source, drawings)
    cartoons = data.cartoons if config.discriminated else None
    adversarial = CropBatches(data.photos, cartoons, *source, held)
    for phase, end in (
        (pretraining, config.pretrain.steps),
        (adversarial, config.total_steps),
    ):
        if state.step < end:
            yield from DataLoader(
                phase,
                batch_size=None,
                sampler=range(state.step, end),
                num_workers=options.workers,
                # A fork of a process that has run torch's threads may hang.
                multiprocessing_context="spawn" if options.workers else None,
                prefetch_factor=4 if options.workers else None,
                worker_init_fn=quiet_worker,
            )


def save(state: TrainingState, out: Path) -> None:
    """Write the checkpoint, and the averaged generator for those who only want that."""
    if not state.fabric.is_global_zero:
        return
    with replacing(out / "checkpoint.pt") as temporary:
        torch.save(state.state_dict(), temporary)
    generator = state.average.module
    assert isinstance(generator, Generator)
    save_generator(generator, out / "generator.safetensors")


def prepare_run(
    config: TrainConfig, out: Path, data: TrainingData, retune: bool = False, recipe: str = ""
) -> None:
    """Make the run's folder: resolved configuration, data and environment.

    Args:
        config: what is learnt; `steps` may always differ from what the run began with.
        out: the run's folder.
        data: the pictures.
        retune: go on although the configuration has changed. The networks and the seed must be
            the same; the earlier configuration is kept beside the new one.
        recipe: name of the file that the configuration was read from, for the style's card.
    Raises:
        TrainingError: it holds a run of another configuration.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / "config.toml"
    if file.exists():
        before = load_config(file)
        fixed: dict[str, Any] = {"steps": config.steps}
        if retune:
            rates = ("learning_rate", "final_learning_rate", "knobs_at_default")
            tunable = (*rates, "pretrain", "structure", "weights", "texture", "photo_guided_filter")
            fixed |= {name: getattr(config, name) for name in tunable}
        if replace(before, **fixed) != config:
            raise TrainingError(
                f"{out}: holds a run of another configuration; choose another --out, or the same "
                "options to go on" + ("" if retune else ", or --retune to change loss weights")
            )
        if replace(before, steps=config.steps) != config:
            earlier = len(list(out.glob("config-*.toml"))) + 1
            file.rename(out / f"config-{earlier}.toml")
    save_config(config, file)
    data.save(out / "data.json")
    with replacing(out / "environment.json") as temporary:
        temporary.write_text(json.dumps({**environment(), "recipe": recipe}, indent=2))


def environment() -> dict[str, str | int | None]:
    """Describe what a run ran on."""
    names = ("toonbox", "torch", "numpy", "opencv-contrib-python-headless", "lightning-fabric")
    return {
        **{name: version(name) for name in names},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join(sys.argv),
    }
