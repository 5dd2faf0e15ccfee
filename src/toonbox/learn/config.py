"""The configuration of a training run: frozen dataclasses, read from TOML and written to it."""

import hashlib
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tomli_w
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from toonbox.atomic import replacing
from toonbox.errors import ConfigError
from toonbox.learn.discriminator import Head
from toonbox.learn.generator import GeneratorConfig, KnobSettings
from toonbox.learn.looks import load_look
from toonbox.learn.losses import PRESETS, LossWeights
from toonbox.learn.representations.drawing import Look
from toonbox.learn.representations.texture import TextureKind
from toonbox.settings import check, read_toml

STRICT = ConfigDict(extra="forbid")
KNOBS_STREAM = 3  # of random numbers, apart from those of data.py

# Options that earlier runs still name, by table, "" for those outside of all tables.
RETIRED = {
    "": {"gradient_clip"},
    "generator": {"space_to_depth"},
    "structure": {"similarity", "window"},
}


def _named_look(value: Any) -> Any:
    """Replace the name of a look by its numbers."""
    try:
        return load_look(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from error  # so that pydantic says where it stands


@dataclass(frozen=True, config=STRICT)
class CropConfig:
    """How crops are taken; lengths in pixels.

    A picture's short side is first brought to a length drawn from `photo_side` or `cartoon_side`
    (never enlarged beyond its own, but at least to `size`); this decides how large strokes are.
    """

    size: int = 192
    batch_size: int = 4
    photo_side: tuple[int, int] = (320, 512)
    cartoon_side: tuple[int, int] = (256, 448)


@dataclass(frozen=True, config=STRICT)
class PretrainConfig:
    """The first phase: reconstruction only.

    Attributes:
        kind: what is learnt: `identity` to return the photo, as published; `drawing` the drawn
            target; `teacher` what the generator makes that the run starts with.
        gradient_weight: of the differences of neighbouring pixels in the reconstruction.
        feature_weight: of the perceptual distance between output and target.
        noise: levels in [0, 255]; in both phases the generator sees photos with up to so much
            noise, as videos have it; the target is that of the clean photo: its drawing flickers
            less.
        look: of the drawing; a name or a table of numbers.
    """

    kind: Literal["identity", "drawing", "teacher"] = "drawing"
    steps: int = Field(default=1500, ge=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    gradient_weight: float = Field(default=0.1, ge=0)
    feature_weight: float = Field(default=0.0, ge=0)
    noise: float = Field(default=0.0, ge=0)
    look: Annotated[Look, BeforeValidator(_named_look)] = field(default_factory=Look)


@dataclass(frozen=True, config=STRICT)
class DiscriminatorsConfig:
    """The adversaries.

    Attributes:
        kind: `scratch` is the published pair; `features` puts small heads on frozen pretrained
            features, which learn much faster.
        head: of `scratch`.
        palette_blind: show the surface discriminator pictures of shuffled channels and random gain
            and lift, so that it cannot judge by the cartoons' palette.
        head_start: adversarial steps in which they learn alone.
        look: that cartoons are drawn in before they are shown, so that lines and colours are judged
            and not the grain of canvas or paper; a name or a table of numbers, None for none.
    """

    kind: Literal["scratch", "features"] = "scratch"
    head: Head = "patch"
    learning_rate: float = Field(default=2e-4, gt=0)
    palette_blind: bool = True
    head_start: int = Field(default=0, ge=0)
    look: Annotated[Look | None, BeforeValidator(_named_look)] = None


@dataclass(frozen=True, config=STRICT)
class StructureConfig:
    """The structure representation of the outputs: see `representations.structure`."""

    segments: int = Field(default=60, gt=0)
    gamma: float = Field(default=1.0, gt=0)


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """Everything that decides what a run learns.

    In each phase the learning rate falls on a straight line to `final_learning_rate` times itself.
    A generator with knobs sees them at 1 in a share `knobs_at_default` of the steps, elsewhere
    drawn from 0 to 2; the weights of the losses and the drawing are turned alike.
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
        """Return the pre-training and adversarial steps together."""
        return self.pretrain.steps + self.steps

    @property
    def discriminated(self) -> tuple[str, ...]:
        """Return the representations that have a discriminator; those that need cartoons."""
        names = ("surface", "texture") if self.steps else ()
        return tuple(name for name in names if getattr(self.weights, name))

    @property
    def needs_vgg(self) -> bool:
        """Return whether a loss compares VGG features."""
        return self.steps > 0 and (self.weights.structure > 0 or self.weights.content > 0)

    @property
    def target(self) -> Literal["drawing", "teacher"] | None:
        """Return what outputs are compared with; None for the photo, or if no step compares."""
        weights = self.weights
        held = self.steps > 0 and (weights.reconstruction > 0 or weights.features > 0)
        compared = held or self.pretrain.steps > 0
        return self.pretrain.kind if compared and self.pretrain.kind != "identity" else None

    @property
    def needs_features(self) -> bool:
        """Return whether discriminators or a loss see EfficientNet features."""
        pretraining = self.pretrain.steps > 0 and self.pretrain.feature_weight > 0
        adversarial = self.target is not None and self.steps > 0 and self.weights.features > 0
        heads = self.discriminators.kind == "features" and bool(self.discriminated)
        return pretraining or adversarial or heads

    def knobs_at(self, step: int) -> KnobSettings:
        """Draw from the seed and the step alone, so that all processes and workers agree."""
        random = np.random.default_rng((self.seed, KNOBS_STREAM, step))
        if not self.generator.knobs or random.random() < self.knobs_at_default:
            return KnobSettings()
        return KnobSettings(*random.uniform(0, 2, 3).tolist())

    def sha256(self) -> str:
        """Hash the configuration, so that a style's card can name what trained it."""
        return hashlib.sha256(_as_toml(self).encode()).hexdigest()


# What is trained without a file: the network of recipes/comic-drawing.toml, in fewer steps.
DRAWN: dict[str, Any] = {
    "steps": 0,
    "final_learning_rate": 0.06,
    "knobs_at_default": 0.5,
    "ema_decay": 0.998,
    "generator": {"base_channels": 8, "residual_blocks": 3, "kernel": 5, "knobs": True},
    "crops": {"size": 128},
    "pretrain": {"steps": 3000, "learning_rate": 4e-4, "feature_weight": 3.0},
}
# With cartoons: held to the target, without the losses that take VGG's large download.
ADVERSARIAL: dict[str, Any] = {
    "steps": 3000,
    "learning_rate": 1.5e-4,
    "discriminators": {"kind": "features", "learning_rate": 1e-3},
    "weights": asdict(
        LossWeights(
            surface=0.3, structure=0.0, content=0.0, tv=0.02, colour=1.0, reconstruction=2.0
        )
    ),
}


def load_config(
    file: Path, preset: str | None = None, steps: int | None = None, look: str | None = None
) -> TrainConfig:
    """Read a TOML file; what it does not say has its default.

    `preset`, `steps` and `look` replace the file's loss weights, adversarial steps and target.

    Raises:
        ConfigError: unreadable, an unknown name, or a value out of range; names each.
    """
    return _configure(read_toml(file), str(file), preset, steps, look)


def default_config(
    adversarial: bool = False,
    preset: str | None = None,
    steps: int | None = None,
    look: str | None = None,
    start: GeneratorConfig | None = None,
) -> TrainConfig:
    """Choose a configuration for those who have no file.

    Args:
        adversarial: whether there are cartoons to learn from.
        preset, look: as in `load_config`.
        steps: of the kind there are, adversarial or not; None for 3000.
        start: of the generator to start with. Its adversarial steps come at once, held to its own
            outputs, or to the look if one is given.
    """
    values = DRAWN | ADVERSARIAL if adversarial else DRAWN
    if start is not None:
        values = values | {"generator": asdict(start)}
        if adversarial:
            values = values | {"pretrain": {"kind": "teacher", "steps": 0}}
    if steps is not None and not adversarial:
        values = values | {"pretrain": values["pretrain"] | {"steps": steps}}
        steps = None
    return _configure(values, "options", preset, steps, look)


def _configure(
    values: dict[str, Any], source: str, preset: str | None, steps: int | None, look: str | None
) -> TrainConfig:
    """Check values and replace loss weights, adversarial steps or the target."""
    config = parse_config(values if steps is None else values | {"steps": steps}, source)
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
        config = replace(config, weights=PRESETS[preset])
    if look is not None:
        pretrain = replace(config.pretrain, kind="drawing", look=load_look(look))
        config = replace(config, pretrain=pretrain)
    return config


_ADAPTER = TypeAdapter(TrainConfig)


def parse_config(values: dict[str, Any], source: str) -> TrainConfig:
    """Make a configuration of values; a ConfigError names `source` and all that is wrong."""
    for table, names in RETIRED.items():
        options = values.get(table) if table else values
        if isinstance(options, dict):
            kept = {name: value for name, value in options.items() if name not in names}
            values = {**values, table: kept} if table else kept
    return check(_ADAPTER, values, source)


def save_config(config: TrainConfig, file: Path) -> None:
    """Write a configuration, every value resolved, as TOML."""
    with replacing(file) as temporary:
        temporary.write_text(_as_toml(config), encoding="utf-8")


def _as_toml(config: TrainConfig) -> str:
    """Write every value; TOML has no word for None, which is left out."""

    def without_none(values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: without_none(value) if isinstance(value, dict) else value
            for name, value in values.items()
            if value is not None
        }

    return tomli_w.dumps(without_none(asdict(config)))
