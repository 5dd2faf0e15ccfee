"""Calibrate a style for int8: which convolutions tolerate it, and the ranges of their inputs."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from toonbox.engine.session import INT8_RANGES, INT8_WEIGHT, Ranges
from toonbox.pixels import FloatArray

SAMPLE = 4000  # values per tensor and photo
# Mean squared error of all int8 convolutions together, in [-1, 1] units: a PSNR of 49 dB.
BUDGET = 4 * 10**-4.9

Feed = dict[str, FloatArray]


def find_ranges(model: onnx.ModelProto, photos: Sequence[FloatArray]) -> Ranges:
    """Choose convolutions to compute in int8; return the lowest and highest value of their inputs.

    The output errors of convolutions are nearly independent, so their squares add up: they are
    taken in order of error until BUDGET is used up, except those of the photo itself. Photos are
    (1, 3, H, W) in [-1, 1] each, H and W multiples of the style's `size_multiple`.
    """
    feeds = _feeds(model, photos)
    names = {n.input[0] for n in model.graph.node if n.op_type == "Conv"} - {"photo"}
    ranges = _best_ranges(model, feeds, sorted(names))
    expected = _outputs(model, feeds, ["cartoon"])
    errors = []
    for name in ranges:
        outputs = _outputs(_rounded(model, {name: ranges[name]}), feeds, ["cartoon"])
        squares = [np.square(a[0] - b[0]).mean() for a, b in zip(expected, outputs, strict=True)]
        errors.append((float(np.mean(squares)), name))
    chosen, total = {}, 0.0
    for error, name in sorted(errors):
        if (total := total + error) < BUDGET:
            chosen[name] = ranges[name]
    return chosen


def with_ranges(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """Return a copy of a model with ranges in its metadata; its graph stays float32."""
    noted = deepcopy(model)
    kept = {each.key: each.value for each in noted.metadata_props if each.key != INT8_RANGES}
    lines = [f"{name} {low:.6g} {high:.6g}" for name, (low, high) in sorted(ranges.items())]
    helper.set_model_props(noted, {**kept, INT8_RANGES: "\n".join(lines)})
    return noted


def _feeds(model: onnx.ModelProto, photos: Sequence[FloatArray]) -> list[Feed]:
    """Combine photos with knobs: the default and random values, alternately."""
    feeds: list[Feed] = [{"photo": photo} for photo in photos]
    random = np.random.default_rng(0)
    for knobs in model.graph.input[1:]:
        shape = 1, knobs.type.tensor_type.shape.dim[1].dim_value
        for index, feed in enumerate(feeds):
            turned = random.uniform(0, 2, shape) if index % 2 else np.ones(shape)
            feed["knobs"] = turned.astype(np.float32)
    return feeds


def _outputs(
    model: onnx.ModelProto, feeds: Sequence[Feed], names: Sequence[str]
) -> list[list[FloatArray]]:
    """Run a network on each feed; return the named tensors, which may be internal."""
    opened = deepcopy(model)
    known = {each.name for each in opened.graph.output}
    opened.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in known
    )
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3  # not the weights that rounded ones have replaced
    session = onnxruntime.InferenceSession(
        opened.SerializeToString(), quiet, providers=["CPUExecutionProvider"]
    )
    return [session.run(list(names), feed) for feed in feeds]


def _best_ranges(model: onnx.ModelProto, feeds: Sequence[Feed], names: Sequence[str]) -> Ranges:
    """Return for each tensor the range whose rounding to 256 steps has the least squared error.

    Zero is one of the steps, because convolutions pad with it.
    """
    random = np.random.default_rng(0)
    samples: dict[str, list[FloatArray]] = {name: [] for name in names}
    for feed in feeds:
        for name, values in zip(names, _outputs(model, [feed], names)[0], strict=True):
            ends = [values.min(), values.max()]
            samples[name].append(np.append(random.choice(values.ravel(), SAMPLE), ends))
    ranges: Ranges = {}
    for name in names:
        values, least = np.concatenate(samples[name]), np.inf
        lowest, highest = min(values.min(), 0), max(values.max(), 1e-6)
        for low in np.linspace(0.4, 1, 9) * lowest:
            for high in np.linspace(0.3, 1, 22) * highest:
                step = (high - low) / 255
                zero = np.rint(-low / step)
                rounded = (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step
                if (error := np.square(rounded - values).mean()) < least:
                    least = error
                    ranges[name] = float(-zero * step), float((255 - zero) * step)
    return ranges


def _rounded(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """Simulate int8 in float32: round the inputs and weights of convolutions."""
    made = deepcopy(model)
    graph = made.graph
    halves = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "Conv" and node.input[0] in ranges:
            name, weight, (low, high) = node.output[0], node.input[1], ranges[node.input[0]]
            weights = numpy_helper.to_array(stored[halves.get(weight, weight)]).astype(np.float32)
            steps = np.maximum(np.abs(weights).max((1, 2, 3), keepdims=True), 1e-6) / INT8_WEIGHT
            for suffix, values in (
                ("weights", np.rint(weights / steps) * steps),
                ("step", np.float32((high - low) / 255)),
                ("zero", np.uint8(round(-low / (high - low) * 255))),
            ):
                tensor = numpy_helper.from_array(np.asarray(values), f"{name}_{suffix}")
                graph.initializer.append(tensor)
            how = [f"{name}_step", f"{name}_zero"]
            for operator, given, result in (
                ("QuantizeLinear", node.input[0], f"{name}_quantised"),
                ("DequantizeLinear", f"{name}_quantised", f"{name}_input"),
            ):
                nodes.append(helper.make_node(operator, [given, *how], [result]))
            node.input[0], node.input[1] = f"{name}_input", f"{name}_weights"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return made
