"""VGG features, frozen: what the content and structure losses compare pictures by."""

import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from toonbox.errors import ShapeError, WeightsError
from toonbox.networks.weights_cache import WEIGHTS, fetch

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
