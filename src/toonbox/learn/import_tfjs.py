"""Import the authors' weights: convert a TensorFlow.js graph model to a style folder."""

import math
import re
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from toonbox.atomic import read_within
from toonbox.engine.style import Card
from toonbox.errors import StyleError
from toonbox.learn.export import write_style
from toonbox.learn.generator import ResidualBlock, activated, convolution
from toonbox.learn.representations.surface import guided_filter
from toonbox.pixels import FloatArray

CROPPED_TO = 8  # pixels; the authors' pipeline crops to multiples of this


def upsample_tensorflow(image: Tensor) -> Tensor:
    """Enlarge (B, C, H, W) by 2 as TensorFlow 1's resize_bilinear, without half-pixel centres.

    out[2i] = x[i], out[2i + 1] = (x[i] + x[i + 1]) / 2, with the last row and column repeated.
    """
    height, width = image.shape[-2:]
    # With one more row and column, corner-aligned interpolation has steps of half a pixel.
    padded = functional.pad(image, (0, 1, 0, 1), mode="replicate")
    size = (2 * height + 1, 2 * width + 1)
    larger = functional.interpolate(padded, size=size, mode="bilinear", align_corners=True)
    return larger[..., :-1, :-1]


class HalvingConvolution(nn.Conv2d):
    """3x3 convolution of stride 2 with TensorFlow's SAME padding for even sizes: right, bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W), H and W even -> (B, C, H / 2, W / 2)."""
        return super().forward(functional.pad(image, (0, 1, 0, 1)))


class AuthorsGenerator(nn.Module):
    """The generator of Wang & Yu's code in RGB: 1,467,075 parameters, no output activation."""

    size_multiple = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem = activated(convolution(3, 32, 7))
        self.down1 = activated(HalvingConvolution(32), convolution(32, 64))
        self.down2 = activated(HalvingConvolution(64), convolution(64, 128))
        self.blocks = nn.Sequential(*(ResidualBlock(128) for _ in range(4)))
        self.narrow = activated(convolution(128, 64))
        self.up1 = activated(convolution(64, 64), convolution(64, 32))
        self.up2 = activated(convolution(32, 32))
        self.head = convolution(32, 3, 7)

    def forward(self, photo: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1], H and W multiples of 4 -> the same shape, unbounded."""
        full = self.stem(photo)
        half = self.down1(full)
        quarter = self.narrow(self.blocks(self.down2(half)))
        half = self.up1(upsample_tensorflow(quarter) + half)
        cartoon: Tensor = self.head(self.up2(upsample_tensorflow(half) + full))
        return cartoon


LICENCE = "CC BY-NC-SA 4.0 (as published by the weights' authors); non-commercial"

# Limits in bytes. The authors' network has 6 MB of weights and a model.json below 1 MB.
MAX_MODEL = 4 << 20
MAX_WEIGHTS = 64 << 20

Stored = Literal["float32", "float16", "int32", "uint16", "uint8", "bool"]

# The unnamed convolutions in the order of the authors' network, which slim names Conv, Conv_1 ...
UNNAMED = (
    *("stem.0", "down1.0", "down1.2", "down2.0", "down2.2"),
    *("narrow.0", "up1.0", "up1.2", "up2.0", "head"),
)
LAYERS = {f"Conv_{place}" if place else "Conv": name for place, name in enumerate(UNNAMED)}
LAYERS |= {
    f"block_{block}/conv{number}": f"blocks.{block}.body.{index}"
    for block in range(4)
    for number, index in ((1, 0), (2, 2))
}

# Freezing and constant folding decorate variable names: /read, /ReadVariableOp, :0, a scope.
NAME = re.compile(
    r"(?:.*/)?generator/(?P<scope>Conv(?:_\d+)?|block_\d+/conv\d+)/(?P<part>weights|biases)"
    r"(?:/read|/ReadVariableOp)?(?:/_\d+__cf__\d+)?(?::\d+)?"
)


class AuthorsPipeline(nn.Module):
    """The generator, then a guided filter with the photo, as in the authors' inference code."""

    def __init__(self, generator: AuthorsGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, photo: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1], H and W multiples of 4 -> the same shape, in [-1, 1]."""
        return guided_filter(photo, self.generator(photo), radius=1, eps=5e-3).clamp(-1, 1)


def import_tfjs(source: Path, folder: Path, licence: str = LICENCE, force: bool = False) -> Path:
    """Convert the authors' generator, a TensorFlow.js graph model, to a style folder.

    Only the weights are read from `source`, model.json or its folder; the graph is our port of the
    authors' inference code. Raises StyleError if they are missing, damaged or of another network.
    """
    generator = AuthorsGenerator()
    fill(generator, read_tensors(source), source)
    card = Card(
        name=folder.name,
        version="published",
        description="The published network of Wang & Yu 2020, from imported weights",
        size_multiple=CROPPED_TO,
        working_resolution=720,
        licence=licence,
        data="as described by the weights' authors",
        config_sha256="",
        onnx_sha256="",
        beyond=0,
    )
    return write_style(AuthorsPipeline(generator).eval(), folder, card, force=force)


def fill(generator: AuthorsGenerator, tensors: dict[str, FloatArray], source: Path) -> None:
    """Copy the authors' tensors into the generator and convert it from BGR to RGB.

    Kernels are (height, width, in, out); tensors of other names are ignored. Raises StyleError if
    one is missing, duplicated, superfluous, not finite or of another shape; names `source`.
    """
    state: dict[str, Tensor] = {}
    for name, array in tensors.items():
        if match := NAME.fullmatch(name):
            part = "weight" if match["part"] == "weights" else "bias"
            key = f"{LAYERS.get(match['scope'], match['scope'])}.{part}"
            if key in state:
                raise StyleError(f"{source}: {name}: there is another tensor of this name")
            state[key] = torch.from_numpy(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array)
            if not state[key].isfinite().all():
                raise StyleError(f"{source}: {name}: has NaN or infinity")
    try:
        generator.load_state_dict(state)
    except RuntimeError as error:
        reason = shorten(str(error), 300)
        raise StyleError(f"{source}: not the authors' generator: {reason}") from error
    with torch.no_grad():
        for name, channels in (("stem.0.weight", 1), ("head.weight", 0), ("head.bias", 0)):
            parameter = generator.get_parameter(name)
            parameter.copy_(parameter.flip(channels))


class _Quantization(BaseModel):
    dtype: Stored
    scale: float = 1
    min: float = 0


class _Entry(BaseModel):
    """A tensor in the manifest."""

    name: str
    shape: Annotated[list[Annotated[int, Field(ge=0, le=MAX_WEIGHTS)]], Field(max_length=8)]
    dtype: Stored
    quantization: _Quantization | None = None

    @property
    def stored(self) -> np.dtype[Any]:
        """Return the type of the stored values, which the converter writes little-endian."""
        name = self.quantization.dtype if self.quantization else self.dtype
        return np.dtype(name).newbyteorder("<")

    @property
    def size(self) -> int:
        """Return the stored size in bytes."""
        return math.prod(self.shape) * self.stored.itemsize

    def decode(self, data: bytearray) -> FloatArray:
        values = np.frombuffer(bytes(data), self.stored).reshape(self.shape)
        with np.errstate(all="ignore"):  # `fill` rejects non-finite values
            if self.quantization and self.stored.kind != "f":  # in double precision, as JavaScript
                values = values * self.quantization.scale + self.quantization.min
            return values.astype(np.float32)


class _Group(BaseModel):
    """Tensors, and the shards that store them in order."""

    paths: list[str]
    weights: list[_Entry]


class _Model(BaseModel):
    """The parts of model.json that matter; a graph has nodes, which are not read."""

    format: Literal["graph-model"] = "graph-model"
    topology: dict[str, Any] = Field(alias="modelTopology")
    manifest: list[_Group] = Field(alias="weightsManifest")


def read_tensors(source: Path) -> dict[str, FloatArray]:
    """Read all tensors of a TensorFlow.js graph model by name, dequantised to float32.

    Raises StyleError if a file is missing, damaged, too long or short, or not of a graph model.
    """
    file = source / "model.json" if source.is_dir() else source
    try:
        model = _Model.model_validate_json(_read(file, MAX_MODEL))
    except ValidationError as error:
        first = error.errors()[0]
        reason = shorten(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", 300)
        raise StyleError(f"{file}: not a TensorFlow.js graph model: {reason}") from error
    if "node" not in model.topology:
        raise StyleError(f"{file}: not a TensorFlow.js graph model")
    tensors: dict[str, FloatArray] = {}
    total = 0
    for group in model.manifest:
        expected = sum(entry.size for entry in group.weights)
        total += expected
        if total > MAX_WEIGHTS:
            raise StyleError(f"{file}: its tensors claim more than {MAX_WEIGHTS >> 20} MiB")
        data = bytearray()
        for shard in group.paths:
            if Path(shard).anchor or ".." in Path(shard).parts or "\0" in shard:
                raise StyleError(f"{file}: {shard!r:.200} is outside of the model's folder")
            data += _read(file.parent / shard, MAX_WEIGHTS)
            if len(data) > expected:
                break
        if len(data) != expected:
            names = shorten(", ".join(group.paths), 200)
            raise StyleError(f"{file.parent}: {names}: {len(data)} bytes, expected {expected}")
        for entry in group.weights:
            if entry.name in tensors:
                raise StyleError(f"{file}: {entry.name} is duplicated")
            tensors[entry.name] = entry.decode(data[: entry.size])
            del data[: entry.size]
    return tensors


def _read(file: Path, limit: int) -> bytes:
    try:
        return read_within(file, limit)
    except OSError as error:
        raise StyleError(f"{file}: {error.strerror or error}") from error
