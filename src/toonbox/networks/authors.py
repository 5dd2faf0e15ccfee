"""The network of the published weights, exactly; for importing them, not for training."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from toonbox.errors import ShapeError


def upsample_tensorflow(image: Tensor) -> Tensor:
    """Enlarge twice as TensorFlow 1's resize_bilinear does, without half-pixel centres.

    Even places keep the pixel, odd places are the mean of the two neighbours, and the last row
    and column are repeated: out[2i] = x[i], out[2i + 1] = (x[i] + x[i + 1]) / 2.

    Args:
        image: (B, C, H, W).
    Returns:
        (B, C, 2 H, 2 W).
    """
    height, width = image.shape[-2:]
    # With one more row and column, corner-aligned interpolation steps by exactly half a pixel.
    padded = functional.pad(image, (0, 1, 0, 1), mode="replicate")
    size = (2 * height + 1, 2 * width + 1)
    larger = functional.interpolate(padded, size=size, mode="bilinear", align_corners=True)
    return larger[..., :-1, :-1]


class HalvingConvolution(nn.Conv2d):
    """3x3 convolution of stride 2 that pads even sizes as TensorFlow's 'SAME': right and bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W), H and W even -> (B, C, H / 2, W / 2)."""
        return super().forward(functional.pad(image, (0, 1, 0, 1)))


class AuthorsBlock(nn.Module):
    """x + conv2(lrelu(conv1(x))), 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        inner: Tensor = self.conv2(_activate(self.conv1(image)))
        return image + inner


class AuthorsGenerator(nn.Module):
    """The published generator: 1,467,075 parameters, no output activation.

    RGB in and out. The published weights are for BGR: reversing the stem's input channels and the
    head's output channels when they are imported gives the same function, exactly.

    Source:
        Wang & Yu 2020 and the authors' inference code.
    """

    size_multiple = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, padding=3)
        self.down1 = HalvingConvolution(32)
        self.widen1 = nn.Conv2d(32, 64, 3, padding=1)
        self.down2 = HalvingConvolution(64)
        self.widen2 = nn.Conv2d(64, 128, 3, padding=1)
        self.blocks = nn.Sequential(*(AuthorsBlock(128) for _ in range(4)))
        self.narrow = nn.Conv2d(128, 64, 3, padding=1)
        self.up1 = nn.Conv2d(64, 64, 3, padding=1)
        self.narrow1 = nn.Conv2d(64, 32, 3, padding=1)
        self.up2 = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Conv2d(32, 3, 7, padding=3)

    def forward(self, photo: Tensor) -> Tensor:
        """Turn photos into cartoons.

        Args:
            photo: (B, 3, H, W) RGB in [-1, 1]; H and W multiples of 4.
        Returns:
            (B, 3, H, W), not bounded.
        Raises:
            ShapeError: not three channels, or sizes that are not multiples of 4.
        """
        _check(photo, self.size_multiple)
        full = _activate(self.stem(photo))
        half = _activate(self.widen1(_activate(self.down1(full))))
        quarter = _activate(self.widen2(_activate(self.down2(half))))
        quarter = _activate(self.narrow(self.blocks(quarter)))
        half = _activate(self.up1(upsample_tensorflow(quarter) + half))
        half = _activate(self.narrow1(half))
        full = _activate(self.up2(upsample_tensorflow(half) + full))
        cartoon: Tensor = self.head(full)
        return cartoon


def _activate(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, 0.2)


def _check(photo: Tensor, multiple: int) -> None:
    if torch.onnx.is_in_onnx_export():  # sizes are symbols there; the card carries the rule
        return
    shape = tuple(photo.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] % multiple or shape[3] % multiple:
        raise ShapeError(f"expected (B, 3, H, W) with multiples of {multiple}, got {shape}")
