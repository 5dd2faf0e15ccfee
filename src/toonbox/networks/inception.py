"""Inception v3 as Frechet distances are published with: the TensorFlow network of 2015.

It differs from torchvision's Inception v3: average pooling leaves the padding out of its counts,
and the last block pools by maximum.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from toonbox.errors import ShapeError, WeightsError
from toonbox.networks.vgg import read_tensors
from toonbox.networks.weights_cache import WEIGHTS, fetch

CLASSIFIER = ("fc.weight", "fc.bias")  # in the file, not needed


class Step(NamedTuple):
    """A convolution of a branch; those of stride 1 keep the size, those of stride 2 do not pad."""

    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


ROW, COLUMN, SQUARE = (1, 7), (7, 1), (3, 3)


class Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        return functional.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Branches side by side on one input, and one that pools; their channels concatenated.

    Args:
        inputs: channels.
        branches: the steps of each by name; a last element that is a pair forks: both are run on
            what comes before them.
        pool: `average` or `max` with stride 1 and a convolution behind, or `reduce` with stride 2.
        pool_outputs: channels of the convolution behind the pooling.
    """

    def __init__(
        self,
        inputs: int,
        branches: dict[str, Sequence[Step | tuple[Step, Step]]],
        pool: str = "reduce",
        pool_outputs: int = 0,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.paths = [self._add(name, inputs, steps) for name, steps in branches.items()]
        if pool_outputs:
            self.branch_pool = Convolution(inputs, pool_outputs, (1, 1))

    def _add(
        self, branch: str, inputs: int, steps: Sequence[Step | tuple[Step, Step]]
    ) -> list[tuple[str, ...]]:
        """Register a branch's convolutions under the names of the file; give those names."""
        path: list[tuple[str, ...]] = []
        for index, step in enumerate(steps, 1):
            name = branch if len(steps) == 1 else f"{branch}_{index}"
            forked = isinstance(step[0], Step)
            names = (f"{name}a", f"{name}b") if forked else (name,)
            for label, one in zip(names, step if forked else (step,), strict=True):
                assert isinstance(one, Step)
                convolution = Convolution(
                    inputs, one.outputs, one.kernel, one.stride, pad=one.stride == 1
                )
                self.add_module(label, convolution)
            path.append(names)
            inputs = convolution.conv.out_channels
        return path

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W'), H' = H, or (H - 1) // 2 where pooling reduces."""
        outputs = []
        for path in self.paths:
            y = x
            for (name,) in path[:-1]:
                y = self.get_submodule(name)(y)
            outputs += [self.get_submodule(name)(y) for name in path[-1]]
        if self.pool == "reduce":
            return torch.cat([*outputs, functional.max_pool2d(x, 3, 2)], 1)
        if self.pool == "average":
            pooled = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        else:
            pooled = functional.max_pool2d(x, 3, 1, 1)
        return torch.cat([*outputs, self.branch_pool(pooled)], 1)


def _block_35(inputs: int, pool_outputs: int) -> Mixed:
    return Mixed(
        inputs,
        {
            "branch1x1": [Step(64)],
            "branch5x5": [Step(48), Step(64, (5, 5))],
            "branch3x3dbl": [Step(64), Step(96, SQUARE), Step(96, SQUARE)],
        },
        "average",
        pool_outputs,
    )


def _reduction_35() -> Mixed:
    return Mixed(
        288,
        {
            "branch3x3": [Step(384, SQUARE, 2)],
            "branch3x3dbl": [Step(64), Step(96, SQUARE), Step(96, SQUARE, 2)],
        },
    )


def _block_17(width: int) -> Mixed:
    narrow = Step(width)
    row, column = Step(width, ROW), Step(width, COLUMN)
    return Mixed(
        768,
        {
            "branch1x1": [Step(192)],
            "branch7x7": [narrow, row, Step(192, COLUMN)],
            "branch7x7dbl": [narrow, column, row, column, Step(192, ROW)],
        },
        "average",
        192,
    )


def _reduction_17() -> Mixed:
    return Mixed(
        768,
        {
            "branch3x3": [Step(192), Step(320, SQUARE, 2)],
            "branch7x7x3": [Step(192), Step(192, ROW), Step(192, COLUMN), Step(192, SQUARE, 2)],
        },
    )


def _block_8(inputs: int, pool: str) -> Mixed:
    fork = (Step(384, (1, 3)), Step(384, (3, 1)))
    return Mixed(
        inputs,
        {
            "branch1x1": [Step(320)],
            "branch3x3": [Step(384), fork],
            "branch3x3dbl": [Step(448), Step(384, SQUARE), fork],
        },
        pool,
        192,
    )


class InceptionFeatures(nn.Module):
    """The 2048 values of Inception v3's last average pooling; frozen.

    Source:
        Szegedy et al. 2016; Heusel et al. 2017 for its use; the differences from the paper's
        network as in the graph of 2015-12-05 that the latter's code downloads.
    """

    SIZE = 299

    def __init__(self) -> None:
        """Build the layers, not yet filled; `load` gives them weights."""
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, SQUARE, 2, pad=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, SQUARE, pad=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, SQUARE)
        self.pool_2 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = Convolution(80, 192, SQUARE, pad=False)
        self.pool_4 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = _block_35(192, 32)
        self.Mixed_5c = _block_35(256, 64)
        self.Mixed_5d = _block_35(288, 64)
        self.Mixed_6a = _reduction_35()
        self.Mixed_6b = _block_17(128)
        self.Mixed_6c = _block_17(160)
        self.Mixed_6d = _block_17(160)
        self.Mixed_6e = _block_17(192)
        self.Mixed_7a = _reduction_17()
        self.Mixed_7b = _block_8(1280, "average")
        self.Mixed_7c = _block_8(2048, "max")
        self.requires_grad_(False)
        self.eval()

    def forward(self, picture: Tensor) -> Tensor:
        """Give the features of pictures, brought to 299 x 299 if they are not.

        Args:
            picture: (B, 3, H, W) RGB in [-1, 1].
        Returns:
            (B, 2048), not negative.
        Raises:
            ShapeError: not three channels.
        """
        if picture.ndim != 4 or picture.shape[1] != 3:
            raise ShapeError(f"expected (B, 3, H, W), got {tuple(picture.shape)}")
        x = picture
        if x.shape[2:] != (self.SIZE, self.SIZE):
            x = functional.interpolate(x, (self.SIZE, self.SIZE), mode="bilinear")
        for layer in self.children():  # in the order above
            x = layer(x)
        return x.mean(dim=(2, 3))

    @classmethod
    def load(cls, file: Path | None = None, offline: bool = False) -> "InceptionFeatures":
        """Build the network with weights from a file, or from pytorch-fid's public ones.

        Args:
            file: PyTorch state dict or .safetensors with torchvision's names. None: download.
            offline: do not download; TOONBOX_OFFLINE=1 says the same.
        Raises:
            WeightsError: the file is missing, damaged, or holds another network.
        """
        file = file if file is not None else fetch(WEIGHTS["inception"], offline=offline)
        tensors = read_tensors(file)
        network = cls()
        for name, wanted in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensors.setdefault(name, wanted)  # older files leave it out; nothing reads it
            found = tensors.get(name)
            if found is None or found.shape != wanted.shape:
                state = "is missing" if found is None else f"is {tuple(found.shape)}"
                raise WeightsError(f"{file}: not the Inception v3 of 2015: {name} {state}")
            if not found.isfinite().all():
                raise WeightsError(f"{file}: {name} holds values that are not finite")
        left = sorted(tensors.keys() - network.state_dict().keys() - set(CLASSIFIER))
        if left:
            raise WeightsError(f"{file}: not the Inception v3 of 2015: {left[0]} is too much")
        network.load_state_dict({name: tensors[name] for name in network.state_dict()})
        return network
