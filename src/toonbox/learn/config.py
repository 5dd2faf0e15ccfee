"""The configuration of a training run: frozen dataclasses that round-trip through TOML."""

import hashlib
from collections.abc import Iterator
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tomli_w
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PositiveInt, TypeAdapter
from pydantic.dataclasses import dataclass

from toonbox.atomic import write_file
from toonbox.errors import ConfigError
from toonbox.learn.discriminator import Head
from toonbox.learn.generator import GeneratorConfig, KnobSettings
from toonbox.learn.looks import load_look
from toonbox.learn.losses import PRESETS, LossWeights
from toonbox.learn.representations.drawing import Look
from toonbox.learn.representations.texture import TextureKind
from toonbox.learn.settings import check, read_toml

STRICT = ConfigDict(extra="forbid")
KNOBS_STREAM = 3  # random number stream; the others are in data.py


def _named_look(value: Any) -> Any:
    """Replace the name of a look with the look."""
    try:
        return load_look(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from error  # pydantic adds the location


def _ordered(sides: tuple[int, int]) -> tuple[int, int]:
    """Refuse a range that ends before it begins."""
    if sides[0] > sides[1]:
        raise ValueError(f"should go from the smaller side to the larger, not {list(sides)}")
    return sides


Sides = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ordered)]


@dataclass(frozen=True, config=STRICT)
class CropConfig:
    """How crops are taken; lengths in pixels.

    Pictures are first reduced to a short side drawn from `photo_side` or `cartoon_side`, which
    sets the scale of strokes, and enlarged only if they are smaller than `size`.
    """

    size: int = Field(default=192, gt=0)
    batch_size: int = Field(default=4, gt=0)
    photo_side: Sides = (320, 512)
    cartoon_side: Sides = (256, 448)


@dataclass(frozen=True, config=STRICT)
class PretrainConfig:
    """Pre-training, the first phase: reconstruction only."""

    # The target: the photo, as in the paper; a drawing of it; what the start generator makes of it.
    kind: Literal["identity", "drawing", "teacher"] = "drawing"
    steps: int = Field(default=1500, ge=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    gradient_weight: float = Field(default=0.1, ge=0)  # of gradients in the reconstruction loss
    feature_weight: float = Field(default=0.0, ge=0)  # of the perceptual loss
    # Largest standard deviation of the noise in the generator's input, in [0, 255], in both phases;
    # the target stays clean, which reduces flicker in videos.
    noise: float = Field(default=0.0, ge=0)
    # The teacher draws photos enlarged by this factor; its drawings are reduced again, which makes
    # their strokes finer and their edges smoother than the teacher's own.
    supersampling: int = Field(default=1, ge=1, le=4)
    look: Annotated[Look, BeforeValidator(_named_look)] = field(default_factory=Look)


@dataclass(frozen=True, config=STRICT)
class DiscriminatorsConfig:
    """The discriminators: the paper's pair from `scratch`, or small heads on frozen `features`."""

    kind: Literal["scratch", "features"] = "scratch"
    head: Head = "patch"  # from scratch
    learning_rate: float = Field(default=2e-4, gt=0)
    palette_blind: bool = True  # the surface discriminator sees random recolourings
    head_start: int = Field(default=0, ge=0)  # adversarial steps of the discriminators alone
    # Redraws cartoons for the discriminators, to remove canvas and paper grain.
    look: Annotated[Look | None, BeforeValidator(_named_look)] = None


@dataclass(frozen=True, config=STRICT)
class StructureConfig:
    """Arguments of `representations.structure.structure`."""

    segments: int = Field(default=60, gt=0)
    gamma: float = Field(default=1.0, gt=0)


# Options, or how their dotted names begin, that affect nothing without such steps.
OF_PRETRAINING = "pretrain.learning_rate", "pretrain.gradient_weight", "pretrain.feature_weight"
OF_ADVERSARIAL = (
    *("learning_rate", "texture", "photo_guided_filter", "vgg"),
    *("discriminators.", "structure.", "weights."),
)


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """Everything that affects what a run learns.

    The learning rate decays linearly in each phase, to `final_learning_rate` times its start.
    A generator's knobs, which the loss weights and the drawn target follow, are 1 in a share
    `knobs_at_default` of the steps and uniform in [0, 2] in the others.
    """

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=3000, ge=0)
    learning_rate: float = Field(default=2e-4, gt=0)
    final_learning_rate: float = Field(default=1.0, gt=0, le=1)
    knobs_at_default: float = Field(default=0.4, ge=0, le=1)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    texture: TextureKind = "random_colour_shift"
    photo_guided_filter: bool = False
    vgg: Literal["vgg16", "vgg19"] = "vgg16"
    generator: GeneratorConfig = field(default_factory=lambda: GeneratorConfig(base_channels=16))
    crops: CropConfig = field(default_factory=CropConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    discriminators: DiscriminatorsConfig = field(default_factory=DiscriminatorsConfig)
    structure: StructureConfig = field(default_factory=StructureConfig)
    weights: LossWeights = field(default_factory=LossWeights)

    @property
    def total_steps(self) -> int:
        """Return the number of pre-training and adversarial steps."""
        return self.pretrain.steps + self.steps

    @property
    def discriminated(self) -> tuple[str, ...]:
        """Return the names of the representations that have a discriminator and need cartoons."""
        names = ("surface", "texture") if self.steps else ()
        return tuple(name for name in names if getattr(self.weights, name))

    @property
    def needs_vgg(self) -> bool:
        """Return whether a loss compares VGG features."""
        return self.steps > 0 and (self.weights.structure > 0 or self.weights.content > 0)

    @property
    def target(self) -> Literal["drawing", "teacher"] | None:
        """Return the target of the reconstruction; None if it is the photo or unused."""
        compared = (self.steps > 0 and self.weights.held) or self.pretrain.steps > 0
        return self.pretrain.kind if compared and self.pretrain.kind != "identity" else None

    @property
    def needs_features(self) -> bool:
        """Return whether the discriminators or a loss use EfficientNet features."""
        pretraining = self.pretrain.steps > 0 and self.pretrain.feature_weight > 0
        adversarial = self.target is not None and self.steps > 0 and self.weights.features > 0
        heads = self.discriminators.kind == "features" and bool(self.discriminated)
        return pretraining or adversarial or heads

    def differences(self, other: "TrainConfig") -> list[str]:
        """Return the dotted names of the options that differ, if they affect this run."""
        unused: tuple[str, ...] = () if self.steps else OF_ADVERSARIAL
        unused += () if self.pretrain.steps else OF_PRETRAINING
        unused += () if self.target == "drawing" else ("pretrain.look.",)
        mine, theirs = (dict(_flat(_ADAPTER.dump_python(each))) for each in (self, other))
        differing = (name for name in mine | theirs if mine.get(name) != theirs.get(name))
        return sorted(name for name in differing if not name.startswith(unused))

    def knobs_at(self, step: int) -> KnobSettings:
        """Return the knobs of a step, a function of seed and step, so that all processes agree."""
        random = np.random.default_rng((self.seed, KNOBS_STREAM, step))
        if not self.generator.knobs or random.random() < self.knobs_at_default:
            return KnobSettings()
        return KnobSettings(*random.uniform(0, 2, 3).tolist())

    def sha256(self) -> str:
        """Return the SHA-256 of the configuration as TOML, for a style's card."""
        return hashlib.sha256(_as_toml(self).encode()).hexdigest()


# Defaults without a configuration file: the network of recipes/comic-drawing.toml, fewer steps.
DRAWN = TrainConfig(
    steps=0,
    final_learning_rate=0.06,
    knobs_at_default=0.5,
    ema_decay=0.998,
    generator=GeneratorConfig(base_channels=8, residual_blocks=3, kernel=5, knobs=True),
    crops=CropConfig(size=128),
    pretrain=PretrainConfig(steps=3000, learning_rate=4e-4, feature_weight=3.0),
)
# Defaults with cartoons: keep to the target; no loss needs the large download of VGG.
ADVERSARIAL = replace(
    DRAWN,
    steps=3000,
    learning_rate=1.5e-4,
    discriminators=DiscriminatorsConfig(kind="features", learning_rate=1e-3),
    weights=LossWeights(
        surface=0.3, structure=0.0, content=0.0, tv=0.02, colour=1.0, reconstruction=2.0
    ),
)


def load_config(
    file: Path, preset: str | None = None, steps: int | None = None, look: str | None = None
) -> TrainConfig:
    """Read a configuration from a TOML file; missing options have their defaults.

    `preset`, `steps` and `look` override the file's loss weights, adversarial steps and target.
    Raises ConfigError, which lists unknown names and invalid values.
    """
    return _overridden(parse_config(read_toml(file), str(file)), preset, steps, look)


def default_config(
    adversarial: bool = False,
    preset: str | None = None,
    steps: int | None = None,
    look: str | None = None,
    start: GeneratorConfig | None = None,
) -> TrainConfig:
    """Return the configuration of a run without a file; arguments as in `load_config`, and these.

    Args:
        adversarial: whether there are cartoons to learn from; if not, steps are of pre-training.
        start: configuration of the generator to start from. An adversarial run then skips
            pre-training; its target is the output of that generator, or the look if one is given.
    """
    config = ADVERSARIAL if adversarial else DRAWN
    if start is not None:
        config = replace(config, generator=start)
        if adversarial:
            config = replace(config, pretrain=PretrainConfig(kind="teacher", steps=0))
    if steps is not None and not adversarial:
        config = replace(config, pretrain=replace(config.pretrain, steps=steps))
        steps = None
    return _overridden(config, preset, steps, look)


def _overridden(
    config: TrainConfig, preset: str | None, steps: int | None, look: str | None
) -> TrainConfig:
    if steps is not None:
        config = replace(config, steps=steps)
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(f"no preset {preset!r}; available: {', '.join(PRESETS)}")
        config = replace(config, weights=PRESETS[preset])
    if look is not None:
        drawing = replace(config.pretrain, kind="drawing", look=load_look(look))
        config = replace(config, pretrain=drawing)
    return config


_ADAPTER = TypeAdapter(TrainConfig)


def parse_config(values: dict[str, Any], source: str) -> TrainConfig:
    """Validate a configuration; raise ConfigError that names `source` and every problem."""
    return check(_ADAPTER, values, source)


def save_config(config: TrainConfig, file: Path) -> None:
    """Write a configuration, defaults included, as TOML; raise OutputError if that fails."""
    write_file(file, _as_toml(config).encode())


def _flat(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _as_toml(config: TrainConfig) -> str:
    """Format a configuration as TOML, without None, which TOML cannot express."""
    return tomli_w.dumps(_ADAPTER.dump_python(config, exclude_none=True))
