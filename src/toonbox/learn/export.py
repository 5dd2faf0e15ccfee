"""Export a trained network as a style folder, which the rest of toonbox uses."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from toonbox.atomic import make_folder, writing
from toonbox.engine.session import open_session
from toonbox.engine.style import GENERATOR, SHIPPED, Card, check_card, load_style, write_card
from toonbox.errors import ExportError, OutputError
from toonbox.images.picture import decode
from toonbox.learn.config import load_config
from toonbox.learn.data import TrainingData
from toonbox.learn.generator import (
    KNOBS,
    Generator,
    Knobs,
    load_generator,
    pad_to_multiple,
    save_generator,
)
from toonbox.learn.quantise import find_ranges, with_ranges
from toonbox.learn.run import load_samples
from toonbox.learn.state import load_checkpoint
from toonbox.pixels import FloatArray
from toonbox.version import __version__

_logger = logging.getLogger(__name__)

PARITY_SIZES = ((64, 64), (97, 131), (33, 200), (1, 9), (240, 77))
PARITY_TOLERANCE = 1e-3
HALF_TOLERANCE = 1 / 255
OPSET = 20
PHOTOS, PHOTO_SIDE = 12, 320  # for calibration, pixels
PREVIEW_PHOTO = SHIPPED / "preview-photo.jpg"


class SizedGenerator(nn.Module):
    """The exported module: a generator without padding, clipped."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, photo: Tensor, knobs: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> the same; H and W are multiples of `size_multiple`."""
        return self.generator.network(photo, knobs).clamp(-1, 1)


def export_run(
    run: Path,
    folder: Path,
    *,
    description: str,
    licence: str,
    data: str | None,
    working_resolution: int | None = None,
    detail_resolution: int = 0,
    recipe: str | None = None,
    force: bool = False,
) -> Path:
    """Write the averaged generator of a run as a style folder, with its weights for training.

    The options are those of the card, None for what the run says; `force` replaces a style.

    Raises:
        ExportError: `run` is not a run with a checkpoint, or as in `write_style`.
        OutputError: the style exists, and `force` is not set, or cannot be written.
        TrainingError, DataError: a file of the run is damaged.
    """
    for needed in ("config.toml", "data.json", "environment.json", "checkpoint.pt", GENERATOR):
        if not (run / needed).is_file():
            raise ExportError(f"{run}: not a run with a checkpoint: {needed} is missing")
    config = load_config(run / "config.toml")
    generator = load_generator(run / GENERATOR)
    pictures = TrainingData.load(run / "data.json")
    counted = f"{len(pictures.photos)} photos"
    if config.discriminated:
        counted += f", {len(pictures.cartoons)} cartoons"
    if recipe is None:
        recipe = json.loads((run / "environment.json").read_text("utf-8")).get("recipe", "")
    card = Card(
        name=folder.name,
        version=__version__,
        description=description,
        size_multiple=config.generator.size_multiple,
        working_resolution=working_resolution or config.crops.photo_side[1],
        detail_resolution=detail_resolution,
        licence=licence,
        data=data or counted,
        config_sha256=config.sha256(),
        onnx_sha256="",
        knobs=KNOBS if config.generator.knobs else (),
        reach=config.generator.reach,
        recipe=recipe,
        steps=load_checkpoint(run / "checkpoint.pt", mmap=True)["step"],
    )
    present = [file for file in pictures.photos if file.exists()]
    photos: list[FloatArray] = []
    if present:
        chosen = present[:: max(1, len(present) // PHOTOS)][:PHOTOS]
        side = -(-PHOTO_SIDE // card.size_multiple) * card.size_multiple
        photos = [photo.numpy() for photo in torch.split(load_samples(chosen, side), 1)]
    else:
        _logger.warning("%s: its photos are gone, so that the style has no ranges for int8", run)
    plain, folded = (SizedGenerator(each) for each in (generator, fold_upsampling(generator)))
    write_style(plain, folder, card, folded, photos=photos, force=force)
    save_generator(generator, folder / GENERATOR)
    return folder


def write_style(
    network: nn.Module,
    folder: Path,
    card: Card,
    folded: nn.Module | None = None,
    *,
    photos: Sequence[FloatArray] = (),
    force: bool = False,
) -> Path:
    """Write `style.onnx`, `card.toml` and `preview.png` to a style's folder.

    Args:
        network: RGB (B, 3, H, W) in [-1, 1] to the same, with H and W multiples of the card's
            `size_multiple`; if the card has K knobs, it takes them as (1, K), too.
        folded: a faster equivalent of `network`, which is written instead.
        photos: calibration photos as in `find_ranges`; empty to omit int8 ranges.
    Raises:
        ExportError: the card's numbers do not fit together, or ONNX and `network` differ.
        OutputError: the style exists, and `force` is not set, or the folder cannot be written.
    """
    try:
        check_card(card)
    except ValueError as error:
        raise ExportError(f"{folder}: {error}") from error
    if (folder / "card.toml").exists() and not force:
        raise OutputError(f"{folder}: this style exists; replace it with --force")
    make_folder(folder)
    sizes = card.size_multiple, len(card.knobs)
    model = to_onnx(folded or network, *sizes)
    if photos:
        model = with_ranges(model, find_ranges(model, photos))
    with writing(folder / "style.onnx") as temporary:
        onnx.save(model, temporary)
        check_parity(network, temporary, *sizes, PARITY_TOLERANCE)
        onnx.save(with_half_weights(model), temporary)
        try:
            check_parity(network, temporary, *sizes, HALF_TOLERANCE)
        except ExportError:
            onnx.save(model, temporary)
        sha256 = hashlib.sha256(temporary.read_bytes()).hexdigest()
    write_card(replace(card, onnx_sha256=sha256), folder)
    draw_preview(folder)
    return folder


def draw_preview(folder: Path) -> None:
    """Write a style's `preview.png`: the shipped preview photo above its cartoon."""
    photo = decode(PREVIEW_PHOTO).rgb
    cartoon = load_style(folder, engine="onnxruntime")(photo)
    with writing(folder / "preview.png") as temporary:
        Image.fromarray(np.vstack([photo, cartoon])).save(temporary, optimize=True)


def to_onnx(network: nn.Module, size_multiple: int, knobs: int = 0) -> onnx.ModelProto:
    """Convert a network to ONNX: `photo`, and (1, knobs) `knobs` if positive, to `cartoon`."""
    photo = torch.zeros(2, 3, 8 * size_multiple, 9 * size_multiple)
    free = torch.export.Dim.AUTO
    example = (photo, torch.ones(1, knobs)) if knobs else (photo,)
    shapes = ({0: free, 2: free, 3: free}, None) if knobs else ({0: free, 2: free, 3: free},)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            example,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["photo", "knobs"][: len(example)],
            output_names=["cartoon"],
            dynamic_shapes=shapes,
        )
    if program is None:
        raise ExportError("torch returned no ONNX program")
    model = program.model_proto
    # The exporter records each node's source line, including local paths.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store float32 weights as float16, each followed by a Cast to float32."""
    half = deepcopy(model)
    casts = []
    for index, tensor in enumerate(half.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name = tensor.name
        with np.errstate(over="ignore"):  # the parity check detects overflow
            values = numpy_helper.to_array(tensor).astype(np.float16)
        half.graph.initializer[index].CopyFrom(numpy_helper.from_array(values, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    onnx.checker.check_model(half)
    return half


def check_parity(
    network: Callable[..., Tensor], file: Path, size_multiple: int, knobs: int, tolerance: float
) -> None:
    """Compare a style file with its network on noise of PARITY_SIZES, padded to `size_multiple`.

    Raises ExportError if they differ by more than `tolerance`, in [-1, 1] units.
    """
    session = open_session(file, engine="onnxruntime")
    random = torch.Generator().manual_seed(0)
    for height, width in PARITY_SIZES:
        photo = torch.rand(1, 3, height, width, generator=random) * 2 - 1
        inputs = [pad_to_multiple(photo, size_multiple)]
        if knobs:
            inputs.append(torch.rand(1, knobs, generator=random) * 2)
        with torch.no_grad():
            expected = network(*inputs).numpy()
        difference = np.abs(session.run(*(each.numpy() for each in inputs)) - expected).max()
        # Also true for NaN.
        if not difference <= tolerance:
            raise ExportError(
                f"at {width}x{height} the exported style differs from its network by "
                f"{difference:.2g}, more than {tolerance:.2g}"
            )


# Enlargement by 2: pixels -1 to 2 of the large row from pixels -1 to 1 of the small one.
BILINEAR = torch.tensor(
    [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]]
)


@torch.no_grad()
def fold_upsampling(generator: Generator) -> Generator:
    """Return an equivalent generator that computes faster on CPUs, for export.

    At full resolution C channels are too few for vector units: they become 4 C at half resolution,
    in the order of `torch.pixel_shuffle`, and each `UpSampling` one convolution of small features.
    """
    net: Any = deepcopy(generator)
    for index, layer in enumerate(net.up):
        convolution, activation = layer.refine
        kernel = _for_four(convolution.weight, 0, 4)
        kernel = torch.einsum("oihw,hy,wx->oiyx", kernel, BILINEAR, BILINEAR)
        enlarging = _convolution(kernel, _four_times(convolution.bias))
        refine = nn.ReplicationPad2d(1), enlarging, activation, nn.PixelShuffle(2)
        net.up[index] = nn.Sequential(layer.convolve, *refine)
    net.up[-1] = net.up[-1][:-1]  # the head takes folded features

    stem, half = net.stem[0], net.config.kernel // 2
    kernel = _for_four(stem.weight, 0, net.config.kernel + 1)
    net.stem[0] = _convolution(kernel, _four_times(stem.bias), 2, half)
    # The windows of the first down-sampling layer start at the second pixel of a pair.
    down = net.down[0][0]
    kernel = functional.pixel_unshuffle(functional.pad(down.weight, (1, 0, 1, 0)), 2)
    first = nn.ZeroPad2d((1, 0, 1, 0)), _convolution(kernel, down.bias)
    net.down[0] = nn.Sequential(*first, *net.down[0][1:])
    # The head's enlarged window starts at a block of 2 x 2 pixels.
    before = half % 2
    blocks = (half + before) // 2
    kernel = functional.pixel_unshuffle(_for_four(net.head.weight, before, 4 * blocks + 2), 2)
    head = _convolution(kernel, _four_times(net.head.bias), padding=blocks)
    net.head = nn.Sequential(head, nn.PixelShuffle(2))
    if net.config.knobs:
        _widen(net.knobs)
    return net  # type: ignore[no-any-return]


def _widen(knobs: Knobs) -> None:
    """Repeat the knobs' scales and shifts of the last features for four times the channels."""
    *widths, last = knobs.widths
    count = sum(knobs.widths)
    scales = torch.cat([torch.arange(count - last), _four_times(torch.arange(count - last, count))])
    rows = torch.cat([scales, count + scales])
    old: Any = knobs.embed[-1]
    new = nn.Linear(old.in_features, len(rows))
    new.load_state_dict({"weight": old.weight[rows], "bias": old.bias[rows]})
    knobs.embed[-1], knobs.widths = new, (*widths, 4 * last)


def _for_four(kernel: Tensor, before: int, size: int) -> Tensor:
    """Shift a kernel, (O, I, k, k), to each of 2 x 2 pixels: (4 O, I, size, size).

    The first pixel's kernel has `before` rows and columns of zeros above and to the left.
    """
    after = size - kernel.shape[-1] - before
    places = ((before + x, after - x, before + y, after - y) for y in (0, 1) for x in (0, 1))
    return torch.stack([functional.pad(kernel, place) for place in places], 1).flatten(0, 1)


def _four_times(channels: Tensor) -> Tensor:
    return channels.repeat_interleave(4)


def _convolution(kernel: Tensor, bias: Tensor, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    outputs, inputs, size, _ = kernel.shape
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding)
    convolution.load_state_dict({"weight": kernel, "bias": bias})
    return convolution
