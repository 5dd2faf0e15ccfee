"""Train a generator: the run, then one step of each phase.

The method is Wang & Yu 2020, "Learning to Cartoonize Using White-box Cartoon Representations".
In comments, p are photos, c cartoons, G the generator, D_s and D_t the surface and texture
discriminators, F frozen VGG features, and t a drawing of the photo or a teacher's output for it.
"""

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from toonbox.engine.session import keep_freed_memory
from toonbox.learn.config import TrainConfig
from toonbox.learn.data import (
    CropBatches,
    Pictures,
    TrainingData,
    add_noise,
    batches,
    prepare_drawings,
)
from toonbox.learn.features import EfficientNetFeatures
from toonbox.learn.generator import Generator
from toonbox.learn.losses import (
    colour_loss,
    content_loss,
    dashes_loss,
    discriminator_loss,
    generator_loss,
    perceptual_loss,
    reconstruction_loss,
    total_variation,
    weighted_sum,
)
from toonbox.learn.narrow import narrowed
from toonbox.learn.representations.structure import structure
from toonbox.learn.representations.surface import guided_filter, random_palette, surface
from toonbox.learn.representations.texture import draw_channel_weights, texture
from toonbox.learn.run import reporting, save
from toonbox.learn.state import (
    TrainingState,
    channels_last,
    load_checkpoint,
    new_fabric,
    new_state,
    update,
)
from toonbox.learn.workers import worker_pool
from toonbox.options import RunOptions
from toonbox.parallel import ending, interruptible
from toonbox.pixels import Uint8Array, from_signed, to_signed

Features = Callable[[Tensor], Tensor]
CROPS_TO_FIT = 40  # to fit a smaller generator to a larger one


def train(
    config: TrainConfig,
    data: TrainingData,
    options: RunOptions,
    vgg: torch.nn.Module | None,
    features: EfficientNetFeatures | None,
    fabric: Fabric | None = None,
    start: Generator | None = None,
) -> int:
    """Train a generator, or resume the run in `options.out`; return the number of steps it has.

    Args:
        vgg, features: frozen VGG and EfficientNet features; None if the configuration needs none.
        fabric: a launched Fabric; None makes one from `options`.
        start: generator that a new run starts from (a larger one is fitted to the configured
            size), and the teacher if the target is `teacher`.
    Raises:
        TrainingError: the checkpoint to resume is damaged, or a loss or gradient is not finite.
        OutputError: a checkpoint or sample cannot be written.
        ConfigError: `start` does not fit the configuration.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after the step and a checkpoint.
    """
    keep_freed_memory()
    fabric = fabric or new_fabric(options)
    state = new_state(config, fabric, features)
    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists():
        state.load_state_dict(load_checkpoint(checkpoint))
    elif start is not None:
        begin_with(state, start, data)
    teacher = start if config.target == "teacher" else None
    for frozen in (vgg, features, teacher):
        if frozen is not None:
            channels_last(frozen.to(fabric.device))  # in place
    # Before Ctrl-C is deferred: many photos take hours and are resumed anyway.
    with fabric.rank_zero_first(local=True):
        drawn = prepare_drawings(config, data, options)
    with (
        worker_pool(options.workers) as workers,
        interruptible() as asked,
        reporting(state, options, data.validation) as report,
    ):
        saved = time.monotonic()
        for batch in batches(config, data, options, drawn, state.step, state.share):
            losses = one_step(state, batch, vgg, workers, teacher)
            state.step += 1
            report(losses)
            due = time.monotonic() - saved >= options.checkpoint_minutes * 60
            # All processes must stop after the same step.
            stop = fabric.broadcast(asked.number) if fabric.world_size > 1 else asked.number
            if due or stop:
                save(state, options.out)
                saved = time.monotonic()
            if stop:
                raise ending(stop)
        # Even if no step was left: the process may have been killed while it saved the last one.
        save(state, options.out)
    return state.step


def one_step(
    state: TrainingState,
    batch: dict[str, Tensor],
    vgg: Features | None,
    workers: Executor,
    teacher: Generator | None = None,
) -> dict[str, Tensor]:
    """Run one step of the current phase on a batch of uint8 pictures; return losses by name."""
    images = {name: to_device(picture, state.fabric) for name, picture in batch.items()}
    photo, target, seed = images["photo"], images.get("target"), state.config.seed
    config = state.config.pretrain
    if teacher is not None:
        draw = partial(generate, state, network=teacher)
        with torch.no_grad():
            target = supersampled(photo, draw, config.supersampling)
    seen = photo
    if config.noise:
        seen = add_noise(photo, config.noise, seed, state.step, state.share)
    if state.step < config.steps:
        return pretrain_step(state, seen, photo if target is None else target)
    cartoon, left_out = images.get("cartoon"), images.get("left_out")
    return adversarial_step(state, photo, cartoon, vgg, workers, target, left_out, seen)


def pretrain_step(state: TrainingState, photo: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Update the generator on (B, 3, H, W) in [-1, 1] to reconstruct the target."""
    config = state.config.pretrain
    output = generate(state, photo)
    losses = {"reconstruction": reconstruction_loss(output, target, config.gradient_weight)}
    total = losses["reconstruction"]
    if config.feature_weight and state.features is not None:
        with state.fabric.autocast():
            losses["features"] = perceptual_loss(state.features(output), state.features(target))
        total = total + config.feature_weight * losses["features"]
    update_generator(state, total)
    return losses


def adversarial_step(
    state: TrainingState,
    photo: Tensor,
    cartoon: Tensor | None,
    vgg: Features | None,
    workers: Executor,
    target: Tensor | None = None,
    left_out: Tensor | None = None,
    seen: Tensor | None = None,
) -> dict[str, Tensor]:
    """Update the discriminators, then the generator; losses of weight 0 are not computed.

    Args:
        photo: p, (B, 3, H, W) in [-1, 1], this process's share of the joint batch.
        cartoon: c, the same shape, unpaired; None if there are no discriminators.
        vgg: F, (B, 3, H, W) to (B, C, h, w); None if structure and content have weight 0.
        workers: processes that compute superpixels.
        target: t, the same shape as p; None for no target.
        left_out: ink that t spares short lines, (B, 1, H, W) in [-1, 1]; None for no drawn target.
        seen: what the generator gets for p, the same shape, such as p with noise; None for p.
    Source: Wang & Yu 2020, section 3.4; the discriminators first, as in the authors' code.
    """
    config, weights, autocast = state.config, state.config.weights, state.fabric.autocast
    first = config.pretrain.steps
    head_start = first <= state.step < first + config.discriminators.head_start
    output = generate(state, photo if seen is None else seen)  # G(p)
    if config.photo_guided_filter:
        output = guided_filter(photo, output, radius=1, eps=1e-2)
    segmented: list[Future[Uint8Array]] = []
    if weights.structure and not head_start:  # structure(G(p)), by worker processes meanwhile
        pictures = from_signed(output.detach().float().permute(0, 2, 3, 1).cpu().numpy())
        represent = partial(structure, **asdict(config.structure))
        segmented = [workers.submit(represent, picture) for picture in pictures]

    # surface(x) and texture(x); both domains share the channel weights.
    random = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
    channel_weights = draw_channel_weights(config.texture, random)
    palettes = [random_palette(len(photo), random, state.share) for _ in range(2)]

    def view(name: str, image: Tensor, palette: Callable[[Tensor], Tensor]) -> Tensor:
        if name == "texture":
            return texture(image, channel_weights)
        smooth = surface(image)
        return palette(smooth) if config.discriminators.palette_blind else smooth

    # Discriminators: 1/2 (D(view(c)) - 1)^2 + 1/2 D(view(G(p)))^2
    judged = {}
    for name, adversary in state.adversaries.items():
        assert cartoon is not None
        real, fake = view(name, cartoon, palettes[0]), view(name, output.detach(), palettes[1])
        adversary.discriminator.requires_grad_(True)
        with autocast():  # one pass, so that spectral normalisation iterates once
            scores = adversary.discriminator(torch.cat([real, fake]))
        maps = [scores] if isinstance(scores, Tensor) else scores
        of_real, of_fake = zip(*(each.chunk(2) for each in maps), strict=True)
        loss = discriminator_loss(of_real, of_fake)
        rate = config.discriminators.learning_rate
        update(state, adversary.discriminator, adversary.optimizer, loss, rate)
        adversary.discriminator.requires_grad_(False)
        judged[f"{name}_discriminator"] = loss
    if head_start:
        return judged

    # Generator: the weighted sum of these losses
    losses = {}
    with autocast():
        for name, adversary in state.adversaries.items():
            # surface: (D_s(surface(G(p))) - 1)^2; texture: (D_t(texture(G(p))) - 1)^2
            losses[name] = generator_loss(adversary.discriminator(view(name, output, palettes[1])))
        if vgg is not None:
            features_of_output = vgg(output)
            if weights.content:  # |F(G(p)) - F(p)|
                losses["content"] = content_loss(features_of_output, vgg(photo))
            if weights.structure:  # |F(G(p)) - F(structure(G(p)))|
                flat = torch.from_numpy(np.stack([future.result() for future in segmented]))
                of_structure = vgg(to_device(flat.permute(0, 3, 1, 2), state.fabric))
                losses["structure"] = content_loss(features_of_output, of_structure)
        losses["tv"] = total_variation(output)  # |grad G(p)|^2
        # Not in the paper: keep the photo's palette and stay close to the target.
        losses["colour"] = colour_loss(output, photo)
        if target is not None:
            losses["reconstruction"] = reconstruction_loss(output, target)  # |G(p) - t|, see there
            if weights.features and state.features is not None:
                losses["features"] = perceptual_loss(state.features(output), state.features(target))
            if weights.dashes and left_out is not None:
                losses["dashes"] = dashes_loss(output, target, (left_out + 1) / 2)
    total = weighted_sum(losses, weights.turned(config.knobs_at(state.step)))
    update_generator(state, total)
    return losses | judged


def generate(state: TrainingState, photo: Tensor, network: torch.nn.Module | None = None) -> Tensor:
    """Return G(p), or another network's output, at the knobs of the step if it has any."""
    knobs = None
    if state.config.generator.knobs:
        knobs = torch.tensor([state.config.knobs_at(state.step)], device=photo.device)
    with state.fabric.autocast():
        output: Tensor = (network or state.generator)(photo, knobs)
    return output


def supersampled(photo: Tensor, draw: Callable[[Tensor], Tensor], factor: int) -> Tensor:
    """Draw (B, 3, H, W) enlarged by a factor, and reduce the drawing, whose strokes get finer."""
    if factor == 1:
        return draw(photo)
    scaled = partial(functional.interpolate, mode="bicubic", antialias=True)
    large = draw(scaled(photo, scale_factor=factor).clamp(-1, 1))
    return scaled(large, size=photo.shape[2:]).clamp(-1, 1)


def update_generator(state: TrainingState, loss: Tensor) -> None:
    """Take one optimizer step of the generator and update its moving average."""
    update(state, state.generator, state.generator_optimizer, loss, state.learning_rate)
    state.average.update_parameters(state.generator)


def to_device(pictures: Tensor, fabric: Fabric) -> Tensor:
    """Convert uint8 (B, C, H, W) to [-1, 1], channels last, on the run's device."""
    signed = torch.from_numpy(to_signed(pictures.numpy())).to(fabric.device)
    return signed.contiguous(memory_format=torch.channels_last)


def begin_with(state: TrainingState, start: Generator, data: TrainingData) -> None:
    """Load another generator's weights; fit a larger one to the configured size on photos."""
    config, wanted = state.config, state.config.generator
    if replace(start.config, monochrome=wanted.monochrome) != wanted:
        photos = Pictures(data.photos, data.face_photos, config.crops.photo_side)
        crops = CropBatches(photos, None, config.crops, config.seed)
        count = -(-CROPS_TO_FIT // config.crops.batch_size)
        fitted_on = torch.cat([crops[step]["photo"] for step in range(count)])
        multiple = max(start.config.size_multiple, wanted.size_multiple)
        side = max(1, config.crops.size // multiple) * multiple
        signed = torch.from_numpy(to_signed(fitted_on.numpy()))
        start = narrowed(start, wanted, signed[..., :side, :side])
    for network in (state.generator, state.average.module):
        network.load_state_dict(start.state_dict())
