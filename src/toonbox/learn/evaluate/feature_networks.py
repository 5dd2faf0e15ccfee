"""Feature networks from ONNX or TorchScript files, and features of seeded crops."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import Tensor

from toonbox.errors import UsageError, WeightsError
from toonbox.learn.inspect import is_blank
from toonbox.pixels import FloatArray, Uint8Array

TRIES = 8  # per crop, before a blank one is accepted
FREE_SIZE = 224  # crop side for networks of any input size
TORCHSCRIPT_SUFFIXES = (".pt", ".ts", ".torchscript")

Run = Callable[[FloatArray], FloatArray]


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
    """Cut seeded crops from (H, W, 3), (crops, size, size, 3); retry blank ones.

    Relative positions depend on the rule's seed and `index` only, the same for photo and output.
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
    """A frozen network, the side of its input in pixels, and its name in tables.

    `run` maps (N, 3, size, size) RGB in [0, 1] to (N, D), or (N, D, h, w), which is averaged.
    """

    name: str
    size: int
    run: Run

    def __call__(self, crops: Uint8Array) -> FloatArray:
        """Compute features: (N, size, size, 3) -> (N, D)."""
        unit = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
        features = np.asarray(self.run(unit), np.float32)
        return features if features.ndim == 2 else np.mean(features, axis=(2, 3))


def load_feature_network(file: Path) -> FeatureNetwork:
    """Load a feature network from an ONNX or TorchScript file.

    Its input is (N, 3, S, S) RGB in [0, 1], its first output (N, D) or (N, D, h, w). Raises
    WeightsError if the file is missing or damaged, or has another suffix, input or output.
    """
    loaders = {".onnx": _load_onnx, **dict.fromkeys(TORCHSCRIPT_SUFFIXES, _load_torchscript)}
    if not file.is_file():
        raise WeightsError(f"{file}: no such feature network")
    if (suffix := file.suffix.lower()) not in loaders:
        raise WeightsError(f"{file}: its name does not end in {', '.join(loaders)}")
    with _failing(f"{file}: cannot be read as a network"):
        size, compute = loaders[suffix](file)

    def run(unit: FloatArray) -> FloatArray:
        with _failing(f"{file}: fails on crops {unit.shape}"):
            return compute(unit)

    shape = run(np.zeros((2, 3, size, size), np.float32)).shape
    if len(shape) not in (2, 4) or shape[0] != 2:
        raise WeightsError(f"{file}: its output should be (2, D) or (2, D, h, w), found {shape}")
    return FeatureNetwork(file.stem, size, run)


@contextmanager
def _failing(message: str) -> Iterator[None]:
    """Raise errors of ONNX Runtime, which have no common base class, and torch as WeightsError."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{message}: {' '.join(str(error).split())}") from error


def _load_onnx(file: Path) -> tuple[int, Run]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Spinning threads would slow down a training on the same machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        file.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    (first, *others), output = session.get_inputs(), session.get_outputs()[0].name
    shape = first.shape
    if others or len(shape) != 4 or shape[1] != 3 or first.type != "tensor(float)":
        found = ", ".join(f"{each.type} {each.shape}" for each in session.get_inputs())
        raise WeightsError(f"{file}: expected one float input (N, 3, S, S), found {found}")
    size = next((side for side in shape[2:] if isinstance(side, int)), FREE_SIZE)
    return size, lambda unit: session.run([output], {first.name: unit})[0]


def _load_torchscript(file: Path) -> tuple[int, Run]:
    module = torch.jit.load(str(file), "cpu").eval()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def run(unit: FloatArray) -> FloatArray:
        features = module(torch.from_numpy(unit))
        if not isinstance(features, Tensor):
            raise WeightsError(f"{file}: should return a tensor, not {type(features).__name__}")
        return features.float().numpy()

    return FREE_SIZE, run


def features_of(
    pictures: Iterable[Uint8Array], network: FeatureNetwork, rule: CropRule
) -> FloatArray:
    """Compute features of the crops of pictures, (H, W, 3) of any size: (pictures, crops, D)."""
    return np.stack([network(take_crops(rgb, rule, i)) for i, rgb in enumerate(pictures)])
