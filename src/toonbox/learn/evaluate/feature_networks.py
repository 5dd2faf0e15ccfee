"""Feature networks from ONNX or TorchScript files, and features of seeded crops."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors
from PIL import Image
from torch import Tensor

from toonbox.errors import UsageError, WeightsError
from toonbox.learn.inspect import is_blank
from toonbox.pixels import FloatArray, Uint8Array

TRIES = 8  # per crop, before a blank one is accepted
FREE_SIZE = 224  # crop side for networks of any input size
TORCHSCRIPT_SUFFIXES = (".pt", ".ts", ".torchscript")


@dataclass(frozen=True)
class CropRule:
    """How crops are taken; sides in pixels. Only compare figures that share a rule."""

    short_side: int = 512
    size: int = FREE_SIZE
    crops: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.short_side or self.crops < 1:
            raise UsageError(
                f"{self.crops} crops of {self.size} pixels cannot be taken from pictures with a "
                f"short side of {self.short_side}"
            )

    def text(self) -> str:
        """Describe the rule."""
        return (
            f"short side resized to {self.short_side} pixels (LANCZOS, enlarged if smaller), "
            f"{self.crops} seeded crops of {self.size} pixels per picture"
        )


def take_crops(rgb: Uint8Array, rule: CropRule, index: int) -> Uint8Array:
    """Cut seeded crops from (H, W, 3); retry blank ones.

    Relative positions depend only on the rule's seed and `index`, so that a photo and its output
    are cut at the same positions.

    Returns:
        (crops, size, size, 3).
    """
    height, width = rgb.shape[:2]
    scale = rule.short_side / min(height, width)
    size = (max(rule.size, round(width * scale)), max(rule.size, round(height * scale)))
    resized = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    free = np.array(resized.shape[:2]) - rule.size
    # Drawn at once, so that retrying a crop does not move the next ones.
    shares = np.random.default_rng((rule.seed, index)).random((rule.crops, TRIES, 2))
    crops = []
    for corners in np.rint(shares * free).astype(np.int64):
        for top, left in corners:
            crop = np.ascontiguousarray(resized[top : top + rule.size, left : left + rule.size])
            if not is_blank(crop):
                break
        crops.append(crop)
    return np.stack(crops)


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network that maps crops to features.

    Attributes:
        name: label of its figures.
        size: side of its input, in pixels.
        run: (N, 3, size, size) RGB in [0, 1] -> (N, D), or (N, D, h, w), which is averaged.
    """

    name: str
    size: int
    run: Callable[[FloatArray], FloatArray]

    def __call__(self, crops: Uint8Array) -> FloatArray:
        """Compute features: (N, size, size, 3) -> (N, D)."""
        unit = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
        features = self.run(unit)
        return features if features.ndim == 2 else np.mean(features, axis=(2, 3))


def load_feature_network(file: Path) -> FeatureNetwork:
    """Load a feature network from an ONNX or TorchScript file.

    Its input is (N, 3, S, S) RGB in [0, 1], its first output (N, D) or (N, D, h, w).

    Raises:
        WeightsError: the file is missing or damaged, or has another suffix, input or output.
    """
    suffix = file.suffix.lower()
    loaders = {".onnx": _load_onnx, **dict.fromkeys(TORCHSCRIPT_SUFFIXES, _load_torchscript)}
    if not file.is_file():
        raise WeightsError(f"{file}: no such feature network")
    if suffix not in loaders:
        raise WeightsError(f"{file}: its name does not end in {', '.join(loaders)}")
    network = loaders[suffix](file)
    features = network.run(np.zeros((2, 3, network.size, network.size), np.float32))
    if features.ndim not in (2, 4) or len(features) != 2:
        raise WeightsError(
            f"{file}: its output for two crops should be (2, D) or (2, D, h, w), "
            f"found {features.shape}"
        )
    return network


def _load_onnx(file: Path) -> FeatureNetwork:
    failures = (
        onnxruntime_errors.Fail, onnxruntime_errors.InvalidArgument,
        onnxruntime_errors.InvalidGraph, onnxruntime_errors.InvalidProtobuf,
        onnxruntime_errors.NotImplemented, onnxruntime_errors.RuntimeException,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Spinning threads would slow down a training on the same machine.
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

    return FeatureNetwork(file.stem, size, run)


def _load_torchscript(file: Path) -> FeatureNetwork:
    try:
        module = torch.jit.load(str(file), "cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise WeightsError(f"{file}: not readable as TorchScript: {reason}") from error

    def run(unit: FloatArray) -> FloatArray:
        try:
            with torch.inference_mode():
                features = module(torch.from_numpy(unit))
        except RuntimeError as error:
            reason = str(error).strip().rsplit("\n", 1)[-1]
            raise WeightsError(f"{file}: fails on crops {unit.shape}: {reason}") from error
        if not isinstance(features, Tensor):
            raise WeightsError(f"{file}: should return a tensor, not {type(features).__name__}")
        return features.float().numpy()

    return FeatureNetwork(file.stem, FREE_SIZE, run)


def features_of(
    pictures: Iterable[Uint8Array],
    network: FeatureNetwork,
    rule: CropRule,
    batch: int = 32,
    advance: Callable[[], None] = lambda: None,
) -> FloatArray:
    """Compute features of the crops of pictures, (H, W, 3) of any size: (pictures, crops, D).

    Args:
        pictures: at least one; one is in memory at a time.
        network: must have the rule's crop side.
        batch: crops per run of the network.
        advance: called after each picture.
    """
    features: list[FloatArray] = []
    waiting: list[Uint8Array] = []
    for index, rgb in enumerate(pictures):
        waiting.extend(take_crops(rgb, rule, index))
        while len(waiting) >= batch:
            features.append(network(np.stack(waiting[:batch])))
            del waiting[:batch]
        advance()
    if waiting:
        features.append(network(np.stack(waiting)))
    return np.concatenate(features).reshape(-1, rule.crops, features[0].shape[1])
