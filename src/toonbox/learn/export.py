"""Export: from a trained network to a style folder, in which the two halves meet."""

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
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from toonbox.atomic import replacing
from toonbox.engine.session import open_session
from toonbox.engine.style import GENERATOR, SHIPPED, Card, load_style, write_card
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
from toonbox.learn.quantise import find_ranges, photo_squares, with_ranges
from toonbox.pixels import FloatArray
from toonbox.version import __version__

PARITY_SIZES = ((64, 64), (97, 131), (33, 200), (1, 9), (240, 77))
PARITY_TOLERANCE = 1e-3
HALF_TOLERANCE = 1 / 255
OPSET = 20
PREVIEW_PHOTO = SHIPPED / "preview-photo.jpg"


class SizedGenerator(nn.Module):
    """A generator for sizes that already obey its rule, clipped, as it is exported."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, photo: Tensor, knobs: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> the same, H and W multiples of the size rule."""
        return self.generator.network(photo, knobs).clamp(-1, 1)


def export_run(
    run: Path,
    folder: Path,
    *,
    name: str,
    description: str,
    licence: str,
    data: str | None,
    working_resolution: int,
    recipe: str | None = None,
    force: bool = False,
) -> Path:
    """Write the averaged generator of a run as a style folder, and beside it for more training.

    Args:
        run: folder of `toonbox train`.
        folder: of the style, made if missing.
        name, description, licence, working_resolution: for the card.
        data: what it was trained on; None counts the run's pictures.
        recipe: name of the file that the configuration was read from; None for what the run noted.
        force: replace a style that is there.
    Raises:
        ExportError: the run is not one, or ONNX and torch differ.
        OutputError: the style is there already.
    """
    for needed in ("config.toml", "data.json", "checkpoint.pt", GENERATOR):
        if not (run / needed).is_file():
            raise ExportError(f"{run}: not a run with a checkpoint: {needed} is missing")
    config = load_config(run / "config.toml")
    generator = load_generator(run / GENERATOR)
    pictures = TrainingData.load(run / "data.json")
    counted = f"{len(pictures.photos.files)} photos"
    if config.discriminated:
        counted += f", {len(pictures.cartoons.files)} cartoons"
    checkpoint = torch.load(run / "checkpoint.pt", map_location="cpu", mmap=True, weights_only=True)
    card = Card(
        name=name,
        version=__version__,
        description=description,
        size_multiple=config.generator.size_multiple,
        working_resolution=working_resolution,
        licence=licence,
        data=data or counted,
        config_sha256=config.sha256(),
        onnx_sha256="",
        knobs=KNOBS if config.generator.knobs else (),
        reach=config.generator.reach,
        recipe=read_recipe(run) if recipe is None else recipe,
        steps=checkpoint["step"],
    )
    folded = SizedGenerator(fold_upsampling(generator))
    photos = photo_squares(pictures.photos.files)
    write_style(SizedGenerator(generator), folder, card, folded, photos=photos, force=force)
    save_generator(generator, folder / GENERATOR)
    return folder


def read_recipe(run: Path) -> str:
    """Return the name of the file that a run's configuration was read from; "" if unknown."""
    try:
        noted = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(noted.get("recipe", ""))


def write_style(
    network: nn.Module,
    folder: Path,
    card: Card,
    folded: nn.Module | None = None,
    *,
    photos: Sequence[FloatArray] = (),
    force: bool = False,
) -> Path:
    """Write `style.onnx`, `card.toml` and `preview.png` into a style's folder.

    Args:
        network: (B, 3, H, W) RGB in [-1, 1] to the same, H and W multiples of the card's
            `size_multiple`; with knobs it takes (1, K) of them, too.
        card: describes the style, but for `onnx_sha256`, which is filled in.
        folded: does the same as `network` in less time, and is written in its place.
        photos: to find the ranges for int8 with, as in `find_ranges`; none for a style without.
        force: replace a style that is there.
    Raises:
        ExportError: ONNX and `network` differ by more than PARITY_TOLERANCE at one of five sizes.
        OutputError: the style is there already.
    """
    if (folder / "card.toml").exists() and not force:
        raise OutputError(f"{folder}: this style is there already; --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    sizes = card.size_multiple, len(card.knobs)
    model = to_onnx(folded or network, *sizes)
    if photos:
        model = with_ranges(model, find_ranges(model, photos))
    with replacing(folder / "style.onnx") as temporary:
        onnx.save(model, temporary)
        check_parity(_outputs_of_torch(network), temporary, *sizes, PARITY_TOLERANCE)
        full_outputs = _outputs_of_onnx(temporary)
        onnx.save(with_half_weights(model), temporary)
        try:
            check_parity(full_outputs, temporary, *sizes, HALF_TOLERANCE)
        except ExportError:
            onnx.save(model, temporary)
        sha256 = hashlib.sha256(temporary.read_bytes()).hexdigest()
    write_card(replace(card, onnx_sha256=sha256), folder)
    draw_preview(folder)
    return folder


def draw_preview(folder: Path) -> None:
    """Write a style's `preview.png`: the same photo for every style, above its cartoon."""
    photo = decode(PREVIEW_PHOTO).rgb
    cartoon = load_style(folder, engine="onnxruntime")(photo)
    with replacing(folder / "preview.png") as temporary:
        Image.fromarray(np.vstack([photo, cartoon])).save(temporary, optimize=True)


def to_onnx(network: nn.Module, size_multiple: int, knobs: int = 0) -> onnx.ModelProto:
    """Convert a network: input `photo`, output `cartoon`, batch, height and width free.

    With `knobs` there is a second input of that name, (1, knobs).
    """
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
        raise ExportError("torch gave no ONNX program")
    model = program.model_proto
    # The exporter notes the source line of each node, with the paths of this machine.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store float32 weights as float16; a Cast after each makes them float32 again on loading."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    casts = []
    for index, tensor in enumerate(half.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name = tensor.name
        with np.errstate(over="ignore"):  # what does not fit is found by the comparison
            values = numpy_helper.to_array(tensor).astype(np.float16)
        half.graph.initializer[index].CopyFrom(numpy_helper.from_array(values, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    onnx.checker.check_model(half)
    return half


Outputs = Callable[[Tensor, Tensor | None], npt.NDArray[np.float32]]


def check_parity(
    expected: Outputs, file: Path, size_multiple: int, knobs: int, tolerance: float
) -> None:
    """Compare a style file with what it was made from, on noise of five sizes, odd ones too.

    Args:
        expected: (1, 3, H, W), and (1, knobs) or None, to the outputs that are right.
        size_multiple: pictures are padded to it as in use.
        tolerance: largest difference allowed, in [-1, 1] units.
    Raises:
        ExportError: names the first size that differs, and by how much.
    """
    outputs = _outputs_of_onnx(file)
    random = torch.Generator().manual_seed(0)
    for height, width in PARITY_SIZES:
        photo = torch.rand(1, 3, height, width, generator=random) * 2 - 1
        padded = pad_to_multiple(photo, size_multiple)
        settings = torch.rand(1, knobs, generator=random) * 2 if knobs else None
        difference = np.abs(outputs(padded, settings) - expected(padded, settings)).max()
        # Written so that a NaN fails too.
        if not difference <= tolerance:
            raise ExportError(
                f"at {width}x{height} the exported style differs from its network by "
                f"{difference:.2g}, more than {tolerance:.2g}"
            )


def _outputs_of_torch(network: nn.Module) -> Outputs:
    @torch.no_grad()
    def outputs(photo: Tensor, knobs: Tensor | None) -> npt.NDArray[np.float32]:
        result: Tensor = network(photo) if knobs is None else network(photo, knobs)
        return result.numpy()

    return outputs


def _outputs_of_onnx(file: Path) -> Outputs:
    session = open_session(file, engine="onnxruntime")
    return lambda photo, knobs: session.run(photo.numpy(), None if knobs is None else knobs.numpy())


# A row of a picture enlarged twice, from its pixel -1 to its pixel 2, of the small one's -1 to 1.
BILINEAR = torch.tensor(
    [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]]
)


@torch.no_grad()
def fold_upsampling(generator: Generator) -> Generator:
    """Return a generator that draws the same with fewer and wider layers, to be exported.

    At full size a generator has few channels, where processors waste most of their vectors. Folded,
    C channels of a picture are 4 C of one of half the height and width, in the order of
    `torch.pixel_shuffle`, from the stem to the head. What `UpSampling` enlarges and refines is one
    convolution of the small picture.
    """
    net: Any = deepcopy(generator)
    for index, layer in enumerate(net.up):
        convolution, activation = layer.refine
        kernel = _for_four(convolution.weight, 0, 4)
        kernel = torch.einsum("oihw,hy,wx->oiyx", kernel, BILINEAR, BILINEAR)
        enlarging = _convolution(kernel, _four_times(convolution.bias))
        refine = nn.ReplicationPad2d(1), enlarging, activation, nn.PixelShuffle(2)
        net.up[index] = nn.Sequential(layer.convolve, *refine)
    net.up[-1] = net.up[-1][:-1]  # the head takes it as it is

    stem, half = net.stem[0], net.config.kernel // 2
    kernel = _for_four(stem.weight, 0, net.config.kernel + 1)
    net.stem[0] = _convolution(kernel, _four_times(stem.bias), 2, half)
    # The windows of the first layer down begin with the second pixel of a pair.
    down = net.down[0][0]
    kernel = functional.pixel_unshuffle(functional.pad(down.weight, (1, 0, 1, 0)), 2)
    first = nn.ZeroPad2d((1, 0, 1, 0)), _convolution(kernel, down.bias)
    net.down[0] = nn.Sequential(*first, *net.down[0][1:])
    # The head's window, of even size, begins with a block of 2 x 2 pixels.
    before = half % 2
    blocks = (half + before) // 2
    kernel = functional.pixel_unshuffle(_for_four(net.head.weight, before, 4 * blocks + 2), 2)
    head = _convolution(kernel, _four_times(net.head.bias), padding=blocks)
    net.head = nn.Sequential(head, nn.PixelShuffle(2))
    if net.config.knobs:
        _widen(net.knobs)
    return net  # type: ignore[no-any-return]


def _widen(knobs: Knobs) -> None:
    """Let the last features that knobs scale and shift have four times their channels."""
    *widths, last = knobs.widths
    count = sum(knobs.widths)
    scales = torch.cat([torch.arange(count - last), _four_times(torch.arange(count - last, count))])
    rows = torch.cat([scales, count + scales])
    old: Any = knobs.embed[-1]
    new = nn.Linear(old.in_features, len(rows))
    new.load_state_dict({"weight": old.weight[rows], "bias": old.bias[rows]})
    knobs.embed[-1], knobs.widths = new, (*widths, 4 * last)


def _for_four(kernel: Tensor, before: int, size: int) -> Tensor:
    """Put a kernel, (O, I, k, k), into larger windows, one for each of 2 x 2 pixels.

    (4 O, I, size, size), with `before` rows and columns of zeros before the first pixel's.
    """
    after = size - kernel.shape[-1] - before
    moved = [
        functional.pad(kernel, (before + x, after - x, before + y, after - y))
        for y in (0, 1)
        for x in (0, 1)
    ]
    return torch.stack(moved, dim=1).flatten(0, 1)


def _four_times(channels: Tensor) -> Tensor:
    return channels.repeat_interleave(4)


def _convolution(kernel: Tensor, bias: Tensor, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    outputs, inputs, size, _ = kernel.shape
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding)
    convolution.load_state_dict({"weight": kernel, "bias": bias})
    return convolution
