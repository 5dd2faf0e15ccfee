"""How far two sets of features are apart, how sure that is, and which side an output is on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.image.kid import poly_kernel, poly_mmd

from toonbox.errors import ShapeError, UsageError, WeightsError
from toonbox.learn.features import VggFeatures, VggKind, read_tensors
from toonbox.learn.inspect import is_blank
from toonbox.learn.weights import WEIGHTS, fetch
from toonbox.pixels import FloatArray, Uint8Array

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


NORMAL_95 = 1.96  # standard errors to each side that hold 95 % of a normal distribution
BLOCK = 512  # crops whose kernel values are held at once
PROBE_DECAY = 0.01

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Statistic = Callable[[FloatArray, FloatArray], float]
Probe = Callable[[FloatArray], float]


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, resampled: Numbers) -> "Estimate":
        """Give a value plus and minus 1.96 standard errors, the deviation of resampled values."""
        margin = NORMAL_95 * float(np.std(resampled, ddof=1))
        return cls(value, value - margin, value + margin)


def frechet_distance(one: FloatArray, other: FloatArray) -> float:
    """Compare the Gaussians that fit two sets of features: 0 for the same mean and covariance.

    Biased upwards where there are few samples, so compare only figures of equal counts.

    Args:
        one: (N, D), N at least 2.
        other: (M, D), M at least 2.
    Returns:
        |mean difference|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) in float64; not negative but for
        rounding.
    Raises:
        ShapeError: the shapes do not fit.
    Source:
        Heusel et al. 2017, eq. 6. torchmetrics gives the same from the eigenvalues of S1 S2; those
        of R S2 R' with S1 = R' R are the same, symmetric and so found several times faster, which
        the bootstrap needs.
    """
    _check(one, other, dimensions=2)
    fewer, more = sorted(
        (torch.from_numpy(one).double(), torch.from_numpy(other).double()), key=len
    )
    rows = (fewer - fewer.mean(dim=0)) / (len(fewer) - 1) ** 0.5
    root: Tensor = torch.linalg.qr(rows, mode="r").R
    covariance = torch.cov(more.T)
    shared = torch.linalg.eigvalsh(root @ covariance @ root.T).clamp(min=0).sqrt().sum()
    means = (fewer.mean(dim=0) - more.mean(dim=0)).square().sum()
    return float(means + rows.square().sum() + covariance.trace() - 2 * shared)


def kernel_distance(
    one: FloatArray, other: FloatArray, subsets: int = 50, subset_size: int = 1000, seed: int = 0
) -> float:
    """Compare two sets by a polynomial kernel: KID, about 0 for two samples of one distribution.

    Unbiased, so that it can be negative; crops of one picture are counted as independent, as
    everywhere.

    Args:
        one: (N, D), N at least 2.
        other: (M, D), M at least 2.
        subsets: how many random subsets to average over.
        subset_size: samples of each set in a subset; at most the smaller set.
        seed: of the subsets.
    Returns:
        The mean over the subsets, not multiplied by 1000.
    Raises:
        ShapeError: the shapes do not fit.
    Source:
        Binkowski et al. 2018: degree 3, gamma 1 / D, coefficient 1; through torchmetrics.
    """
    _check(one, other, dimensions=2)
    random = np.random.default_rng(seed)
    size = min(subset_size, len(one), len(other))
    values = []
    for _ in range(subsets):
        chosen = [s[random.permutation(len(s))[:size]] for s in (one, other)]
        values.append(poly_mmd(torch.from_numpy(chosen[0]), torch.from_numpy(chosen[1])))
    return float(torch.stack(values).double().mean())


def bootstrap(
    statistic: Statistic,
    one: FloatArray,
    other: FloatArray,
    draws: int = 20,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Estimate:
    """Estimate how far a statistic would move with other pictures from the same sources.

    Whole pictures are drawn again, not crops, since crops of one picture are alike. The interval
    is the value plus and minus 1.96 standard errors: percentiles of resampled values would be
    shifted, since repeated pictures make two sets look further apart.

    Args:
        statistic: of two arrays (N, D) of crops.
        one: (P, K, D), features by picture and crop.
        other: (Q, L, D).
        draws: at least 2. A Frechet distance of 1280 features costs about a second a draw, so they
            are few; the margin is then good to about a sixth.
        seed: of the draws.
        advance: called after each draw.
    Raises:
        ShapeError: the shapes do not fit.
    """
    _check(one, other, dimensions=3)
    random = np.random.default_rng(seed)
    resampled = []
    for _ in range(draws):
        samples = (s[random.integers(0, len(s), len(s))] for s in (one, other))
        resampled.append(statistic(*map(crops_of, samples)))
        advance()
    return Estimate.around(statistic(crops_of(one), crops_of(other)), np.array(resampled))


def kernel_estimate(
    one: FloatArray, other: FloatArray, draws: int = 1000, seed: int = 0
) -> Estimate:
    """Give the kernel distance with its interval: as `bootstrap`, from one matrix of kernel values.

    A draw only weighs pictures, so it costs next to nothing; the matrix costs the square of the
    number of crops. Its distance is over all crops instead of subsets.

    Args:
        one: (P, K, D).
        other: (Q, L, D).
        draws: at least 2.
        seed: of the draws and of the subsets.
    Raises:
        ShapeError: the shapes do not fit.
    """
    _check(one, other, dimensions=3)
    random = np.random.default_rng(seed)
    in_one, in_other = (
        random.multinomial(len(s), [1 / len(s)] * len(s), draws) for s in (one, other)
    )
    within = _mean_within(one, in_one) + _mean_within(other, in_other)
    pairs = len(crops_of(one)) * len(crops_of(other))
    across = _weighted(_kernel_sums(one, other), in_one, in_other) / pairs
    value = kernel_distance(crops_of(one), crops_of(other), seed=seed)
    return Estimate.around(value, within - 2 * across)


def linear_probe(photos: FloatArray, cartoons: FloatArray, seed: int = 0) -> Probe:
    """Learn to tell cartoons from photos by their features: logistic regression with weight decay.

    The photos must be others than those whose outputs are judged: a probe that has learned a
    picture by heart calls its output a photo for what is in it.

    Args:
        photos: (P, K, D), features by picture and crop.
        cartoons: (Q, L, D).
        seed: of the crops that are left out of the larger set, so that both count the same.
    Returns:
        A function that gives the share of an array's crops, (N, K, D), that is called cartoon.
    Raises:
        ShapeError: the shapes do not fit.
    """
    _check(photos, cartoons, dimensions=3)
    random = np.random.default_rng(seed)
    sets = [crops_of(photos), crops_of(cartoons)]
    fewer = min(map(len, sets))
    chosen = np.concatenate([s[random.permutation(len(s))[:fewer]] for s in sets])
    mean, deviation = chosen.mean(axis=0), chosen.std(axis=0)
    deviation[deviation == 0] = 1
    features = torch.from_numpy((chosen - mean) / deviation)
    weight, bias = _logistic_regression(features, torch.arange(2 * fewer) >= fewer)

    def share(outputs: FloatArray) -> float:
        if outputs.ndim != 3 or outputs.shape[2] != len(mean):
            raise ShapeError(f"expected features (N, K, {len(mean)}), got {outputs.shape}")
        return float(np.mean(((crops_of(outputs) - mean) / deviation) @ weight + bias > 0))

    return share


def _logistic_regression(features: Tensor, positive: Tensor) -> tuple[FloatArray, float]:
    """Fit (N, D) to (N,) bool; give the weights (D,) and the bias."""
    weight = torch.zeros(features.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = features @ weight + bias
        error = functional.binary_cross_entropy_with_logits(scores, positive.float())
        total = error + PROBE_DECAY / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach().numpy(), float(bias.detach())


def crops_of(features: FloatArray) -> FloatArray:
    """(P, K, D) -> (P * K, D)."""
    return features.reshape(-1, features.shape[-1])


def _kernel_sums(one: FloatArray, other: FloatArray) -> Numbers:
    """Sum the kernel over the crops of each pair of pictures: (P, K, D), (Q, L, D) -> (P, Q)."""
    crops = torch.from_numpy(crops_of(other))
    rows = []
    step = max(1, BLOCK // one.shape[1])
    for start in range(0, len(one), step):
        block = one[start : start + step]
        values = poly_kernel(torch.from_numpy(crops_of(block)), crops).numpy()
        rows.append(values.reshape(*block.shape[:2], *other.shape[:2]).sum((1, 3), np.float64))
    return np.concatenate(rows)


def _weighted(sums: Numbers, rows: Counts, columns: Counts) -> Numbers:
    """Sum (P, Q) with weights (draws, P) and (draws, Q): (draws,)."""
    total: Numbers = ((rows @ sums) * columns).sum(axis=1)
    return total


def _mean_within(features: FloatArray, counts: Counts) -> Numbers:
    """Average the kernel over pairs of different crops of resampled pictures: (draws,).

    Args:
        features: (P, K, D).
        counts: (draws, P), how often each picture was drawn.
    """
    pictures, crops, size = features.shape
    number = pictures * crops
    itself = ((features.astype(np.float64) ** 2).sum(axis=2) / size + 1) ** 3
    sums = _weighted(_kernel_sums(features, features), counts, counts)
    mean: Numbers = (sums - counts @ itself.sum(axis=1)) / (number * (number - 1))
    return mean


def _check(one: FloatArray, other: FloatArray, dimensions: int) -> None:
    """Require features of one length, and two samples of each at least."""
    fits = one.ndim == other.ndim == dimensions and one.shape[-1] == other.shape[-1]
    if not fits or min(len(one), len(other)) < 2:
        form = "(N >= 2, D)" if dimensions == 2 else "(pictures >= 2, crops, D)"
        raise ShapeError(f"expected two sets of features {form}, got {one.shape}, {other.shape}")
