"""What statistics compare: features of seeded crops, from whatever network one has."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from toonbox.data.inspect import is_blank
from toonbox.errors import ShapeError, UsageError, WeightsError
from toonbox.networks.inception import InceptionFeatures
from toonbox.networks.vgg import VggFeatures, VggKind
from toonbox.pixels import FloatArray, Uint8Array

TRIES = 8
FREE_SIZE = 224  # crop side for networks that take any
TORCHSCRIPT_SUFFIXES = (".pt", ".ts", ".torchscript")
# Tensors that VGG19 has and VGG16 has not, as Caffe's and torchvision's files call them.
ONLY_VGG19 = {"conv3_4.weight", "features.16.weight"}
# Caffe's weights give averaged features of about this root mean square (8.1 to 10.0 on photos):
# divided by it they are about 1, for which the cubic kernel of KID is made. One number for all
# weights and pictures, so that figures stay comparable.
VGG_SCALE = 9.0


@dataclass(frozen=True)
class CropRule:
    """How pictures become crops; sides in pixels.

    The measure depends on it: numbers of two rules must not be compared.
    """

    short_side: int = 512
    size: int = 224
    crops: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.short_side or self.crops < 1:
            raise UsageError(
                f"{self.crops} crops of {self.size} pixels cannot be taken from pictures with a "
                f"short side of {self.short_side}"
            )

    def text(self) -> str:
        """Say it in one sentence."""
        return (
            f"short side brought to {self.short_side} pixels (LANCZOS, enlarged if smaller), "
            f"{self.crops} seeded crops of {self.size} pixels a picture"
        )


def take_crops(rgb: Uint8Array, rule: CropRule, index: int) -> Uint8Array:
    """Cut seeded crops out of a picture; mostly blank ones are drawn again a few times.

    Places are relative to the picture and depend on the rule's seed and the index only, so a
    photo and an output of the same index are cut at the same places.

    Args:
        rgb: (H, W, 3).
        rule: how many, how large, from which size.
        index: of the picture in its list.
    Returns:
        (crops, size, size, 3).
    Raises:
        ShapeError: not (H, W, 3).
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ShapeError(f"expected a picture (H, W, 3), got {rgb.shape}")
    height, width = rgb.shape[:2]
    scale = rule.short_side / min(height, width)
    size = (max(rule.size, round(width * scale)), max(rule.size, round(height * scale)))
    scaled = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    free = np.array(scaled.shape[:2]) - rule.size
    # All drawn at once, so that a crop drawn again does not move those after it.
    shares = np.random.default_rng((rule.seed, index)).random((rule.crops, TRIES, 2))
    places = np.rint(shares * free).astype(np.int64)
    return np.stack([_first_not_blank(scaled, corners, rule.size) for corners in places])


def _first_not_blank(rgb: Uint8Array, corners: npt.NDArray[np.int64], size: int) -> Uint8Array:
    """Cut at the first of (TRIES, 2) corners where there is something to see, else at the last."""
    for top, left in corners:
        crop = np.ascontiguousarray(rgb[top : top + size, left : left + size])
        if not is_blank(crop):
            break
    return crop


class FeatureNetwork(Protocol):
    """A frozen network that describes crops by numbers."""

    @property
    def name(self) -> str:
        """What to call it beside a number."""
        ...

    @property
    def size(self) -> int:
        """Crop side it wants, in pixels."""
        ...

    def __call__(self, crops: Uint8Array) -> FloatArray:
        """Describe: (N, size, size, 3) -> (N, D)."""
        ...


@dataclass(frozen=True)
class LoadedNetwork:
    """A feature network from a file: the run of it, and the averaging over space around that."""

    name: str
    size: int
    run: Callable[[FloatArray], FloatArray]  # (N, 3, S, S) RGB [0, 1] -> (N, D) or (N, D, h, w)

    def __call__(self, crops: Uint8Array) -> FloatArray:
        """Describe: (N, size, size, 3) -> (N, D).

        Raises:
            ShapeError: crops of another size.
        """
        if crops.shape[1:] != (self.size, self.size, 3):
            raise ShapeError(
                f"{self.name} takes crops (N, {self.size}, {self.size}, 3), got {crops.shape}"
            )
        unit = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
        features = self.run(unit)
        return features if features.ndim == 2 else np.mean(features, axis=(2, 3))


def load_feature_network(file: Path) -> FeatureNetwork:
    """Load a feature network by what its file is.

    Args:
        file: `.onnx` or TorchScript (`.pt`, `.ts`, `.torchscript`), with an input
            (N, 3, S, S) RGB in [0, 1] and a first output (N, D), or (N, D, h, w) which is
            averaged over space; or `.safetensors`, VGG weights as for training, whose last layer
            is averaged and divided by VGG_SCALE.
    Raises:
        WeightsError: the file is missing, damaged or nothing of these.
    """
    suffix = file.suffix.lower()
    loaders = {".onnx": _load_onnx, ".safetensors": _load_vgg}
    loaders |= dict.fromkeys(TORCHSCRIPT_SUFFIXES, _load_torchscript)
    if not file.is_file():
        raise WeightsError(f"{file}: no such feature network")
    if suffix not in loaders:
        raise WeightsError(f"{file}: not a feature network by its name ({', '.join(loaders)})")
    network = loaders[suffix](file)
    features = network.run(np.zeros((2, 3, network.size, network.size), np.float32))
    if features.ndim not in (2, 4) or len(features) != 2:
        raise WeightsError(
            f"{file}: its output for two crops should be (2, D) or (2, D, h, w), "
            f"got {features.shape}"
        )
    return network


def load_inception(file: Path | None, offline: bool) -> FeatureNetwork:
    """Load the Inception v3 by which Frechet distances are published: 2048 features.

    Args:
        file: its weights; None downloads them once.
        offline: do not download; TOONBOX_OFFLINE=1 says the same.
    Raises:
        WeightsError: not to be had, damaged or the weights of another network.
    """
    network = InceptionFeatures.load(file, offline)
    name = "Inception v3" if file is None else f"Inception v3 ({file.name})"
    return LoadedNetwork(name, InceptionFeatures.SIZE, _signed(network))


def features_of(
    pictures: Iterable[Uint8Array],
    network: FeatureNetwork,
    rule: CropRule,
    batch: int = 32,
    advance: Callable[[], None] = lambda: None,
) -> FloatArray:
    """Describe pictures.

    Args:
        pictures: (H, W, 3) each, of any size; held one at a time.
        network: whose crop side is the rule's.
        rule: how crops are taken.
        batch: crops to run at once.
        advance: called after each picture.
    Returns:
        (pictures, crops, D).
    Raises:
        UsageError: the rule's crops do not fit the network, or there is no picture.
    """
    if network.size != rule.size:
        raise UsageError(f"{network.name} takes crops of {network.size} pixels, not {rule.size}")
    described: list[FloatArray] = []
    waiting: list[Uint8Array] = []
    for index, rgb in enumerate(pictures):
        waiting.extend(take_crops(rgb, rule, index))
        while len(waiting) >= batch:
            described.append(network(np.stack(waiting[:batch])))
            del waiting[:batch]
        advance()
    if waiting:
        described.append(network(np.stack(waiting)))
    if not described:
        raise UsageError("no picture to take features of")
    features = np.concatenate(described)
    return features.reshape(-1, rule.crops, features.shape[1])


def _load_onnx(file: Path) -> LoadedNetwork:
    failures = (
        onnxruntime_errors.Fail, onnxruntime_errors.InvalidArgument,
        onnxruntime_errors.InvalidGraph, onnxruntime_errors.InvalidProtobuf,
        onnxruntime_errors.NotImplemented, onnxruntime_errors.RuntimeException,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Waiting threads would take the processors from a training that runs beside.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except failures as error:
        raise WeightsError(f"{file}: ONNX Runtime cannot read it: {error}") from error
    (first, *others), output = session.get_inputs(), session.get_outputs()[0].name
    shape = first.shape
    if others or len(shape) != 4 or shape[1] != 3 or first.type != "tensor(float)":
        raise WeightsError(
            f"{file}: expected one float input (N, 3, S, S), found {first.type} {shape}"
            + f" and {len(others)} more" * bool(others)
        )
    size = next((side for side in shape[2:] if isinstance(side, int)), FREE_SIZE)

    def run(unit: FloatArray) -> FloatArray:
        try:
            features: FloatArray = session.run([output], {first.name: unit})[0]
        except failures as error:
            raise WeightsError(f"{file}: fails on crops {unit.shape}: {error}") from error
        return features

    return LoadedNetwork(file.stem, size, run)


def _load_torchscript(file: Path) -> LoadedNetwork:
    try:
        module = torch.jit.load(str(file), "cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise WeightsError(f"{file}: not TorchScript that can be read: {reason}") from error

    def run(unit: FloatArray) -> FloatArray:
        try:
            with torch.inference_mode():
                features = module(torch.from_numpy(unit))
        except RuntimeError as error:
            reason = str(error).strip().rsplit("\n", 1)[-1]
            raise WeightsError(f"{file}: fails on crops {unit.shape}: {reason}") from error
        if not isinstance(features, Tensor):
            raise WeightsError(f"{file}: should give one tensor, gives {type(features).__name__}")
        return features.float().numpy()

    return LoadedNetwork(file.stem, FREE_SIZE, run)


def _load_vgg(file: Path) -> LoadedNetwork:
    try:
        with safe_open(file, framework="pt") as opened:
            names = set(opened.keys())
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file}: cannot be read as weights: {error}") from error
    kind: VggKind = "vgg19" if names & ONLY_VGG19 else "vgg16"
    features = _signed(VggFeatures.load(kind, file))
    return LoadedNetwork(file.stem, FREE_SIZE, lambda unit: features(unit) / np.float32(VGG_SCALE))


def _signed(network: Callable[[Tensor], Tensor]) -> Callable[[FloatArray], FloatArray]:
    """Run a network of ours, which takes [-1, 1], on [0, 1]."""

    def run(unit: FloatArray) -> FloatArray:
        with torch.inference_mode():
            return network(torch.from_numpy(unit) * 2 - 1).numpy()

    return run
