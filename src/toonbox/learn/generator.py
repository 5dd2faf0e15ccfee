"""The generator, a fully convolutional U-Net, and its file format."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from toonbox.atomic import write_file
from toonbox.errors import ConfigError, WeightsError

SLOPE = 0.2  # of leaky ReLU
BEYOND = 1.5  # limit of outputs before clipping; with 1, noise would turn black and white grey
Film = tuple[Tensor, Tensor]  # scale and shift of features (feature-wise linear modulation)


class KnobSettings(NamedTuple):
    """The three knobs in the order of the generator's input: 0 to 2, default 1."""

    surface: float = 1.0
    structure: float = 1.0
    texture: float = 1.0


KNOBS = KnobSettings._fields


@dataclass(frozen=True)
class GeneratorConfig:
    """The architecture of a generator."""

    base_channels: int = 32  # after the stem; each down-sampling layer doubles them
    stages: int = 3  # down-sampling layers
    residual_blocks: int = 4  # at the lowest resolution
    kernel: int = 7  # of stem and head
    residual: bool = True  # add the output to the photo; a new network is then the identity
    monochrome: bool = False  # make the output grey, the mean of the three channels
    knobs: bool = False  # take the three knobs as a second input
    most_channels: int | None = None  # limit of the channels of every level

    def __post_init__(self) -> None:
        if min(self.base_channels, self.stages) < 1 or self.residual_blocks < 0:
            raise ConfigError(f"a generator needs at least one channel and one stage: {self}")
        if self.most_channels is not None and self.most_channels < self.base_channels:
            raise ConfigError(f"most_channels is less than base_channels: {self}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"the kernel of stem and head must be odd: {self}")

    @property
    def widths(self) -> list[int]:
        """Return the channels of each level, from full resolution down."""
        most = self.most_channels or self.base_channels << self.stages
        return [min(self.base_channels << level, most) for level in range(self.stages + 1)]

    @property
    def size_multiple(self) -> int:
        """Return the number that height and width must be multiples of inside the network."""
        return 1 << self.stages

    @property
    def reach(self) -> int:
        """Return the radius of the receptive field, in pixels.

        Stem and head add half a kernel each, a stage between resolutions 1 / s and 1 / 2s adds 3s
        each way and 2s for the enlargement, a block two pixels of the lowest resolution.
        """
        widest = self.size_multiple
        return self.kernel - 1 + 8 * (widest - 1) + 2 * self.residual_blocks * widest


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with zero padding: its output has the input's size, over the stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


def activated(*layers: nn.Module) -> nn.Sequential:
    """Append a leaky ReLU to each layer."""
    return nn.Sequential(*(m for layer in layers for m in (layer, nn.LeakyReLU(SLOPE))))


class Knobs(nn.Module):
    """Map knobs to scales and shifts of features, at first the identity (Perez et al. 2018)."""

    def __init__(self, widths: Sequence[int], hidden: int = 64) -> None:
        super().__init__()
        self.widths = tuple(widths)
        last = nn.Linear(hidden, 2 * sum(self.widths))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        first, second = nn.Linear(len(KNOBS), hidden), nn.Linear(hidden, hidden)
        self.embed = nn.Sequential(*activated(first, second), last)

    def forward(self, knobs: Tensor) -> list[Film]:
        """(B, 3) -> a scale and a shift for each width, each (B, width, 1, 1)."""
        numbers = self.embed(knobs - 1)[:, :, None, None]
        scales, shifts = numbers.split(sum(self.widths), dim=1)
        pairs = zip(scales.split(self.widths, 1), shifts.split(self.widths, 1), strict=True)
        return [(1 + scale, shift) for scale, shift in pairs]


def modulate(features: Tensor, film: Film | None) -> Tensor:
    """Scale and shift (B, C, H, W) by (B, C, 1, 1) each; None is the identity."""
    return features if film is None else features * film[0] + film[1]


class ResidualBlock(nn.Module):
    """x + conv(lrelu(conv(x))); knobs scale and shift the added term."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *activated(convolution(channels, channels)), convolution(channels, channels)
        )

    def forward(self, x: Tensor, film: Film | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + modulate(self.body(x), film)


class UpSampling(nn.Module):
    """Convolve, enlarge bilinearly, then convolve to fewer channels.

    The padding by replication lets `export.fold_upsampling` fold the enlargement.
    """

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.convolve = activated(convolution(wide, wide))
        self.refine = activated(nn.Conv2d(wide, narrow, 3, 1, 1, padding_mode="replicate"))

    def forward(self, x: Tensor) -> Tensor:
        """(B, wide, H, W) -> (B, narrow, 2H, 2W)."""
        x = functional.interpolate(self.convolve(x), scale_factor=2, mode="bilinear")
        refined: Tensor = self.refine(x)
        return refined


class Generator(nn.Module):
    """Turn photos into cartoons, after Wang & Yu 2020, appendix.

    Unlike there, the output is clipped to [-1, 1], which removes blotches, and knobs modulate the
    residual blocks and the skips.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        widths = config.widths
        self.stem = activated(convolution(3, widths[0], config.kernel))
        self.down = nn.ModuleList(
            activated(convolution(narrow, wide, stride=2), convolution(wide, wide))
            for narrow, wide in pairwise(widths)
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(widths[-1]) for _ in range(config.residual_blocks)
        )
        self.up = nn.ModuleList(UpSampling(wide, narrow) for narrow, wide in pairwise(widths))[::-1]
        self.head = convolution(widths[0], 3, config.kernel)
        if config.knobs:
            added = [widths[-1]] * config.residual_blocks
            self.knobs = Knobs([*added, *reversed(widths[:-1])])
        self.apply(_initialise)
        if config.residual:
            nn.init.zeros_(self.head.weight)

    def forward(self, photo: Tensor, knobs: Tensor | None = None) -> Tensor:
        """Cartoonize (B, 3, H, W) in [-1, 1] of any size; knobs are (B, 3) or (1, 3) in [0, 2].

        Raises ConfigError if a generator without knobs gets some.
        """
        height, width = photo.shape[-2:]
        padded = pad_to_multiple(photo, self.config.size_multiple)
        return clip_through(self.network(padded, knobs)[..., :height, :width])

    def network(self, photo: Tensor, knobs: Tensor | None = None) -> Tensor:
        """Run the layers on (B, 3, H, W), H and W multiples of `size_multiple`; do not clip."""
        films = iter(self.films(photo, knobs))
        x = self.stem(photo)
        skips = []
        for layer in self.down:
            skips.append(x)
            x = layer(x)
        for block in self.blocks:
            x = block(x, next(films))
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            x = layer(x) + modulate(skip, next(films))
        output: Tensor = self.head(x).float()
        result = photo + output if self.config.residual else output
        return result.mean(1, keepdim=True).expand_as(result) if self.config.monochrome else result

    def films(self, photo: Tensor, knobs: Tensor | None = None) -> Sequence[Film | None]:
        """Return the modulation of each residual block, then of each skip in order of use."""
        if self.config.knobs:
            return self.knobs(photo.new_ones(1, len(KNOBS)) if knobs is None else knobs)  # type: ignore[no-any-return]
        if knobs is not None:
            raise ConfigError("this generator has no knobs")
        return [None] * (len(self.blocks) + len(self.up))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, SLOPE, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def clip_through(signed: Tensor) -> Tensor:
    """Clip to [-1, 1]; the gradient passes, but values beyond BEYOND are not pushed outwards."""
    clipped = signed.clamp(-1, 1)
    if not signed.requires_grad:
        return clipped
    beyond = (signed - signed.clamp(-BEYOND, BEYOND)).detach()
    through = clipped.detach() + (signed - signed.detach())

    def inward(gradient: Tensor) -> Tensor:
        return gradient.masked_fill(gradient * beyond < 0, 0)

    through.register_hook(inward)  # type: ignore[no-untyped-call]
    return through


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) at the right and bottom to multiples, by repeated reflection."""
    for dim in (-1, -2):
        size = image.shape[dim]
        if missing := -size % multiple:
            index = torch.from_numpy(np.pad(np.arange(size), (0, missing), mode="reflect"))
            image = image.index_select(dim, index.to(image.device))
    return image


def save_generator(generator: Generator, file: Path) -> None:
    """Write weights and configuration to one safetensors file; raise OutputError if that fails."""
    weights = {name: t.detach().cpu().contiguous() for name, t in generator.state_dict().items()}
    # Not `save_file`, which makes the file readable for its owner only.
    write_file(file, save(weights, {"generator": json.dumps(asdict(generator.config))}))


def load_generator(file: Path) -> Generator:
    """Load a generator on the CPU, in evaluation mode; raise WeightsError if that fails."""
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        generator = Generator(GeneratorConfig(**json.loads(metadata["generator"])))
        generator.load_state_dict(weights)
    except KeyError as error:
        raise WeightsError(f"{file}: has no generator configuration") from error
    except (OSError, SafetensorError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        raise WeightsError(f"{file}: {error}") from error
    return generator.eval()
